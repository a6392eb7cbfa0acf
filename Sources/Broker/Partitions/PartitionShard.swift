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

    private nonisolated let environment: ShardEnvironment
    /// Confined to the shard's loop, like the shard.
    nonisolated let manager: RaftReplicaManager
    private let cache: TailCache
    private var partitions: [TopicPartition: Partition] = [:]
    private var flusher: SegmentFlusher
    private var sweepTimer: LoopTimer?

    init(loop: EventLoop, environment: ShardEnvironment) {
        self.loop = loop
        self.environment = environment
        cache = TailCache(budget: environment.cacheBytesPerLoop)
        limiter = LogLimiter(every: .seconds(10), clock: loop.clock)
        manager = RaftReplicaManager(
            loop: loop,
            wal: environment.wal,
            reader: environment.coldReader,
            replicaID: environment.replicaID,
            generator: environment.makeGenerator(),
            config: environment.raft,
            transport: environment.transport,
            metrics: environment.raftMetrics
        )
        flusher = SegmentFlusher(
            loop: loop,
            worker: environment.segmentWriter,
            manager: manager,
            cache: cache,
            budget: environment.budget,
            log: environment.log,
            wal: environment.wal
        )
        let cache = cache
        manager.isThrottled = { cache.isOverBudget }
    }

    /// The coarse clock of the shard: produce timeouts, retention, time-based flushes.
    func startSweeping() {
        sweepTimer = loop.schedule(after: .milliseconds(100)) { [weak self] in
            self?.assumeIsolated { $0.sweep() }
        }
    }

    private var sweeps = 0
    /// Sweeps in a row that found the disk full.
    private var fullSweeps = 0
    private static let patientSweeps = 10
    private let limiter: LogLimiter

    nonisolated var coldReader: Worker { environment.coldReader }

    private func sweep() {
        sweeps += 1
        let now = loop.clock.monotonicNanoseconds
        let waiting = partitions.values.filter(\.hasPendingProduces)
        for partition in waiting.sorted(by: { $0.groupID < $1.groupID }) {
            partition.expireProduces(at: now)
        }
        if sweeps % environment.retentionSweeps == 0 {
            flusher.applyRetention(to: partitions.values.sorted { $0.groupID < $1.groupID })
        }
        manager.urgeRelief()
        watchDisk()
        startSweeping()
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
        for partition in partitions.values where partition.hasPendingProduces {
            partition.refuseProduces()
        }
    }

    // MARK: Partitions come and go

    /// Opens a partition's log and starts its replica; returns once the replica is started.
    func start(_ start: PartitionStart) async throws -> Partition {
        let environment = environment
        let cache = cache
        let opened: Result<PartitionLog, any Error> = await environment.segmentWriter.run {
            Result {
                let directory = environment.directory(of: start.id)
                try directory.claim(for: start.topicID)
                return try PartitionLog.open(
                    directory: directory.path,
                    configuration: LogConfiguration(
                        start.configuration,
                        producerMilliseconds: environment.producerMilliseconds
                    ),
                    files: environment.files,
                    cache: cache
                )
            }
        }
        let log = try opened.get()
        let stateMachine = PartitionStateMachine(log: log)
        let storage = start.recovered ?? start.emptyStorage
        do {
            // A group of several begins after an entry that nobody wrote, so none need apply it.
            let isUntouched = log.appliedRaftIndex == 0 && storage.base.index == LogIndex(1)
            try storage.finishRecovery(
                applied: isUntouched ? storage.base.index : LogIndex(log.appliedRaftIndex),
                term: isUntouched ? storage.base.term : Term(UInt64(log.appliedTerm.rawValue))
            )
        } catch {
            throw StartProblem.missingEntries(start.id)
        }
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
            clock: loop.clock
        )
        partitions[start.id] = partition
        flusher.follow(partition)
        partition.onLeadership = { [unowned replica] epoch in
            environment.leaders.set(
                start.id,
                epoch.map {
                    LeaderTable.Leading(
                        groupID: start.groupID,
                        epoch: $0,
                        voters: replica.info.membership.voters.map { Int32($0.rawValue) }
                    )
                }
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
        if let prepare = start.prepare {
            prepare(partition, stateMachine, try await replayed(log))
        }
        if start.campaigns(on: environment.replicaID) { replica.campaign() }
        return partition
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

    /// Stops a partition and removes its files.
    func remove(_ id: TopicPartition) async {
        guard let partition = partitions.removeValue(forKey: id) else { return }
        partition.remove()
        flusher.forget(partition)
        partition.log.discard()
        environment.leaders.remove(id)
        let environment = environment
        let removed: Result<Void, FileError> = await environment.segmentWriter.run {
            Result { () throws(FileError) in
                try environment.directory(of: id).remove()
            }
        }
        if case .failure(let error) = removed {
            environment.log.warning("files of a deleted partition are left", ["error": "\(error)"])
        }
    }

    func configure(_ id: TopicPartition, _ configuration: EffectiveTopicConfiguration) {
        guard let partition = partitions[id] else { return }
        partition.configuration = configuration
        partition.log.configuration = LogConfiguration(
            configuration,
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

    /// Appends batches in their order; returns once those that must be are committed.
    func append(
        _ items: [AppendItem],
        waits: Bool,
        timeoutMilliseconds: Int32
    ) async -> [AppendResult] {
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
                to: wait,
                slot: slot
            )
        }
        if waits { await wait.wait() }
        return wait.results
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
        if let error = partition.checkLeadership(clientEpoch: item.currentLeaderEpoch) {
            return ReadOutcome(error: error)
        }
        var outcome = ReadOutcome(error: .none)
        outcome.highWatermark = partition.log.logEndOffset.rawValue
        outcome.logStartOffset = partition.log.logStartOffset.rawValue
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
}

/// What a read found.
struct ReadOutcome: Sendable {
    var error: ErrorCode
    var highWatermark: Int64 = -1
    var logStartOffset: Int64 = -1
    var diverging: (epoch: Int32, endOffset: Int64)?
    var records = ByteRope()

    init(error: ErrorCode) { self.error = error }
}

/// What is needed to start a partition.
struct PartitionStart: Sendable {
    let id: TopicPartition
    let topicID: KafkaUUID
    let groupID: UInt64
    let configuration: EffectiveTopicConfiguration
    /// How it begins if the WAL has nothing of the group.
    let beginning: MetadataImage.Partition.Beginning
    /// What the WAL remembered of the group.
    var recovered: RecoveredGroup?
    /// Called on the shard's loop before the replica campaigns, with what the segments hold; for
    /// those that follow the log.
    var prepare: (@Sendable (Partition, PartitionStateMachine, [RecordBatch]) -> Void)?
}

extension PartitionStart {
    /// The log of a replica that has none yet.
    fileprivate var emptyStorage: WALRaftStorage {
        switch beginning {
        case .founder(let voters):
            let membership = Membership(voters: voters.map { ReplicaID(UInt64($0)) })
            return voters.count == 1
                ? WALRaftStorage(group: groupID, membership: membership)
                : .bootstrapped(group: groupID, membership: membership)
        case .joiner: return .joining(group: groupID)
        }
    }

    /// A lone voter leads at once; of several, the preferred leader of a new group does not wait.
    fileprivate func campaigns(on replica: ReplicaID) -> Bool {
        guard case .founder(let voters) = beginning else { return false }
        if voters.count == 1 { return true }
        return recovered == nil && voters.first.map { ReplicaID(UInt64($0)) } == replica
    }
}

/// Why a partition could not be started.
enum StartProblem: Error, CustomStringConvertible {
    case missingEntries(TopicPartition)

    var description: String {
        switch self {
        case .missingEntries(let id):
            "\(id) lacks entries between its segments and the write-ahead log: the data directory"
                + " is incomplete; restore it from a backup or delete the partition's directory"
        }
    }
}
