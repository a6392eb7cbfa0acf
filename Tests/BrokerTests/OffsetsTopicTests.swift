import ClusterMetadata
import Coordinators
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator
import Testing

@testable import Broker

@Suite struct OffsetsTopicTests {
    private static func request(
        _ partition: Int32,
        _ offset: Int64,
        note: Int = 4_000
    ) -> OffsetCommitRequest {
        var part = OffsetCommitRequest.OffsetCommitRequestPartition()
        part.partitionIndex = partition
        part.committedOffset = offset
        part.committedMetadata = String(repeating: "x", count: note)
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
            ],
            retentionCheckMilliseconds: 1_000
        )
        try cluster.createTopic("t", on: [[1], [1]])
        if madeByClient { try cluster.createTopic("__consumer_offsets", on: [[1]]) }
        try Self.findCoordinator(cluster)
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

    private static func findCoordinator(_ cluster: NodeCluster) throws {
        var request = FindCoordinatorRequest()
        request.key = "g"
        let asked = request
        try cluster.eventually("the group has a coordinator") {
            (try? cluster.ask(asked, version: 2).errorCode) == ErrorCode.none.rawValue
        }
    }

    /// Commits rising offsets, one after the other; the last that was acknowledged.
    private static func commit(
        _ partition: Int32,
        times: Int64,
        at address: SocketAddress,
        on loop: EventLoop
    ) async throws -> Int64 {
        let client = try await TestClient.open(address, on: loop)
        defer { client.socket.close() }
        var last: Int64 = -1
        for offset in 0..<times {
            let answer = try await client.call(
                request(partition, offset, note: 10),
                version: 6
            )
            guard answer.topics.first?.partitions.first?.errorCode == 0 else { continue }
            last = offset
        }
        return last
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func `the log of groups is cut while commits go on, and none of them is undone`(
        seed: UInt64
    ) throws {
        let cluster = try NodeCluster(1, seed: seed, groupSnapshotRecords: 20)
        let places = 0..<40 as Range<Int32>
        try cluster.createTopic("t", on: places.map { _ in [1] })
        try Self.findCoordinator(cluster)
        let machine = cluster.machine(1)
        let address = machine.address
        // Each is committed once more often than the one before, so that some commit is the last of
        // its partition whenever a snapshot is written.
        let last = try cluster.perform { loop in
            try await withThrowingTaskGroup(of: Int64.self) { tasks in
                for partition in places {
                    tasks.addTask(executorPreference: loop) {
                        let times = Int64(partition + 1)
                        return try await Self.commit(partition, times: times, at: address, on: loop)
                    }
                }
                return try await tasks.reduce(into: [Int64]()) { $0.append($1) }
            }
        }
        #expect(last.sorted() == places.map { Int64($0) })
        var part = ListOffsetsRequest.ListOffsetsPartition()
        part.timestamp = -2
        part.partitionIndex = OffsetsPartitioner.partition(of: "g", count: 2)
        var topic = ListOffsetsRequest.ListOffsetsTopic()
        topic.name = "__consumer_offsets"
        topic.partitions = [part]
        var request = ListOffsetsRequest()
        request.topics = [topic]
        let start = try cluster.ask(request, version: 5).topics.first?.partitions.first?.offset
        // Of 820 records.
        #expect(start ?? 0 > 400)
        machine.kill()
        machine.start()
        try machine.waitReady()
        try cluster.eventually("offsets are read again") {
            (try? Self.committed(0, in: cluster)) == 0
        }
        for partition in places {
            #expect(try Self.committed(partition, in: cluster) == Int64(partition))
        }
    }
}
