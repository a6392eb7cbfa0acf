import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator
import Testing

@testable import Broker

@Suite struct OffsetsTopicTests {
    private static func request(_ partition: Int32, _ offset: Int64) -> OffsetCommitRequest {
        var part = OffsetCommitRequest.OffsetCommitRequestPartition()
        part.partitionIndex = partition
        part.committedOffset = offset
        part.committedMetadata = String(repeating: "x", count: 4_000)
        var topic = OffsetCommitRequest.OffsetCommitRequestTopic()
        topic.name = "t"
        topic.partitions = [part]
        var request = OffsetCommitRequest()
        request.groupId = "g"
        request.topics = [topic]
        return request
    }

    private static func committed(_ partition: Int32, in cluster: NodeCluster) throws -> Int64? {
        var topic = OffsetFetchRequest.OffsetFetchRequestTopic()
        topic.name = "t"
        topic.partitionIndexes = [partition]
        var request = OffsetFetchRequest()
        request.groupId = "g"
        request.topics = [topic]
        let answer = try cluster.ask(request, version: 5)
        guard answer.errorCode == ErrorCode.none.rawValue else { return nil }
        return answer.topics.first?.partitions.first?.committedOffset
    }

    @Test(arguments: [false, true])
    func `committed offsets stay, however little the broker keeps of other topics`(
        madeByClient: Bool
    ) throws {
        let cluster = try NodeCluster(
            1,
            seed: 31,
            brokerConfigs: [
                "log.retention.bytes": "20000", "log.retention.ms": "10000",
                "log.segment.bytes": "16384",
            ]
        )
        try cluster.createTopic("t", on: [[1], [1]])
        if madeByClient { try cluster.createTopic("__consumer_offsets", on: [[1]]) }
        var coordinator = FindCoordinatorRequest()
        coordinator.key = "g"
        try cluster.eventually("the group has a coordinator") {
            (try? cluster.ask(coordinator, version: 2).errorCode) == ErrorCode.none.rawValue
        }
        for number in 0...100 {
            // One that is written once, and after it a hundred of another.
            let request = Self.request(number == 0 ? 0 : 1, Int64(7 + number))
            let answer = try cluster.ask(request, version: 6)
            #expect(answer.topics.flatMap(\.partitions).map(\.errorCode) == [0])
        }
        let machine = cluster.machine(1)
        // A stop writes the segments, retention comes by afterwards.
        for _ in 0..<2 {
            try machine.stop()
            machine.start()
            try machine.waitReady()
            _ = cluster.simulation.run(for: .seconds(30))
        }
        try cluster.eventually("offsets are read again") {
            (try? Self.committed(1, in: cluster)) == 107
        }
        #expect(try Self.committed(0, in: cluster) == 7)
        let configs = try #require(machine.topic("__consumer_offsets")).configs
        let shown = configs.filter { $0.key.hasPrefix("retention.") }
        #expect(
            shown == (madeByClient ? [:] : ["retention.bytes": "-1", "retention.ms": "-1"])
        )
    }
}
