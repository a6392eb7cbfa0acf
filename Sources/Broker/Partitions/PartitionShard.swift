import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// The partitions of one event loop.
///
/// Handlers on the same loop call it without a hop; those on another loop hop once a request.
actor PartitionShard {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    nonisolated let environment: ShardEnvironment
    /// The Raft groups of this loop; for what belongs to the node, such as its dispatcher.
    ///
    /// Everything but handing it over happens on the shard's loop.
    nonisolated let manager: RaftReplicaManager
    /// Which voters are in sync where this loop leads.
    nonisolated let inSync = InSyncTable()
    private let cache: TailCache
    private(set) var partitions: [TopicPartition: Partition] = [:]
    private var flusher: SegmentFlusher
    private let firstCampaigns: FirstCampaigns
    private var sweepTimer: LoopTimer?

    init(loop: EventLoop, environment: ShardEnvironment) {
        self.loop = loop
        self.environment = environment
        cache = TailCache(budget: environment.cacheBytesPerLoop)
        limiter = LogLimiter(every: .seconds(10), clock: loop.clock)
        firstCampaigns = FirstCampaigns(loop: loop)
        manager = RaftReplicaManager(
            loop: loop,
            wal: environment.wal,
            managers: environment.loops,
            reader: environment.coldReader,
            replicaID: environment.replicaID,
            generator: environment.makeGenerator(),
            config: environment.raft,
            transport: environment.transport,
            snapshotLimits: environment.snapshotLimits,
            metrics: environment.raftMetrics
        )
        flusher = SegmentFlusher(
            loop: loop,
            worker: environment.segmentWriter,
            manager: manager,
            cache: cache,
            budget: environment.budget,
            keptBytesLimit: environment.keptBytesPerLoop ?? environment.cacheBytesPerLoop / 8,
            log: environment.log,
            wal: environment.wal
        )
        let cache = cache
        manager.isThrottled = { cache.isOverBudget }
    }

    // MARK: The coarse clock

    private static let sweepInterval = Int64.milliseconds(100)
    /// While no produce waits and the disk has room.
    private static let restingInterval = Int64.seconds(1)

    /// Produce timeouts, retention, what a full disk asks for.
    func startSweeping() {
        retentionDue = loop.clock.monotonicNanoseconds + environment.retentionNanoseconds
        planSweep(after: Self.sweepInterval)
    }

    private func planSweep(after delay: Int64) {
        sweepTimer?.cancel()
        sweepTimer = loop.schedule(after: delay) { [weak self] in
            self?.assumeIsolated { $0.sweep() }
        }
    }

    private var sweeps = 0
    private var retentionDue = Int64.max
    /// Partitions in which a produce has begun to wait.
    private var swept: [Partition] = []
    /// Sweeps in a row that found the disk full.
    private var fullSweeps = 0
    private static let patientSweeps = 10
    private var retreat = DiskFullRetreat()
    private let limiter: LogLimiter

    nonisolated var nodeID: Int32 { Int32(truncatingIfNeeded: environment.replicaID.rawValue) }

    nonisolated var coldReader: Worker { environment.coldReader }

    private func sweep() {
        sweeps += 1
        let now = loop.clock.monotonicNanoseconds
        for partition in partitionsWithProduces() {
            partition.expireProduces(at: now)
            partition.refuseUnmet()
        }
        if now >= retentionDue {
            retentionDue = now + environment.retentionNanoseconds
            flusher.applyRetention(to: partitions.values.sorted { $0.groupID < $1.groupID })
        }
        manager.urgeRelief()
        watchDisk()
        if isDiskFull { giveWay() } else { retreat.end() }
        let rests = swept.isEmpty && !manager.isUnderPressure && !isDiskFull
        planSweep(
            after: rests
                ? min(Self.restingInterval, max(0, retentionDue - now)) : Self.sweepInterval
        )
    }

    private var isDiskFull: Bool { flusher.isDiskFull || environment.wal.isFull }

    private func produceWaits(in partition: Partition) {
        swept.append(partition)
        if swept.count == 1 { planSweep(after: Self.sweepInterval) }
    }

    /// Those that have produces to answer, always in the same order.
    private func partitionsWithProduces() -> [Partition] {
        swept.removeAll { $0.endsSweeping() }
        return swept.sorted { $0.groupID < $1.groupID }
    }

    /// Answers those who wait for a log that cannot be written for want of room.
    private func watchDisk() {
        guard environment.wal.isFull else {
            fullSweeps = 0
            return
        }
        fullSweeps += 1
        guard fullSweeps > Self.patientSweeps else { return }
        limiter.limited { suppressed in
            environment.log.error(
                "the disk has no room for the write-ahead log; produces are refused until it has",
                ["suppressed": "\(suppressed)"]
            )
        }
        for partition in partitionsWithProduces() { partition.refuseProduces() }
        environment.leaders.diskIsFull()
    }

    /// Nothing more can be written here: nodes with room lead in its place.
    private func giveWay() {
        let led = partitions.values.filter { $0.leaderEpoch != nil && !$0.replica.isAlone }
        for partition in led.sorted(by: { $0.groupID < $1.groupID }) {
            guard retreat.isDue(partition.groupID, at: sweeps),
                let heir = DiskFullRetreat.heir(of: partition.replica.status)
            else { continue }
            try? partition.replica.transferLeadership(to: heir)
        }
    }

    // MARK: Partitions come and go

    /// Opens a partition's log and starts its replica; returns once the replica is started.
    func start(_ start: PartitionStart) async throws -> Partition {
        let environment = environment
        let cache = cache
        let directory = ClaimedDirectory(
            environment.directory(of: start.id),
            topicID: "\(start.topicID)"
        )
        let opened: Result<PartitionLog, any Error> = await environment.segmentWriter.run {
            Result {
                try PartitionLog.open(
                    directory: directory,
                    configuration: LogConfiguration(
                        start.configuration,
                        of: start.id,
                        producerMilliseconds: environment.producerMilliseconds
                    ),
                    cache: cache
                )
            }
        }
        let log = try opened.get()
        let stateMachine = PartitionStateMachine(
            log: log,
            place: SnapshotPlace(
                loop: loop,
                reader: environment.coldReader,
                writer: environment.segmentWriter,
                directory: directory
            )
        )
        let storage = try self.storage(for: start, log)
        // From here to `prepare` nothing may be waited for: a replica that is started applies what
        // comes, and those that follow its log must not miss any of it.
        let replayed = start.prepare == nil ? [] : try await replayed(log)
        stateMachine.begin()
        let replica = try manager.start(
            group: start.groupID,
            storage: storage,
            stateMachine: stateMachine
        )
        let partition = Partition(
            id: start.id,
            topicID: start.topicID,
            groupID: start.groupID,
            replica: replica,
            stateMachine: stateMachine,
            configuration: start.configuration,
            inSync: inSync,
            clock: loop.clock
        )
        partitions[start.id] = partition
        flusher.follow(partition)
        partition.onLeadership = { epoch in
            environment.leaders.set(
                start.id,
                epoch.map {
                    LeaderTable.Leading(groupID: start.groupID, epoch: $0)
                }
            )
        }
        partition.onLeaderChanged = { leader, epoch in
            environment.leaders.follow(start.id, KnownLeader(id: leader, epoch: epoch))
            start.onLeaderChanged?(leader, epoch)
        }
        partition.onMembershipChanged = start.onMembershipChanged
        partition.onProduceWaits = { [unowned self, unowned partition] in
            produceWaits(in: partition)
        }
        replica.onLogEndLost = { [environment] commit, last in
            environment.log.error(
                """
                the end of a partition's log was damaged; the replica does not vote until it has \
                the records again from its leader
                """,
                ["partition": "\(start.id)", "committed": "\(commit)", "last": "\(last)"]
            )
        }
        partition.onFailed = { [environment] error in
            environment.leaders.abandon(start.id)
            // The node is stopping, and this came too late to be written.
            if error as? WALError == .closed { return }
            environment.log.error(
                "a partition's log cannot be read or written; the partition is offline",
                ["partition": "\(start.id)", "error": "\(error)"]
            )
        }
        start.prepare?(partition, stateMachine, replayed)
        if replica.isAlone {
            replica.campaign()
        } else if isFirstFounder(start) {
            firstCampaigns.begin(replica)
        }
        return partition
    }

    /// A new group's first leader is the one that is preferred.
    private func isFirstFounder(_ start: PartitionStart) -> Bool {
        guard start.recovered == nil, case .founder(let voters) = start.beginning else {
            return false
        }
        return voters.first.map { ReplicaID(UInt64($0)) } == environment.replicaID
    }

    /// Everything that is in the log's segments; for those that follow a log from its start.
    private func replayed(_ log: PartitionLog) async throws -> [RecordBatch] {
        let replay = log.replay
        guard !replay.isEmpty else { return [] }
        let read: Result<[RecordBatch], any Error> = await environment.coldReader.run {
            Result {
                var batches: [RecordBatch] = []
                try replay.forEachBatch { batches.append($0) }
                return batches
            }
        }
        return try read.get()
    }

    /// Stops a partition that is deleted and removes its files.
    func remove(_ id: TopicPartition) async {
        guard let partition = takeOut(id) else { return }
        partition.remove()
        await removeFiles(of: id)
    }

    /// Stops a replica that is no member of its group any more and removes its files; its vote is
    /// kept, should it come back.
    func retire(_ id: TopicPartition) async {
        guard let partition = takeOut(id) else { return }
        let isDurable = await withUnsafeContinuation { continuation in
            partition.retire { continuation.resume(returning: $0) }
        }
        if isDurable { await removeFiles(of: id) }
    }

    private func takeOut(_ id: TopicPartition) -> Partition? {
        guard let partition = partitions.removeValue(forKey: id) else { return nil }
        flusher.forget(partition)
        partition.log.discard()
        return partition
    }

    func removeFiles(of id: TopicPartition) async {
        environment.leaders.remove(id)
        let environment = environment
        let removed: Result<Void, FileError> = await environment.segmentWriter.run {
            Result { () throws(FileError) in
                try environment.directory(of: id).remove()
            }
        }
        if case .failure(let error) = removed {
            environment.log.warning("files of a removed partition are left", ["error": "\(error)"])
        }
    }

    /// Whether its replica can be of use only once it has begun anew.
    func mustBeginAnew(_ id: TopicPartition) -> Bool {
        partitions[id]?.replica.storage.abstention?.isForGood ?? false
    }

    /// Keeps what the WAL has of a replica that left this node before, for as long as its group
    /// is not deleted; see ``WALRaftStorage/isRemoved``.
    func keepTombstone(_ storage: RecoveredGroup) { manager.keepRemoved(storage) }

    /// The group is deleted for good.
    func dropTombstone(of groupID: UInt64) { manager.forgetRemoved(groupID) }

    func configure(_ id: TopicPartition, _ configuration: EffectiveTopicConfiguration) {
        guard let partition = partitions[id] else { return }
        partition.configuration = configuration
        partition.log.configuration = LogConfiguration(
            configuration,
            of: id,
            producerMilliseconds: environment.producerMilliseconds
        )
    }

    func partition(_ id: TopicPartition) -> Partition? { partitions[id] }

    func readEach<Reading>(
        _ read: (Partition) -> Reading
    ) -> [TopicPartition: Reading] {
        partitions.mapValues(read)
    }

    /// The last flush of a segment found no room.
    var isSegmentDiskFull: Bool { flusher.isDiskFull }

    /// Writes everything into segments, so that the next start has nothing to replay.
    func flushAll() async {
        for partition in partitions.values.sorted(by: { $0.groupID < $1.groupID }) {
            await flusher.flushAndWait(partition)
        }
    }

    /// Returns once no partition needs a WAL file below `file` any more.
    func relieve(below file: UInt64) async {
        await withUnsafeContinuation { continuation in
            manager.relieve(below: file) { _ in continuation.resume() }
        }
    }

    // MARK: Requests

    /// Appends batches in their order; returns once all are where `point` says.
    func append(
        _ items: [AppendItem],
        until point: AppendPoint = .committed,
        timeoutMilliseconds: Int32
    ) async -> [AppendResult] {
        await withUnsafeContinuation { continuation in
            append(items, until: point, timeoutMilliseconds: timeoutMilliseconds) {
                continuation.resume(returning: $0)
            }
        }
    }

    /// Appends batches in their order, and calls `done` once all are where `point` says.
    ///
    /// `done` is called on this loop, and before this returns if there is nothing to wait for.
    func append(
        _ items: [AppendItem],
        until point: AppendPoint,
        timeoutMilliseconds: Int32,
        done: @escaping @Sendable ([AppendResult]) -> Void
    ) {
        let deadline =
            loop.clock.monotonicNanoseconds + .milliseconds(Int64(max(0, timeoutMilliseconds)))
        let wait = ProduceWait(count: items.count, deadline: deadline)
        for (slot, item) in items.enumerated() {
            guard let partition = partitions[item.partition] else {
                wait.settle(slot, AppendResult(error: .notLeaderOrFollower))
                continue
            }
            if let problem = refusal(to: partition) {
                partition.log.producers.refuse(item.batch)
                wait.settle(slot, AppendResult(error: .kafkaStorageError, message: problem))
                continue
            }
            partition.append(
                item.batch,
                maxBytes: partition.configuration.maxMessageBytes,
                until: point,
                to: wait,
                slot: slot
            )
        }
        wait.whenDone { done(self.resultsWithLeaders($0, items)) }
    }

    /// Tells those who came to the wrong node where to go.
    private func resultsWithLeaders(
        _ results: [AppendResult],
        _ items: [AppendItem]
    ) -> [AppendResult] {
        guard results.contains(where: { $0.error == .notLeaderOrFollower }) else { return results }
        var results = results
        for slot in results.indices where results[slot].error == .notLeaderOrFollower {
            results[slot].leader = partitions[items[slot].partition]?.knownLeader
        }
        return results
    }

    /// Why nothing may be appended now; what is appended must have room in the log and later in
    /// segments.
    private func refusal(to partition: Partition) -> String? {
        let wal = environment.wal
        if wal.isFull { return "the disk is full" }
        // The broker's own records are few, and without the metadata no node starts, and no topic
        // is deleted to make room.
        if partition.isInternal {
            if partition.id == MetadataService.partitionID { return nil }
            return wal.isFarOverLimit ? Self.overLimit : nil
        }
        if flusher.isDiskFull { return "the disk is full" }
        if partition.cannotFlush, partition.log.unflushedBytes >= SegmentFlusher.flushBytes {
            return "the partition's segments cannot be written"
        }
        return wal.isOverLimit ? Self.overLimit : nil
    }

    private static let overLimit = "the write-ahead log is at its limit"

    /// Reads partitions in their order until `maxBytes` are found.
    func read(
        _ items: [ReadItem],
        maxBytes: Int,
        mustReturnOne: Bool
    ) async -> [ReadOutcome] {
        var outcomes: [ReadOutcome] = []
        outcomes.reserveCapacity(items.count)
        var left = maxBytes
        var mustReturnOne = mustReturnOne
        for item in items {
            let outcome = await read(item, maxBytes: left, mustReturnOne: mustReturnOne)
            left -= outcome.records.count
            if !outcome.records.isEmpty { mustReturnOne = false }
            outcomes.append(outcome)
        }
        return outcomes
    }

    private func read(_ item: ReadItem, maxBytes: Int, mustReturnOne: Bool) async -> ReadOutcome {
        guard let partition = partitions[item.partition] else {
            return ReadOutcome(error: .notLeaderOrFollower)
        }
        if let error = partition.checkReadable(
            clientEpoch: item.currentLeaderEpoch,
            offset: item.offset,
            mayFollow: item.mayFollow
        ) {
            var outcome = ReadOutcome(error: error)
            if error == .notLeaderOrFollower || error == .fencedLeaderEpoch {
                outcome.leader = partition.knownLeader
            }
            return outcome
        }
        var outcome = ReadOutcome(error: .none)
        outcome.highWatermark = partition.log.logEndOffset.rawValue
        outcome.logStartOffset = partition.log.logStartOffset.rawValue
        if let rack = item.rack, let near = preferredReplica(of: partition, rack: rack) {
            outcome.preferredReplica = near
            return outcome
        }
        if item.lastFetchedEpoch >= 0,
            let diverging = partition.log.divergence(
                offset: Offset(item.offset),
                epoch: LeaderEpoch(item.lastFetchedEpoch)
            )
        {
            outcome.diverging = (diverging.epoch.rawValue, diverging.endOffset.rawValue)
            return outcome
        }
        let limit = min(maxBytes, item.maxBytes)
        guard limit > 0 || mustReturnOne else { return outcome }
        if partition.leaderEpoch != nil, item.offset > partition.log.logEndOffset.rawValue,
            !partition.replica.isAlone
        {
            // Whoever asks may have read more than is here: from another that leads by now, of which
            // this one has not heard. To be told that the offset is out of range would cost that
            // consumer its place.
            guard (try? await partition.replica.readIndex()) != nil else {
                return ReadOutcome(error: .notLeaderOrFollower)
            }
            outcome.highWatermark = partition.log.logEndOffset.rawValue
        }
        switch partition.log.read(
            from: Offset(item.offset),
            maxBytes: max(0, limit),
            minOneBatch: mustReturnOne
        )
        {
        case .bytes(let rope): outcome.records = rope
        case .offsetOutOfRange: outcome.error = .offsetOutOfRange
        case .cold(let cold):
            let buffers = environment.readBuffers
            let found = await environment.coldReader.run {
                Result { try cold.perform(with: buffers) }
            }
            switch found {
            case .success(let rope): outcome.records = rope
            case .failure: outcome.error = .kafkaStorageError
            }
        }
        return outcome
    }

    /// Of the followers that keep up, one in the consumer's rack; `nil` if the leader is there too.
    private func preferredReplica(of partition: Partition, rack: String) -> Int32? {
        guard partition.leaderEpoch != nil, !partition.replica.isAlone else { return nil }
        let rackOf = environment.rackOf
        let own = Int32(truncatingIfNeeded: environment.replicaID.rawValue)
        guard rackOf(own) != rack else { return nil }
        let status = partition.replica.status
        let near = status.followersThatKeepUp.filter { peer in
            peer.match >= status.commit
                && rackOf(Int32(truncatingIfNeeded: peer.id.rawValue)) == rack
        }
        return near.map { Int32(truncatingIfNeeded: $0.id.rawValue) }.min()
    }

    /// Fires `signal` when any of the partitions has news.
    func notify(_ signal: FetchSignal, of ids: [TopicPartition]) {
        for id in ids { partitions[id]?.notify(signal) }
    }

    func forget(_ signal: FetchSignal, of ids: [TopicPartition]) {
        for id in ids { partitions[id]?.forget(signal) }
    }
}

/// A batch on its way into a partition.
struct AppendItem: Sendable {
    let partition: TopicPartition
    let batch: RecordBatch
}

/// A partition to read, and from where.
struct ReadItem: Sendable {
    let partition: TopicPartition
    let offset: Int64
    let maxBytes: Int
    var currentLeaderEpoch: Int32 = -1
    var lastFetchedEpoch: Int32 = -1
    /// The consumer knows that it may read from a follower (KIP-392).
    var mayFollow = false
    /// Where the consumer is, if it would rather read from a replica there.
    var rack: String?
}

/// What a read found.
struct ReadOutcome: Sendable {
    var error: ErrorCode
    var highWatermark: Int64 = -1
    var logStartOffset: Int64 = -1
    var diverging: (epoch: Int32, endOffset: Int64)?
    var records = ByteRope()
    /// Who leads instead, where the client came to the wrong node.
    var leader: KnownLeader?
    /// Where the client should rather read; then there are no records.
    var preferredReplica: Int32?

    init(error: ErrorCode) { self.error = error }
}

/// What is needed to start a partition.
struct PartitionStart: Sendable {
    let id: TopicPartition
    let topicID: KafkaUUID
    let groupID: UInt64
    let configuration: EffectiveTopicConfiguration
    /// How the replica begins where nothing is remembered of it.
    let beginning: PartitionBeginning
    /// What the WAL remembered of the group.
    var recovered: RecoveredGroup?
    /// Called on the shard's loop when a leader is known, this node or another, or none any more.
    var onLeaderChanged: (@Sendable (_ leader: Int32?, _ epoch: Int32) -> Void)?
    /// Called on the shard's loop when a change of the group's members was applied here.
    var onMembershipChanged: (@Sendable (Membership) -> Void)?
    /// Called on the shard's loop before the replica campaigns, with what the segments hold; for
    /// those that follow the log.
    var prepare: (@Sendable (Partition, PartitionStateMachine, [RecordBatch]) -> Void)?
}

/// Why a partition could not be started.
enum StartProblem: Error, CustomStringConvertible {
    case missingEntries(TopicPartition, found: String, hasOthers: Bool)

    var description: String {
        switch self {
        case .missingEntries(let id, let found, let hasOthers):
            "\(id) lacks entries between its segments and the write-ahead log: its directory is"
                + " gone or incomplete (\(found)); "
                + (hasOthers
                    ? "stop the node and delete the partition's directory, and it is fetched from"
                        + " another replica"
                    : "no other replica has them: restore the directory from a backup, or delete"
                        + " the topic")
        }
    }
}
