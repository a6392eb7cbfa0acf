public import Bytes
import Platform
public import Raft

/// A host's replica of one group, as the program that embeds it uses it: from any task.
///
/// Proposals and changes of leader or members are the leader's business; on another replica they
/// end with ``RaftError/notLeader(leader:)``, which names whom to ask. Reads work on any replica.
public final class RaftGroup<Machine: StateMachine>: Sendable {
    /// The group's number, the same on all its replicas.
    public let id: UInt64
    private let replica: PartitionReplica
    private let hosted: HostedMachine<Machine>
    private let watch: LeaderWatch
    private let loop: EventLoop
    private let host: RaftHost

    init(
        _ replica: PartitionReplica,
        _ hosted: HostedMachine<Machine>,
        _ watch: LeaderWatch,
        loop: EventLoop,
        host: RaftHost
    ) {
        id = replica.group
        self.replica = replica
        self.hosted = hosted
        self.watch = watch
        self.loop = loop
        self.host = host
    }

    // MARK: Writing

    /// Has a command applied on every replica; returns what the state machine answered here.
    ///
    /// It is then durable on a majority. After ``RaftError/outcomeUnknown`` and after a timeout of
    /// the caller's own it may yet be applied: whoever repeats it needs a state machine that knows
    /// what it has seen.
    ///
    /// - Parameter command: Bytes that only the state machine understands; empty ones change
    ///   nothing.
    /// - Returns: The answer of ``StateMachine/apply(_:)``.
    /// - Throws: ``RaftError/notLeader(leader:)``, ``RaftError/overloaded`` (try again),
    ///   ``RaftError/outcomeUnknown``, or why the replica takes no part any more.
    public func propose(_ command: ByteSlice) async throws(RaftError) -> ByteSlice {
        guard !host.isLogFull else { throw .overloaded }
        let result: Result<ByteSlice, RaftError> = await withUnsafeContinuation { continuation in
            loop.execute { [replica] in
                replica.propose(RaftPayload(command)) { continuation.resume(returning: $0) }
            }
        }
        return try result.get()
    }

    // MARK: Reading

    /// Reads the state machine, linearizably: all that was committed when this was called is there.
    ///
    /// A follower asks its leader. `body` runs on the group's event loop: it must not block.
    ///
    /// - Parameter body: Reads what it needs, and changes nothing.
    /// - Returns: What `body` returned.
    /// - Throws: ``RaftError/notLeader(leader:)`` while there is no leader to ask;
    ///   ``RaftError/timedOut`` after `RaftConfig.readTimeoutMilliseconds`.
    public func read<Value: Sendable>(
        _ body: @escaping @Sendable (Machine) -> Value
    ) async throws(RaftError) -> Value {
        let result: Result<Value, RaftError> = await withUnsafeContinuation { continuation in
            loop.execute { [replica, hosted] in
                replica.readIndex { result in
                    continuation.resume(returning: result.map { _ in body(hosted.machine) })
                }
            }
        }
        return try result.get()
    }

    /// Reads the state machine as it is on this replica, which may be behind.
    public func readLocally<Value: Sendable>(
        _ body: @escaping @Sendable (Machine) -> Value
    ) async -> Value {
        await loop.run { [hosted] in body(hosted.machine) }
    }

    /// Waits until everything that was committed when this was called is applied here.
    ///
    /// - Returns: The last entry applied by then.
    /// - Throws: Like ``read(_:)``.
    public func readIndex() async throws(RaftError) -> LogIndex {
        let result: Result<LogIndex, RaftError> = await withUnsafeContinuation { continuation in
            loop.execute { [replica] in
                replica.readIndex { continuation.resume(returning: $0) }
            }
        }
        return try result.get()
    }

    // MARK: Leaders

    /// Role, term, commit index, leader and members, as this replica knows them.
    public var info: PartitionReplica.Info {
        get async { await loop.run { [replica] in replica.info } }
    }

    /// The leader as this replica knows it; waits until there is one.
    ///
    /// - Throws: Why the replica takes no part any more.
    public func leader() async throws(RaftError) -> ReplicaID {
        let result: Result<ReplicaID, RaftError> = await withUnsafeContinuation { continuation in
            loop.execute { [watch] in watch.wait { continuation.resume(returning: $0) } }
        }
        return try result.get()
    }

    /// Has `listener` called on the group's event loop, now and whenever another replica is known
    /// to lead, or none; takes the place of the listener before.
    public func onLeaderChange(
        _ listener: @escaping @Sendable (_ leader: ReplicaID?, _ term: Term) -> Void
    ) {
        loop.execute { [watch] in watch.listen(listener) }
    }

    /// Has this replica stand for election at once, instead of waiting for a leader to show up.
    public func campaign() { loop.execute { [replica] in replica.campaign() } }

    /// Hands leadership to another voter, once that has the whole log.
    ///
    /// Returns when that has begun. Proposals are refused meanwhile, and taken again after an
    /// election timeout if it fails.
    public func transferLeadership(to target: ReplicaID) async throws(RaftError) {
        try await onLoop { (replica) throws(RaftError) in
            try replica.transferLeadership(to: target)
        }
    }

    // MARK: Members

    /// Changes who belongs to the group; returns once the change is applied here.
    ///
    /// One change at a time. The host of a new member must have joined the group
    /// (``RaftHost/joinGroup(_:stateMachine:)``), and all must know its address. A joint change
    /// that leaves its joint configuration by itself does so later; ``info`` tells.
    public func changeMembership(_ change: ConfigurationChange) async throws(RaftError) {
        try await onLoop { (replica) async throws(RaftError) in
            try await replica.changeMembership(change)
        }
    }

    private func onLoop(
        _ body: @escaping @Sendable (PartitionReplica) async throws(RaftError) -> Void
    ) async throws(RaftError) {
        let task = Task(executorPreference: loop) { [replica] in
            do throws(RaftError) {
                try await body(replica)
                return Result<Void, RaftError>.success(())
            } catch {
                return .failure(error)
            }
        }
        try await task.value.get()
    }

    // MARK: The log

    /// Writes the state to an image and drops the log up to there; hosts do it by themselves when
    /// the log takes half of its space.
    ///
    /// - Returns: The entry the log now starts after.
    /// - Throws: ``RaftError/snapshotFailed(_:)`` if the image could not be made or written.
    @discardableResult
    public func compact() async throws(RaftError) -> LogIndex {
        let result: Result<LogIndex, RaftError> = await withUnsafeContinuation { continuation in
            loop.execute { [hosted] in hosted.compact { continuation.resume(returning: $0) } }
        }
        return try result.get()
    }
}
