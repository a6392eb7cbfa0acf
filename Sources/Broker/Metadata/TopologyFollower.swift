import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import Raft
import RaftRuntime

/// Starts and removes this node's replicas as the committed metadata says, in its order.
actor TopologyFollower {
    private static let retryNanoseconds = Int64.seconds(2)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let nodeID: Int32
    private let shards: [PartitionShard]
    private let published: PublishedImage
    private let staticConfigs: [String: String]
    private let groups: GroupService
    private let leaders: LeaderTable
    private let relief: LogRelief
    private let log: Logger
    private let limiter: LogLimiter
    private let recovered: RecoveredGroups
    /// What the log has of partitions that wait for room on the disk.
    private var waitingForRoom: [UInt64: RecoveredGroup] = [:]
    private var queue: [Step] = []
    /// Replicas that the metadata had here no more.
    ///
    /// It may tell of a time long gone, since when they have come back and may be all that has their
    /// records: metadata that is as of now decides.
    private var leaving: [UInt64: (id: TopicPartition, topicID: KafkaUUID)] = [:]
    private var isJudging = false
    private let isCurrent: @Sendable () async -> Bool
    /// What is taken over from the log and not started yet.
    private var starting: (groupID: UInt64, file: UInt64)?
    /// Until what was there at the start is started, what changes waits.
    private var isRunning = true
    /// Every group that can have promised something here before this start was met; what comes
    /// now is new.
    private var hasMetAll = false
    /// Until the metadata is as of now, what nothing is remembered of waits.
    ///
    /// It may name groups that are deleted and forgotten: as a founder of one this node would vote
    /// again in terms it has voted in.
    private var mayBeOld = false
    private var unremembered: [Step] = []

    private enum Step {
        case start(TopicPartition, topicID: KafkaUUID, groupID: UInt64)
        case remove(TopicPartition, topicID: KafkaUUID, groupID: UInt64)
        /// What left this node, says metadata that is as of now.
        case retire(groupID: UInt64)
        /// The group is deleted for good.
        case forget(groupID: UInt64)
        case configure(topic: String)
        case configureAll
        /// What left this node while it was down goes.
        case sweep
    }

    init(
        loop: EventLoop,
        nodeID: Int32,
        shards: [PartitionShard],
        published: PublishedImage,
        staticConfigs: [String: String],
        groups: GroupService,
        leaders: LeaderTable,
        relief: LogRelief,
        log: Logger,
        recovered: RecoveredGroups,
        isCurrent: @escaping @Sendable () async -> Bool
    ) {
        self.isCurrent = isCurrent
        self.loop = loop
        self.nodeID = nodeID
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

    /// Takes up what has changed; it is carried out in the background.
    func enqueue(_ delta: MetadataDelta) {
        for gone in delta.removed(from: nodeID) {
            queue.append(
                .remove(gone.id, topicID: gone.topicID, groupID: gone.partition.groupID)
            )
        }
        for topic in delta.deletedTopics {
            queue += topic.partitions.map { .forget(groupID: $0.groupID) }
        }
        for placed in delta.placed(on: nodeID) {
            queue.append(
                .start(placed.id, topicID: placed.topicID, groupID: placed.partition.groupID)
            )
        }
        queue += delta.reconfiguredTopics.map { .configure(topic: $0.name) }
        if delta.brokerConfigsChanged { queue.append(.configureAll) }
        runInBackground()
    }

    /// The metadata is as of now: what it does not name is here for nothing.
    func sweep() {
        queue.append(.sweep)
        runInBackground()
    }

    private func runInBackground() {
        guard !isRunning, !queue.isEmpty else { return }
        isRunning = true
        Task.immediate(executorPreference: loop) { await self.run() }
    }

    /// Keeps what the log has of groups that are not started yet; call before any of its files may
    /// go.
    ///
    /// Of topics that the metadata's segments do not name, the node learns later.
    func pinUnstarted() async {
        var files = recovered.oldestFiles
        if let starting { files[starting.groupID] = starting.file }
        for (group, file) in files.sorted(by: { $0.key < $1.key }) {
            await relief.pin(group, from: file)
        }
    }

    /// What the log has of the metadata's own group, or may have lost of it to damage; without any,
    /// the cluster is asked whether it knows this node.
    func takeMetadata(voters: [Int32]) throws -> RecoveredGroup? {
        try takeRecovered(MetadataService.groupID, voters)
    }

    /// Starts all that the metadata has on this node; returns once the replicas are started.
    ///
    /// - Parameters:
    ///   - image: What was committed when the node ended, or more.
    ///   - mayBeOld: Groups may have come and gone here that the image still names; those of which
    ///     nothing is remembered are started by ``sweep()``.
    func startAll(in image: MetadataImage, mayBeOld: Bool) async {
        self.mayBeOld = mayBeOld
        var starts: [Step] = []
        for topic in image.sortedTopics {
            for partition in topic.partitions where partition.assignment.isHosted(on: nodeID) {
                starts.append(
                    .start(
                        TopicPartition(topic: topic.name, partition: partition.index),
                        topicID: topic.id,
                        groupID: partition.groupID
                    )
                )
            }
        }
        queue.insert(contentsOf: starts, at: 0)
        await keepTombstones(image)
        await run()
    }

    /// What replicas that left this node before have promised, they promised for good.
    private func keepTombstones(_ image: MetadataImage) async {
        for storage in recovered.takeRemoved() {
            let shard = shard(of: storage.group)
            await shard.keepTombstone(storage)
            if image.partition(ofGroup: storage.group) == nil {
                await shard.dropTombstone(of: storage.group)
            }
        }
    }

    private func sweepLeft() async {
        let image = published.current
        let left = recovered.takeLeft { group in
            group == MetadataService.groupID
                || image.partition(ofGroup: group)?.assignment.isHosted(on: nodeID) == true
        }
        for storage in left { await relief.unpin(storage.group) }
        for storage in left where image.partition(ofGroup: storage.group) != nil {
            await shard(of: storage.group).keepTombstone(storage)
        }
        var running: Set<TopicPartition> = [MetadataService.partitionID]
        for shard in shards { running.formUnion(await shard.partitions.keys) }
        for id in await shards[0].directories() where !running.contains(id) {
            // By then it may have come here again; its start is in the queue.
            let partition = published.current.topic(id.topic)?.partitions[checked: id.partition]
            guard partition?.assignment.isHosted(on: nodeID) != true else { continue }
            await shards[0].removeLeft(id)
        }
    }

    private func run() async {
        while !queue.isEmpty {
            let steps = queue
            queue = []
            for step in steps { await carryOut(step) }
        }
        isRunning = false
    }

    private func shard(of groupID: UInt64) -> PartitionShard {
        shards[Placement.loop(of: groupID, of: shards.count)]
    }

    private func carryOut(_ step: Step) async {
        switch step {
        case .start(let id, let topicID, let groupID):
            await start(id, topicID: topicID, groupID: groupID)
        case .remove(let id, let topicID, let groupID):
            leaving[groupID] = (id, topicID)
            if published.current.partition(ofGroup: groupID) == nil {
                await removeLeaving(groupID, isDeleted: true)
            } else {
                judge()
            }
        case .retire(let groupID): await retire(groupID)
        case .forget(let groupID):
            await removeLeaving(groupID, isDeleted: true)
            await shard(of: groupID).dropTombstone(of: groupID)
        case .configure(let topic): await configure(published.current.topic(topic))
        case .configureAll:
            for topic in published.current.sortedTopics { await configure(topic) }
        case .sweep:
            hasMetAll = true
            mayBeOld = false
            queue += unremembered
            unremembered = []
            await sweepLeft()
        }
    }

    /// Has those that are leaving retired once the metadata is as of now.
    private func judge() {
        guard !isJudging, !leaving.isEmpty else { return }
        isJudging = true
        let loop = loop
        let isCurrent = isCurrent
        Task.immediate(executorPreference: loop) { [weak self] in
            while let groups = await self?.leaving.keys.sorted() {
                if await isCurrent() {
                    await self?.judged(groups)
                    return
                }
                await loop.sleep(nanoseconds: .milliseconds(500))
            }
        }
    }

    private func judged(_ groups: [UInt64]) {
        isJudging = false
        queue += groups.map { .retire(groupID: $0) }
        runInBackground()
        // Of those that came meanwhile it was not asked.
        if leaving.count > groups.count { judge() }
    }

    private func retire(_ groupID: UInt64) async {
        guard let (id, topicID) = leaving[groupID] else { return }
        guard let partition = published.current.partition(ofGroup: groupID) else {
            return await removeLeaving(groupID, isDeleted: true)
        }
        let isHosted = partition.assignment.isHosted(on: nodeID)
        let mustBeginAnew = await shard(of: groupID).mustBeginAnew(id)
        if !isHosted || mustBeginAnew { await removeLeaving(groupID, isDeleted: false) }
        leaving[groupID] = nil
        if isHosted { await start(id, topicID: topicID, groupID: groupID) }
    }

    private func removeLeaving(_ groupID: UInt64, isDeleted: Bool) async {
        guard let id = leaving.removeValue(forKey: groupID)?.id else { return }
        if isDeleted || waitingForRoom[groupID] != nil {
            await shard(of: groupID).remove(id)
        } else {
            await shard(of: groupID).retire(id)
        }
        waitingForRoom[groupID] = nil
        await relief.unpin(groupID)
    }

    /// What the log has of a group that has a part here; `nil` if it never had any.
    ///
    /// Of a damaged log that can only be said of groups that are younger than the damage.
    private func takeRecovered(_ group: UInt64, _ voters: [Int32]) throws -> RecoveredGroup? {
        let mayBeLost = !hasMetAll && !recovered.damage.isEmpty
        guard mayBeLost || recovered.groups.contains(group) else { return nil }
        return try recovered.storage(
            of: group,
            membership: Membership(voters: voters.map { ReplicaID(UInt64($0)) }),
            isNew: false
        )
    }

    private func start(_ id: TopicPartition, topicID: KafkaUUID, groupID: UInt64) async {
        let image = published.current
        // Deleted again meanwhile, or moved away: the removal follows in the queue.
        guard let topic = image.topic(topicID),
            topic.partitions.indices.contains(Int(id.partition)),
            let beginning = topic.partitions[Int(id.partition)].beginning(on: nodeID)
        else { return }
        // It never left, or is judged first.
        let isRunning = await shard(of: groupID).partitions[id] != nil
        guard leaving[groupID] == nil, !isRunning else { return }
        var remembered = waitingForRoom.removeValue(forKey: groupID)
        do {
            if remembered == nil {
                // A joiner learns who belongs to the group from its leader.
                var voters: [Int32] = []
                if case .founder(let founders) = beginning { voters = founders }
                remembered = try takeRecovered(groupID, voters)
            }
            if remembered == nil, mayBeOld {
                unremembered.append(.start(id, topicID: topicID, groupID: groupID))
                return
            }
            var start = PartitionStart(
                id: id,
                topicID: topicID,
                groupID: groupID,
                configuration: configuration(of: topic, in: image),
                beginning: beginning,
                recovered: remembered
            )
            if topic.name == InternalTopic.consumerOffsets.rawValue {
                start.prepare = groups.prepare(partition: id.partition, on: shard(of: groupID).loop)
            }
            starting = remembered.map { (groupID, $0.oldestFile) }
            _ = try await shard(of: groupID).start(start)
            starting = nil
            await relief.unpin(groupID)
        } catch {
            starting = nil
            await couldNotStart(id, topicID, groupID, remembered, error)
        }
    }

    private func couldNotStart(
        _ id: TopicPartition,
        _ topicID: KafkaUUID,
        _ groupID: UInt64,
        _ remembered: RecoveredGroup?,
        _ error: any Error
    ) async {
        leaders.abandon(id)
        // What the write-ahead log has of it must be there when it can be started.
        if let remembered { await relief.pin(groupID, from: remembered.oldestFile) }
        guard let problem = error as? FileError, problem.reason == .noSpace else {
            log.error(
                "a partition could not be started and stays offline",
                ["partition": "\(id)", "error": "\(error)"]
            )
            return
        }
        limiter.limited { suppressed in
            log.error(
                "a partition waits for room on the disk",
                ["partition": "\(id)", "error": "\(error)", "suppressed": "\(suppressed)"]
            )
        }
        waitingForRoom[groupID] = remembered
        _ = loop.schedule(after: Self.retryNanoseconds) { [weak self] in
            self?.assumeIsolated {
                $0.queue.append(.start(id, topicID: topicID, groupID: groupID))
                $0.runInBackground()
            }
        }
    }

    private func configure(_ topic: MetadataImage.Topic?) async {
        guard let topic else { return }
        let configuration = configuration(of: topic, in: published.current)
        for partition in topic.partitions where partition.assignment.isHosted(on: nodeID) {
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
