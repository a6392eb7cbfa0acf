import Platform
import Raft

/// Three replicas of a group in one thread.
///
/// Every message is delivered at once, and every write is durable at once. What is left is what the
/// core itself costs.
struct RaftCoreRun {
    static let entryBytes = 16

    /// Entries proposed together; 1 makes each travel by itself.
    let batch: Int
    let entries: Int

    struct Figures {
        var batch = 0
        var committed = 0
        var messages = 0
        var seconds = 0.0
        var processorSeconds = 0.0

        /// The thread does nothing else, so this is what one core does.
        var perCoreSecond: Double { Double(committed) / max(1e-9, processorSeconds) }
    }

    func measure(clock: any Clock) throws(BenchError) -> Figures {
        var group = try InstantGroup()
        group.elect()
        // The first ones fill what is allocated once.
        for _ in 0..<max(1, entries / 20 / batch) { try group.propose(batch) }
        let before = group.committed
        let messages = group.messages
        let processor = ProcessorTime.now()
        let began = clock.monotonicNanoseconds
        while group.committed - before < entries { try group.propose(batch) }
        var figures = Figures()
        figures.batch = batch
        figures.committed = group.committed - before
        figures.messages = group.messages - messages
        figures.seconds = Double(clock.monotonicNanoseconds - began) / 1e9
        figures.processorSeconds = ProcessorTime.now().since(processor).total
        return figures
    }
}

private final class InstantReplica {
    var node: RaftNode
    let disk: InstantDisk

    init(_ node: RaftNode, _ disk: InstantDisk) {
        self.node = node
        self.disk = disk
    }
}

/// A group of three whose network and disks take no time.
private struct InstantGroup {
    private var replicas: [InstantReplica] = []
    private(set) var committed = 0
    private(set) var messages = 0

    init() throws(BenchError) {
        let membership = Membership(voters: [1, 2, 3].map { ReplicaID($0) })
        for id: UInt64 in 1...3 {
            let disk = InstantDisk()
            do {
                let node = try RaftNode(
                    configuration: RaftNode.Configuration(id: ReplicaID(id), randomSeed: id),
                    log: disk,
                    membership: membership
                )
                replicas.append(InstantReplica(node, disk))
            } catch {
                throw .usage("a group of three cannot be made: \(error)")
            }
        }
    }

    mutating func elect() {
        replicas[0].node.campaign()
        settle()
    }

    mutating func propose(_ count: Int) throws(BenchError) {
        do {
            try replicas[0].node.propose(Self.payloads(count))
        } catch {
            throw .usage("a proposal was refused: \(error)")
        }
        settle()
    }

    /// Entries as they come from a client: parts of one piece of memory.
    private static func payloads(_ count: Int) -> [RaftPayload] {
        let size = RaftCoreRun.entryBytes
        let all = RaftPayload(copying: [UInt8](repeating: 7, count: count * size))
        guard let start = all.start else { return [] }
        return (0..<count).map { place in
            RaftPayload(owner: all.owner, start: start + place * size, count: size)
        }
    }

    private mutating func settle() {
        var isBusy = true
        while isBusy {
            isBusy = false
            for replica in replicas where replica.node.hasReady {
                isBusy = true
                process(replica)
            }
        }
    }

    private mutating func process(_ replica: InstantReplica) {
        let ready = replica.node.ready()
        deliver(ready.messages)
        if let last = ready.entries.last { replica.disk.wrote(last) }
        replica.node.onPersisted(ready.number)
        deliver(ready.persistedMessages)
        guard let last = ready.committedEntries.last else { return }
        if replica.node.id == ReplicaID(1) { committed += ready.committedEntries.count }
        replica.node.onApplied(last.index)
    }

    private mutating func deliver(_ sent: [Message]) {
        for message in sent {
            messages += 1
            try? replicas[Int(message.to.rawValue) - 1].node.step(message)
        }
    }
}

/// Remembers how far it was written, in one term; nobody ever falls behind what is in memory.
private final class InstantDisk: RaftLogReader {
    private(set) var lastIndex = LogIndex.zero
    private var lastTerm = Term.zero
    var firstIndex: LogIndex { LogIndex(1) }

    func wrote(_ entry: RaftEntry) {
        lastIndex = entry.index
        lastTerm = entry.term
    }

    func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        guard index <= lastIndex else { throw .beyondLastIndex }
        return index == .zero ? .zero : lastTerm
    }

    func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError)
        -> [RaftEntry]
    { throw .compacted }

    func snapshot() throws(RaftLogReadError) -> Snapshot {
        Snapshot(
            metadata: SnapshotMetadata(index: .zero, term: .zero, membership: Membership()),
            payload: .empty
        )
    }
}
