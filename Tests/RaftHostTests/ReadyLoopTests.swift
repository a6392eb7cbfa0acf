import Raft
import RaftRuntime
import Testing

/// A replica that does by itself what the runtime does: the loop the article on it shows.
struct Replica {
    var node: RaftNode
    let log: MemoryLogStorage
    var applied: [String] = []

    init(_ id: ReplicaID, voters: [ReplicaID]) throws {
        log = MemoryLogStorage(membership: Membership(voters: voters))
        node = try RaftNode(
            configuration: RaftNode.Configuration(id: id, randomSeed: id.rawValue),
            log: log,
            hardState: log.hardState,
            membership: log.base.membership
        )
    }

    /// Does all that the node wants done, and returns what is to be sent.
    mutating func work() -> [Message] {
        var outgoing: [Message] = []
        while node.hasReady {
            let ready = node.ready()
            outgoing += ready.messages
            if let snapshot = ready.snapshot { log.reset(to: snapshot.metadata) }
            log.append(ready.entries)
            if let hardState = ready.hardState { log.setHardState(hardState) }
            // A log on a disk is synced here, if `ready.mustSync`.
            node.onPersisted(ready.number)
            outgoing += ready.persistedMessages
            for entry in ready.committedEntries where entry.kind == .normal {
                applied.append(String(decoding: entry.payload.bytes, as: UTF8.self))
            }
            if let last = ready.committedEntries.last { node.onApplied(last.index) }
        }
        return outgoing
    }
}

@Suite struct ReadyLoopTests {
    /// Carries messages until nobody has anything to say.
    private static func settle(_ replicas: inout [Replica]) throws {
        var isQuiet = false
        while !isQuiet {
            isQuiet = true
            for place in replicas.indices {
                for message in replicas[place].work() {
                    isQuiet = false
                    let receiver = Int(message.to.rawValue) - 1
                    try replicas[receiver].node.step(message)
                }
            }
        }
    }

    @Test func `three replicas in memory agree`() throws {
        let voters = [ReplicaID(1), ReplicaID(2), ReplicaID(3)]
        var replicas = try voters.map { try Replica($0, voters: voters) }
        replicas[0].node.campaign()
        try Self.settle(&replicas)
        #expect(replicas[0].node.role == .leader)
        try replicas[0].node.propose(RaftPayload(copying: Array("hello".utf8)))
        try Self.settle(&replicas)
        for replica in replicas { #expect(replica.applied.last == "hello") }
    }
}
