import Raft
import Testing

/// A group of one: everything hangs on the disk, nothing on the network.
@Suite struct SingleVoterTests {
    let log = MemoryLog()

    func makeNode(hardState: HardState = HardState()) throws -> RaftNode {
        let configuration = RaftNode.Configuration(id: ReplicaID(1), randomSeed: 1)
        return try RaftNode(
            configuration: configuration,
            log: log,
            hardState: hardState,
            membership: Membership(voters: [ReplicaID(1)])
        )
    }

    func makeLeader() throws -> RaftNode {
        var node = try makeNode()
        node.campaign()
        while node.hasReady {
            let ready = node.ready()
            log.write(ready)
            node.onPersisted(ready.number)
            if let last = ready.committedEntries.last { node.onApplied(last.index) }
        }
        return node
    }

    @Test func `it leads only once its vote is durable`() throws {
        var node = try makeNode()
        node.campaign()
        let ready = node.ready()
        #expect(ready.hardState == HardState(term: Term(1), vote: ReplicaID(1)))
        #expect(ready.mustSync)
        #expect(ready.messages.isEmpty && ready.persistedMessages.isEmpty)
        #expect(node.role == .candidate)
        #expect(!node.hasReady)
        node.onPersisted(ready.number)
        #expect(node.role == .leader)
        #expect(node.commit == .zero)
    }

    @Test func `it commits an entry only once that is durable`() throws {
        var node = try makeLeader()
        #expect(node.commit == LogIndex(1), "the no-op of its term")
        let receipt = try node.propose(RaftPayload(copying: [7]))
        #expect(receipt == ProposalReceipt(first: LogIndex(2), last: LogIndex(2), term: Term(1)))
        let writing = node.ready()
        #expect(writing.entries.map(\.index) == [LogIndex(2)])
        #expect(writing.committedEntries.isEmpty)
        #expect(writing.mustSync)
        #expect(node.commit == LogIndex(1))
        #expect(!node.hasReady)
        log.write(writing)
        node.onPersisted(writing.number)
        #expect(node.commit == LogIndex(2))
        let applying = node.ready()
        #expect(applying.committedEntries.map(\.index) == [LogIndex(2)])
        #expect(applying.hardState?.commit == LogIndex(2))
        #expect(!applying.mustSync, "a commit index alone need not be synced")
        node.onApplied(LogIndex(2))
        #expect(node.applied == LogIndex(2))
    }

    @Test func `several writes are in flight and a later one covers the earlier`() throws {
        var node = try makeLeader()
        var numbers: [UInt64] = []
        for value in 0..<5 as Range<UInt8> {
            try node.propose(RaftPayload(copying: [value]))
            let ready = node.ready()
            #expect(ready.entries.count == 1)
            log.write(ready)
            numbers.append(ready.number)
        }
        node.onPersisted(numbers[1])
        #expect(node.commit == LogIndex(3))
        node.onPersisted(numbers[4])
        #expect(node.commit == LogIndex(6))
        node.onPersisted(numbers[2])
        #expect(node.commit == LogIndex(6))
        let ready = node.ready()
        #expect(ready.committedEntries.map(\.payload.bytes) == [[0], [1], [2], [3], [4]])
    }

    @Test func `a crash before the write is durable loses what was never acknowledged`() throws {
        var node = try makeLeader()
        try node.propose(RaftPayload(copying: [7]))
        _ = node.ready()
        // The power fails: nothing of that Ready was written.
        var restarted = try makeNode(hardState: HardState(term: Term(1), vote: ReplicaID(1)))
        #expect(restarted.lastIndex == LogIndex(1))
        restarted.campaign()
        let ready = restarted.ready()
        #expect(ready.hardState?.term == Term(2))
    }
}
