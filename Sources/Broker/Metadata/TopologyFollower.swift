import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import RaftRuntime

/// Starts and removes partitions as the committed metadata says, in its order.
actor TopologyFollower {
    private static let retryNanoseconds = Int64.seconds(2)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let shards: [PartitionShard]
    private let published: PublishedImage
    private let staticConfigs: [String: String]
    private let groups: GroupService
    private let leaders: LeaderTable
    private let relief: LogRelief
    private let log: Logger
    private let limiter: LogLimiter
    private var recovered: [UInt64: RecoveredGroup]
    /// Of those, what belongs to partitions that wait for room on the disk.
    private var waitingForRoom: [UInt64: RecoveredGroup] = [:]
    private var queue: [TopologyChange] = []
    private var isRunning = false

    init(
        loop: EventLoop,
        shards: [PartitionShard],
        published: PublishedImage,
        staticConfigs: [String: String],
        groups: GroupService,
        leaders: LeaderTable,
        relief: LogRelief,
        log: Logger,
        recovered: [UInt64: RecoveredGroup]
    ) {
        self.loop = loop
        self.shards = shards
        self.published = published
        self.staticConfigs = staticConfigs
        self.groups = groups
        self.leaders = leaders
        self.relief = relief
        self.log = log
        limiter = LogLimiter(every: .seconds(10), clock: loop.clock)
        self.recovered = recovered
    }

    /// Takes up changes; they are carried out in the background.
    func enqueue(_ changes: [TopologyChange]) {
        queue += changes
        guard !isRunning else { return }
        isRunning = true
        Task.immediate(executorPreference: loop) { await self.run() }
    }

    /// Starts everything the metadata has, and waits for it to lead; for a node that starts.
    func startAll(in image: MetadataImage) async {
        var changes: [TopologyChange] = []
        for topic in image.sortedTopics {
            for partition in topic.partitions {
                changes.append(
                    .start(
                        TopicPartition(topic: topic.name, partition: partition.index),
                        topicID: topic.id,
                        groupID: partition.groupID
                    )
                )
            }
        }
        queue += changes
        isRunning = true
        await run()
        // What is left belongs to topics that were deleted.
        recovered = [:]
        await leaders.waitForLeaders(of: image.allPartitions)
    }

    private func run() async {
        while !queue.isEmpty {
            let changes = queue
            queue = []
            for change in changes { await carryOut(change) }
        }
        isRunning = false
    }

    private func shard(of groupID: UInt64) -> PartitionShard {
        shards[Placement.loop(of: groupID, of: shards.count)]
    }

    private func carryOut(_ change: TopologyChange) async {
        switch change {
        case .start(let id, let topicID, let groupID):
            await start(id, topicID: topicID, groupID: groupID)
        case .remove(let id, let groupID):
            await shard(of: groupID).remove(id)
            waitingForRoom[groupID] = nil
            await relief.unpin(groupID)
        case .configure(let topic): await configure(published.current.topics[topic])
        case .configureAll:
            for topic in published.current.sortedTopics { await configure(topic) }
        }
    }

    private func start(_ id: TopicPartition, topicID: KafkaUUID, groupID: UInt64) async {
        let image = published.current
        // Deleted again meanwhile: the removal follows in the queue and finds nothing.
        guard let topic = image.topic(topicID) else { return }
        let remembered =
            recovered.removeValue(forKey: groupID) ?? waitingForRoom.removeValue(forKey: groupID)
        var start = PartitionStart(
            id: id,
            topicID: topicID,
            groupID: groupID,
            configuration: configuration(of: topic, in: image),
            beginning: .founder(voters: [shard(of: groupID).nodeID]),
            recovered: remembered
        )
        if topic.name == InternalTopic.consumerOffsets.rawValue {
            start.prepare = groups.prepare(partition: id.partition, on: shard(of: groupID).loop)
        }
        do {
            _ = try await shard(of: groupID).start(start)
            await relief.unpin(groupID)
        } catch let error as FileError where error.reason == .noSpace {
            limiter.limited { suppressed in
                log.error(
                    "a partition waits for room on the disk",
                    ["partition": "\(id)", "error": "\(error)", "suppressed": "\(suppressed)"]
                )
            }
            leaders.abandon(id)
            if let remembered {
                waitingForRoom[groupID] = remembered
                await relief.pin(groupID, from: remembered.oldestFile)
            }
            _ = loop.schedule(after: Self.retryNanoseconds) { [weak self] in
                self?.assumeIsolated {
                    $0.enqueue([.start(id, topicID: topicID, groupID: groupID)])
                }
            }
        } catch {
            log.error(
                "a partition could not be started and stays offline",
                ["partition": "\(id)", "error": "\(error)"]
            )
            leaders.abandon(id)
            // What the write-ahead log has of it must be there when it has been repaired.
            if let remembered { await relief.pin(groupID, from: remembered.oldestFile) }
        }
    }

    private func configure(_ topic: MetadataImage.Topic?) async {
        guard let topic else { return }
        let configuration = configuration(of: topic, in: published.current)
        for partition in topic.partitions {
            await shard(of: partition.groupID).configure(
                TopicPartition(topic: topic.name, partition: partition.index),
                configuration
            )
        }
    }

    private func configuration(
        of topic: MetadataImage.Topic,
        in image: MetadataImage
    ) -> EffectiveTopicConfiguration {
        ConfigurationLookup(
            topic: topic.configs,
            dynamicBroker: image.brokerConfigs,
            staticBroker: staticConfigs
        ).effective
    }
}
