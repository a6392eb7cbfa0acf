import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Testing

@testable import Broker

/// What clients are told of a topic that is only just made.
@Suite struct NewTopicTests {
    private static func told(
        of topics: [String],
        by machine: Machine,
        in cluster: NodeCluster
    ) throws -> MetadataResponse {
        var request = MetadataRequest()
        request.topics = topics.map { name in
            var topic = MetadataRequest.MetadataRequestTopic()
            topic.name = name
            return topic
        }
        return try cluster.ask(request, version: 12, of: machine)
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func `who is about to lead is named, and nobody any more once that node is silent`(
        seed: UInt64
    ) throws {
        let cluster = try NodeCluster(seed: seed)
        let controller = try Self.told(of: [], by: cluster.machine(1), in: cluster).controllerId
        let others = cluster.machines.filter { $0.id != controller }
        let (asked, dead) = (others[0], others[1])
        dead.kill()
        // It is the only one that could lead, and the others do not miss it yet.
        try cluster.makeTopic("t", on: [[dead.id]], through: asked)
        let early = try Self.told(of: ["t"], by: asked, in: cluster).topics.flatMap(\.partitions)
        #expect(early.map(\.leaderId) == [dead.id])
        #expect(early.map(\.leaderEpoch) == [-1])
        #expect(early.map(\.errorCode) == [ErrorCode.none.rawValue])
        try cluster.eventually("it is missed") {
            asked.image.broker(dead.id).map(\.isFenced) ?? false
        }
        let late = try Self.told(of: ["t"], by: asked, in: cluster).topics.flatMap(\.partitions)
        #expect(late.map(\.leaderId) == [-1])
        #expect(late.map(\.errorCode) == [ErrorCode.leaderNotAvailable.rawValue])
    }

    @Test func `as soon as a topic is made, every partition of it has a leader to go to`() throws {
        let cluster = try NodeCluster(seed: 4)
        let asked = cluster.machine(1)
        for number in 0..<20 {
            let name = "t\(number)"
            try cluster.makeTopic(name, on: [[1, 2, 3], [2, 3, 1], [3, 1, 2]], through: asked)
            let told = try Self.told(of: [name], by: asked, in: cluster)
            #expect(told.topics.flatMap(\.partitions).map(\.leaderId) == [1, 2, 3])
        }
    }
}
