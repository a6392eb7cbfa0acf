import Bytes
import FuzzDriver
import KafkaMessages
import KafkaProtocol
import Platform

/// Requests as clients send them, as streams of frames, and each message alone.
enum RequestSeeds {
    static func all() -> [FuzzProgram.Seed] {
        var seeds: [FuzzProgram.Seed] = [
            ("stream-produce", stream(produce, 11)), ("stream-fetch", stream(fetch, 17)),
            ("stream-metadata", stream(metadata, 12)), ("stream-join", stream(join, 9)),
            ("stream-commit", stream(commit, 9)), ("stream-create", stream(create, 7)),
            ("stream-old-produce", stream(produce, 3)), ("stream-old-fetch", stream(fetch, 4)),
            ("stream-old-metadata", stream(metadata, 1)), ("stream-old-join", stream(join, 2)),
            ("stream-versions", stream(ApiVersionsRequest(), 4)),
            ("stream-http", [0, 0] + Array("GET / HTTP/1.1\r\n\r\n".utf8)),
            ("stream-tls", [0, 0, 0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]),
        ]
        let several = stream(ApiVersionsRequest(), 3) + stream(metadata, 12).dropFirst(2)
        seeds.append(("stream-several", several + stream(fetch, 12).dropFirst(2)))
        seeds.append(("stream-in-pieces", [0, 5] + several.dropFirst(2)))
        seeds.append(("stream-cut", several.dropLast(3)))
        // A frame larger than what is read of it at first.
        let large = stream(produce(records: 12_000), 11).dropFirst(2) + several.dropFirst(2)
        for pieces in firstReads(over: 4_096).prefix(2) {
            seeds.append(("stream-large-\(pieces)", [0, pieces] + large))
        }
        seeds += [
            ("alone-produce", alone(produce, 11)), ("alone-fetch", alone(fetch, 17)),
            ("alone-old-fetch", alone(fetch, 7)), ("alone-metadata", alone(metadata, 12)),
            ("alone-join", alone(join, 9)), ("alone-commit", alone(commit, 9)),
            ("alone-create", alone(create, 7)), ("alone-quotas", alone(quotas, 1)),
            ("alone-assignments", alone(sync, 5)), ("alone-subscription", alone(subscription, 3)),
        ]
        return seeds
    }

    /// The ways to cut a stream whose first read gets more than `count` bytes.
    private static func firstReads(over count: Int) -> [UInt8] {
        (1...UInt8.max).filter { BytesAsSocket.firstRead(seed: $0) > count }
    }

    // MARK: Messages

    private static var produce: ProduceRequest { produce(records: 5) }

    private static func produce(records length: Int) -> ProduceRequest {
        var builder = RecordBatchBuilder(baseTimestamp: 1_700_000_000_000)
        let value = [UInt8](repeating: 0x76, count: length)
        builder.append(key: ByteSlice("key"), value: ByteSlice(value))
        var partition = ProduceRequest.PartitionProduceData()
        partition.index = 2
        partition.records = ByteRope(builder.finish().bytes)
        var topic = ProduceRequest.TopicProduceData()
        topic.name = "orders"
        topic.partitionData = [partition]
        var request = ProduceRequest()
        request.acks = -1
        request.timeoutMs = 30_000
        request.topicData = [topic]
        return request
    }

    private static var fetch: FetchRequest {
        var partition = FetchRequest.FetchPartition()
        partition.fetchOffset = 42
        partition.partitionMaxBytes = 1 << 20
        var topic = FetchRequest.FetchTopic()
        topic.partitions = [partition, partition]
        var request = FetchRequest()
        request.maxWaitMs = 500
        request.topics = [topic]
        return request
    }

    private static var metadata: MetadataRequest {
        var topic = MetadataRequest.MetadataRequestTopic()
        topic.name = "orders"
        var request = MetadataRequest()
        request.topics = [topic]
        return request
    }

    private static var subscription: ConsumerProtocolSubscription {
        var subscription = ConsumerProtocolSubscription()
        subscription.topics = ["orders", "payments"]
        return subscription
    }

    private static var join: JoinGroupRequest {
        var assignor = JoinGroupRequest.JoinGroupRequestProtocol()
        assignor.name = "range"
        assignor.metadata = ByteSlice(body(subscription, 1, after: [0, 1]))
        var request = JoinGroupRequest()
        request.groupId = "readers"
        request.sessionTimeoutMs = 10_000
        request.rebalanceTimeoutMs = 60_000
        request.protocolType = "consumer"
        request.protocols = [assignor]
        return request
    }

    private static var sync: SyncGroupRequest {
        var assignment = SyncGroupRequest.SyncGroupRequestAssignment()
        assignment.memberId = "reader-1"
        assignment.assignment = ByteSlice("all of it")
        var request = SyncGroupRequest()
        request.groupId = "readers"
        request.generationId = 3
        request.memberId = "reader-1"
        request.assignments = [assignment]
        return request
    }

    private static var commit: OffsetCommitRequest {
        var partition = OffsetCommitRequest.OffsetCommitRequestPartition()
        partition.committedOffset = 7
        partition.committedMetadata = "seven"
        var topic = OffsetCommitRequest.OffsetCommitRequestTopic()
        topic.name = "orders"
        topic.partitions = [partition]
        var request = OffsetCommitRequest()
        request.groupId = "readers"
        request.topics = [topic]
        return request
    }

    private static var create: CreateTopicsRequest {
        var config = CreateTopicsRequest.CreatableTopicConfig()
        config.name = "retention.ms"
        config.value = "60000"
        var topic = CreateTopicsRequest.CreatableTopic()
        topic.name = "orders"
        topic.numPartitions = 3
        topic.replicationFactor = 1
        topic.configs = [config]
        var request = CreateTopicsRequest()
        request.topics = [topic]
        return request
    }

    private static var quotas: AlterClientQuotasRequest {
        var operation = AlterClientQuotasRequest.OpData()
        operation.key = "producer_byte_rate"
        operation.value = 1_048_576
        var entity = AlterClientQuotasRequest.EntityData()
        entity.entityType = "user"
        var entry = AlterClientQuotasRequest.EntryData()
        entry.entity = [entity]
        entry.ops = [operation]
        var request = AlterClientQuotasRequest()
        request.entries = [entry]
        return request
    }

    // MARK: Bytes

    private static func body<M: KafkaMessage>(
        _ message: M,
        _ version: Int16,
        after prefix: [UInt8]
    ) -> [UInt8] {
        var writer = ByteWriter()
        for byte in prefix { writer.write(byte) }
        do {
            try message.encode(into: &writer, version: version)
        } catch {
            finding("\(M.name) v\(version) cannot be encoded: \(error)")
        }
        return writer.finishContiguous().array
    }

    private static func stream<R: KafkaRequest>(_ request: R, _ version: Int16) -> [UInt8] {
        var header = RequestHeader()
        header.requestApiKey = R.apiKey.rawValue
        header.requestApiVersion = version
        header.correlationId = 1
        header.clientId = "seed"
        let start = body(header, R.apiKey.requestHeaderVersion(for: version), after: [])
        let frame = body(request, version, after: start)
        var writer = ByteWriter()
        writer.write(UInt16(0))
        writer.write(Int32(frame.count))
        return writer.finishContiguous().array + frame
    }

    private static func alone<M: KafkaMessage>(_ message: M, _ version: Int16) -> [UInt8] {
        guard let place = Codec.all.firstIndex(where: { $0.name == M.name }) else {
            finding("\(M.name) is not a target")
        }
        return body(
            message,
            version,
            after: [1, UInt8(place), UInt8(version - M.validVersions.lowerBound)]
        )
    }
}
