import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import Testing

@testable import Broker

/// Requests of every API, whole, in versions that are none, and damaged.
@Suite(.serialized, .timeLimit(.minutes(10))) struct HostileInputTests {
    private static var requests: [any KafkaRequest] {
        var commit = OffsetCommitRequest()
        commit.groupId = "group"
        var offset = OffsetCommitRequest.OffsetCommitRequestPartition()
        offset.committedOffset = 1
        var committed = OffsetCommitRequest.OffsetCommitRequestTopic()
        committed.name = "topic"
        committed.partitions = [offset]
        commit.topics = [committed]

        var join = JoinGroupRequest()
        join.groupId = "group"
        join.sessionTimeoutMs = 10_000
        join.protocolType = "consumer"
        var range = JoinGroupRequest.JoinGroupRequestProtocol()
        range.name = "range"
        range.metadata = ByteSlice("metadata")
        join.protocols = [range]

        var create = CreateTopicsRequest()
        var topic = CreateTopicsRequest.CreatableTopic()
        topic.name = "made-by-chance"
        topic.numPartitions = 1
        topic.replicationFactor = 1
        create.topics = [topic]

        var fetch = FetchRequest()
        var part = FetchRequest.FetchPartition()
        part.partitionMaxBytes = 1_000
        var fetched = FetchRequest.FetchTopic()
        fetched.partitions = [part]
        fetch.topics = [fetched]

        var builder = RecordBatchBuilder(baseTimestamp: 1)
        builder.append(key: nil, value: ByteSlice("value"))
        var data = ProduceRequest.PartitionProduceData()
        data.records = ByteRope(builder.finish().bytes)
        var produced = ProduceRequest.TopicProduceData()
        produced.name = "topic"
        produced.partitionData = [data]
        var produce = ProduceRequest()
        produce.acks = -1
        produce.topicData = [produced]

        return [
            produce, fetch, ListOffsetsRequest(), MetadataRequest(), commit, OffsetFetchRequest(),
            FindCoordinatorRequest(), join, HeartbeatRequest(), LeaveGroupRequest(),
            SyncGroupRequest(), DescribeGroupsRequest(), ListGroupsRequest(), create,
            DeleteTopicsRequest(), DeleteRecordsRequest(), InitProducerIdRequest(),
            OffsetForLeaderEpochRequest(), DescribeConfigsRequest(), CreatePartitionsRequest(),
            DeleteGroupsRequest(), IncrementalAlterConfigsRequest(), OffsetDeleteRequest(),
            DescribeClusterRequest(), AlterPartitionReassignmentsRequest(),
            ListPartitionReassignmentsRequest(),
        ]
    }

    private static func frame<R: KafkaRequest>(_ request: R, _ version: Int16) -> [UInt8]? {
        try? TestClient.frame(request, version: version, correlationID: 9).array
    }

    private static func key<R: KafkaRequest>(_ request: R) -> APIKey { R.apiKey }

    @Test func `every API refuses the versions around those it has`() async throws {
        let node = try await TestNode.start()
        defer { TestNode.remove(node.directory) }
        try await node.client { client in
            for (api, versions) in SupportedAPIs.versions where api != .apiVersions {
                for version in [versions.lowerBound - 1, versions.upperBound + 1] {
                    var writer = ByteWriter(capacity: 16)
                    writer.write(api.rawValue)
                    writer.write(version)
                    writer.write(Int32(api.rawValue))
                    writer.write(Int16(-1))
                    try await client.send(writer.finishContiguous())
                    let answer = try #require(try await client.receive(), "\(api) v\(version)")
                    #expect(answer.loadBigEndian(at: 0) as Int32 == Int32(api.rawValue))
                    let code: Int16 = answer.loadBigEndian(at: 4)
                    #expect(code == ErrorCode.unsupportedVersion.rawValue)
                }
            }
        }
        try await node.stop()
    }

    @Test func `every API that is advertised has a request in these tests`() {
        let tested = Set(Self.requests.map { Self.key($0) } + [.apiVersions])
        #expect(tested == Set(SupportedAPIs.versions.map(\.0)))
    }

    private static func damaged(
        _ whole: [UInt8],
        _ generator: inout SeededGenerator
    ) -> [UInt8] {
        var bytes = whole
        for _ in 0..<generator.below(4) {
            // The first bytes name the API; what is behind them is its own.
            let place = 8 + generator.below(bytes.count - 8)
            let values: [UInt8] = [0, 1, 0x7f, 0x80, 0xff, UInt8(generator.below(256))]
            bytes[place] = values[generator.below(values.count)]
        }
        if generator.chance(1, in: 8) { bytes.removeLast(generator.below(bytes.count - 8)) }
        return bytes
    }

    /// Whatever comes, other clients are served.
    @Test func `damaged requests do no harm`() async throws {
        let node = try await TestNode.start()
        defer { TestNode.remove(node.directory) }
        try await node.client { client in try await client.createTopic("topic") }
        let versions = Dictionary(uniqueKeysWithValues: SupportedAPIs.versions)
        let wholes = Self.requests.flatMap { request in
            (versions[Self.key(request)] ?? 0...0).compactMap { Self.frame(request, $0) }
        }
        let address = node.node.address
        let loop = TestNode.platform.loops[1]
        // Connections stay open, or their requests would be thrown away with them.
        let connections = try await Task(executorPreference: loop) {
            var connections: [TestClient] = []
            for round in 0..<60 {
                let client = try await TestClient.open(address, on: loop)
                connections.append(client)
                var generator = SeededGenerator(seed: UInt64(round))
                for _ in 0..<60 {
                    let bytes = Self.damaged(wholes[generator.below(wholes.count)], &generator)
                    // The broker may have closed: what went before is what counts.
                    guard (try? await client.send(ByteSlice(bytes))) != nil else { break }
                }
            }
            return connections
        }.value
        let offset = try await node.client { client in
            try await client.createTopic("after")
            return try await client.produce(ByteSlice("x"), to: "after")
        }
        #expect(offset == 0)
        withExtendedLifetime(connections) {}
        try await node.stop()
    }
}
