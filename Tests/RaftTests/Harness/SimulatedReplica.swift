@testable import Raft

/// A replica with its disk and its state machine, which survive or not survive crashes as such
/// things do: the disk keeps what was written, the state machine starts over from its snapshot.
final class SimulatedReplica {
    let id: ReplicaID
    let configuration: RaftNode.Configuration
    let disk: MemoryLog
    private(set) var durable = HardState()
    private(set) var machine = StateMachine()

    /// Nil while it is down.
    var node: RaftNode?

    /// Readies whose writes are not durable yet, oldest first.
    private(set) var writes: [Ready] = []
    private(set) var applies: [[RaftEntry]] = []
    private(set) var outbox: [Message] = []
    private(set) var readStates: [ReadState] = []
    private(set) var appliedNow: [RaftEntry] = []

    init(
        configuration: RaftNode.Configuration,
        membership: Membership
    ) throws {
        id = configuration.id
        self.configuration = configuration
        disk = MemoryLog()
        if !membership.voters.isEmpty {
            // The first members start from a snapshot, so that others can get it from them.
            var first = StateMachine()
            first.index = LogIndex(1)
            first.term = Term(1)
            first.membership = membership
            disk.install(first.snapshot)
            durable = HardState(term: Term(1), commit: LogIndex(1))
        }
        try start()
    }

    func start(abstainUntil: LogIndex? = nil, abstainUntilTerm: Term? = nil) throws {
        machine = StateMachine()
        if let snapshot = disk.latestSnapshot { machine = StateMachine(snapshot) }
        disk.snapshotSource = nil
        if let abstainUntilTerm { durable = HardState(term: abstainUntilTerm) }
        var hardState = durable
        hardState.commit = min(max(hardState.commit, machine.index), disk.lastIndex)
        node = try RaftNode(
            configuration: configuration,
            log: disk,
            hardState: hardState,
            membership: machine.membership,
            applied: machine.index,
            abstainUntil: abstainUntil,
            abstainUntilTerm: abstainUntilTerm
        )
    }

    /// Puts entries and a hard state on the disk of a replica that is then started.
    func restore(from ready: Ready) {
        node = nil
        write(ready)
    }

    /// The power fails; so many writes, oldest first, had reached the disk.
    func crash(keeping count: Int = 0) {
        for ready in writes.prefix(count) { write(ready) }
        writes = []
        applies = []
        outbox = []
        readStates = []
        node = nil
    }

    /// The durable term the disk holds.
    var durableTerm: Term { durable.term }

    func takeOutbox() -> [Message] {
        let messages = outbox
        outbox = []
        return messages
    }

    func takeReadStates() -> [ReadState] {
        let states = readStates
        readStates = []
        return states
    }

    func takeApplied() -> [RaftEntry] {
        let entries = appliedNow
        appliedNow = []
        return entries
    }

    /// Takes what the node wants done; answers the Ready for checks.
    func takeReady() -> Ready? {
        guard let ready = node?.ready() else { return nil }
        outbox += ready.messages
        readStates += ready.readStates
        writes.append(ready)
        if !ready.committedEntries.isEmpty { applies.append(ready.committedEntries) }
        return ready
    }

    /// The oldest write becomes durable; answers the messages that waited for it.
    func persist() -> [Message] {
        guard !writes.isEmpty else { return [] }
        let ready = writes.removeFirst()
        write(ready)
        if let snapshot = ready.snapshot {
            machine = StateMachine(snapshot)
            applies = []
        }
        node?.onPersisted(ready.number)
        outbox += ready.persistedMessages
        return ready.persistedMessages
    }

    private func write(_ ready: Ready) {
        disk.write(ready)
        if let state = ready.hardState { durable = state }
    }

    func apply() {
        guard !applies.isEmpty else { return }
        let entries = applies.removeFirst()
        for entry in entries { machine.apply(entry) }
        appliedNow += entries
        node?.onApplied(machine.index)
    }

    /// Keeps a snapshot of the state machine and drops the log before it.
    func compact(keeping count: Int = 0) {
        guard machine.index > disk.firstIndex + count else { return }
        disk.keep(machine.snapshot)
        disk.compact(through: machine.index - count)
    }
}

/// A state machine that is the history of what it applied, as a running hash.
struct StateMachine: Equatable {
    var index = LogIndex.zero
    var term = Term.zero
    var hash: UInt64 = 0
    var membership = Membership()

    init() {}

    init(_ snapshot: Snapshot) {
        index = snapshot.metadata.index
        term = snapshot.metadata.term
        membership = snapshot.metadata.membership
        hash = UInt64(bigEndianBytes: snapshot.payload.bytes)
    }

    var snapshot: Snapshot {
        let metadata = SnapshotMetadata(index: index, term: term, membership: membership)
        return Snapshot(metadata: metadata, payload: RaftPayload(copying: hash.bigEndianBytes))
    }

    mutating func apply(_ entry: RaftEntry) {
        precondition(entry.index == index + 1, "entry \(entry.index) after \(index)")
        precondition(entry.term >= term, "term \(entry.term) after \(term)")
        index = entry.index
        term = entry.term
        hash = StateMachine.mix(hash, entry)
        if entry.kind == .configuration,
            let change = try? ConfigurationChange(decoding: entry.payload),
            let next = try? membership.applying(change)
        {
            membership = next
        }
    }

    static func mix(_ hash: UInt64, _ entry: RaftEntry) -> UInt64 {
        var hash = hash ^ entry.index.rawValue &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ entry.term.rawValue) &* 0x0000_0100_0000_01B3
        for byte in entry.payload.bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return hash
    }
}

extension UInt64 {
    init(bigEndianBytes bytes: [UInt8]) {
        self = bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }

    var bigEndianBytes: [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: self >> UInt64($0)) }
    }
}
