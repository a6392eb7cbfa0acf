import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import RaftRuntime

/// The cluster's metadata on this node: decides, commits through Raft group 0, and lets the shards
/// follow what is committed.
///
/// Group 0 is the partition `__chronik_metadata`-0. Only committed records change the image.
actor MetadataService {
    static let partitionID = TopicPartition(
        topic: InternalTopic.clusterMetadata.rawValue,
        partition: 0
    )
    private static let groupID: UInt64 = 0
    private static let commitTimeoutMilliseconds: Int32 = 30_000

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let shard: PartitionShard
    private let published: PublishedImage
    private let log: Logger
    private let clock: any Clock
    private var generator: SeededGenerator
    private var controller: MetadataController
    private var committed = MetadataImage()
    private var decisionsUnderWay = 0
    private var producerIDs: Range<Int64> = 0..<0
    /// Told, in order, of what the shards must do.
    private var follow: (([TopologyChange]) -> Void)?

    init(
        loop: EventLoop,
        shard: PartitionShard,
        settings: MetadataController.Settings,
        published: PublishedImage,
        log: Logger,
        clock: any Clock,
        generator: SeededGenerator
    ) {
        self.loop = loop
        self.shard = shard
        self.published = published
        self.log = log
        self.clock = clock
        self.generator = generator
        controller = MetadataController(settings: settings, committed: MetadataImage())
    }

    /// Loads the metadata and becomes its leader; returns what was committed before.
    func start(recovered: RecoveredGroup?, leaders: LeaderTable) async throws -> MetadataImage {
        let configuration = EffectiveTopicConfiguration { key in
            switch key.name {
            case "max.message.bytes": "67108864"
            case "retention.ms": "-1"
            default: key.defaultValue
            }
        }
        let start = PartitionStart(
            id: Self.partitionID,
            topicID: .zero,
            groupID: Self.groupID,
            configuration: configuration,
            beginning: .founder(voters: [shard.nodeID]),
            recovered: recovered,
            prepare: { [weak self] partition, stateMachine, replayed in
                self?.assumeIsolated { $0.load(replayed, stateMachine) }
            }
        )
        _ = try await shard.start(start)
        await leaders.waitForLeaders(of: [Self.partitionID])
        controller.reset(to: committed)
        return committed
    }

    /// From now on, what is committed is handed to `follow` as well.
    func onChange(_ follow: @escaping @Sendable ([TopologyChange]) -> Void) { self.follow = follow }

    private func load(_ batches: [RecordBatch], _ stateMachine: PartitionStateMachine) {
        for batch in batches { replay(batch) }
        stateMachine.onBatch = { [unowned self] batch in
            self.assumeIsolated { $0.replay(batch) }
        }
    }

    private func replay(_ batch: RecordBatch) {
        guard let records = try? batch.records() else {
            preconditionFailure("the metadata batch at \(batch.baseOffset) cannot be read")
        }
        var changes: [TopologyChange] = []
        for record in records {
            guard let value = record.value, let change = try? MetadataRecord(decoding: value) else {
                preconditionFailure(
                    "the metadata record at \(record.offset) is of a later version; upgrade this node"
                )
            }
            changes += TopologyChange.changes(of: change, before: committed)
            committed.replay(change)
        }
        if decisionsUnderWay == 0 { controller.reset(to: committed) }
        published.publish(committed)
        if !changes.isEmpty { follow?(changes) }
    }

    // MARK: Changing

    /// Commits what `decide` decides; returns its answer once that is committed.
    func commit<Answer: Sendable>(
        _ decide: @Sendable (inout MetadataController) throws(MetadataProblem) -> Decision<Answer>
    ) async throws(MetadataProblem) -> Answer {
        let decision = try decide(&controller)
        guard !decision.records.isEmpty else { return decision.answer }
        var builder = RecordBatchBuilder(baseTimestamp: clock.wallMilliseconds)
        for record in decision.records { builder.append(key: nil, value: record.encoded()) }
        decisionsUnderWay += 1
        let results = await shard.append(
            [AppendItem(partition: Self.partitionID, batch: builder.finish())],
            waits: true,
            timeoutMilliseconds: Self.commitTimeoutMilliseconds
        )
        decisionsUnderWay -= 1
        guard results[0].error == .none else {
            if decisionsUnderWay == 0 { controller.reset(to: committed) }
            throw MetadataProblem(
                results[0].error,
                results[0].message ?? "the metadata could not be committed"
            )
        }
        return decision.answer
    }

    func newTopicID() -> KafkaUUID { KafkaUUID(from: &generator) }

    private static let producerIDBlock: Int64 = 1000

    /// A producer id nobody has had.
    func nextProducerID() async throws(MetadataProblem) -> Int64 {
        while producerIDs.isEmpty {
            let block = try await commit { (controller) throws(MetadataProblem) in
                controller.reserveProducerIDs(Self.producerIDBlock)
            }
            if producerIDs.isEmpty { producerIDs = block }
        }
        let id = producerIDs.lowerBound
        producerIDs = id + 1..<producerIDs.upperBound
        return id
    }
}

/// What a committed record asks of the shards.
enum TopologyChange: Sendable {
    case start(TopicPartition, topicID: KafkaUUID, groupID: UInt64)
    case remove(TopicPartition, groupID: UInt64)
    case configure(topic: String)
    case configureAll

    static func changes(of record: MetadataRecord, before image: MetadataImage) -> [TopologyChange]
    {
        switch record {
        case .partition(let topicID, let index, let groupID, _):
            guard let topic = image.topic(topicID) else { return [] }
            return [
                .start(
                    TopicPartition(topic: topic.name, partition: index),
                    topicID: topicID,
                    groupID: groupID
                )
            ]
        case .removeTopic(let id):
            guard let topic = image.topic(id) else { return [] }
            return topic.partitions.map {
                .remove(
                    TopicPartition(topic: topic.name, partition: $0.index),
                    groupID: $0.groupID
                )
            }
        case .topicConfig(let topicID, _, _):
            return image.topic(topicID).map { [.configure(topic: $0.name)] } ?? []
        case .brokerConfig: return [.configureAll]
        case .topic, .producerIDs, .broker, .brokerRegistration, .brokerState, .brokerReplacement,
            .removeBroker, .leaderships, .assignment, .partitionState, .brokerSnapshot, .counters,
            .removedTopics:
            return []
        }
    }
}
