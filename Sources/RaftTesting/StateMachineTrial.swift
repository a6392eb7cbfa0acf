public import Bytes
public import Raft
public import RaftRuntime

/// Tries a state machine out on a simulated cluster: the library as it ships, on simulated machines
/// with simulated disks and a simulated network, in virtual time.
///
/// Commands are proposed while power fails, the network is cut and logs are compacted; then
/// everything is mended and the replicas are compared. One seed is one run, to the last event.
///
/// What is held against the state machine:
///
/// | rule | because |
/// |---|---|
/// | the same entry has the same answer on every replica, also when it is applied again after a restart | entries are all that replicas share |
/// | `lastApplied` is the last entry applied, or the last one of the snapshot restored | Raft goes on from there |
/// | replicas that applied the same have the same snapshot, to the byte | it is how they are compared |
/// | a snapshot restored makes the same snapshot again | nothing may be missing from it |
public struct StateMachineTrial<Machine: StateMachine>: Sendable {
    /// Replicas, 1 to 7.
    public var replicas = 3
    /// Commands proposed, each until it is acknowledged.
    public var commands = 200
    /// Every so many commands, on average, something fails or a log is compacted; 0: never.
    public var commandsPerFault = 8

    let make: @Sendable () -> Machine
    let command: @Sendable (UInt64) -> ByteSlice

    /// A trial of the state machines that `stateMachine` makes.
    ///
    /// - Parameters:
    ///   - stateMachine: Makes an empty one.
    ///   - command: Makes a command from a random number.
    public init(
        stateMachine: @escaping @Sendable () -> Machine,
        command: @escaping @Sendable (UInt64) -> ByteSlice
    ) {
        make = stateMachine
        self.command = command
    }

    /// Plays one history, on the calling thread, and comes back when it is over.
    ///
    /// - Parameter seed: All of the history follows from it.
    /// - Returns: What happened.
    /// - Throws: The first rule that was broken.
    @discardableResult
    public func run(seed: UInt64) throws(TrialViolation) -> TrialReport {
        precondition((1...7).contains(replicas), "a trial of \(replicas) replicas")
        let world = TrialWorld(self, seed: seed)
        return try world.play()
    }
}

/// What happened in a trial.
public struct TrialReport: Equatable, Sendable {
    public internal(set) var acknowledged = 0
    /// Entries in the log, Raft's own among them.
    public internal(set) var entries = 0
    public internal(set) var powerCuts = 0
    public internal(set) var partitions = 0
    public internal(set) var compactions = 0
    /// Folded from all events: equal for equal histories.
    public internal(set) var trace = ""
}

/// Which rule a state machine broke.
public enum TrialViolation: Error, Equatable, Sendable, CustomStringConvertible {
    case answersDiffer(seed: UInt64, index: LogIndex)
    case lastAppliedIsWrong(seed: UInt64, index: LogIndex, found: LogIndex)
    case statesDiffer(seed: UInt64, index: LogIndex)
    case snapshotIsIncomplete(seed: UInt64, index: LogIndex)
    case snapshotFailed(seed: UInt64, reason: String)
    /// A majority was there and nothing was committed: the replicas fail.
    case isStuck(seed: UInt64, reason: String)

    public var description: String {
        switch self {
        case .answersDiffer(let seed, let index):
            "seed \(seed): entry \(index) had different answers"
        case .lastAppliedIsWrong(let seed, let index, let found):
            "seed \(seed): after entry \(index), lastApplied is \(found)"
        case .statesDiffer(let seed, let index):
            "seed \(seed): replicas that applied all through \(index) have different snapshots"
        case .snapshotIsIncomplete(let seed, let index):
            "seed \(seed): restored, the snapshot as of \(index) makes another one"
        case .snapshotFailed(let seed, let reason):
            "seed \(seed): a snapshot could not be made or restored: \(reason)"
        case .isStuck(let seed, let reason): "seed \(seed): nothing goes on: \(reason)"
        }
    }
}
