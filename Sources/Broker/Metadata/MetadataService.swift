import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// The cluster's metadata on this node: decides while it leads Raft group 0, asks the leader while
/// it does not, and lets the node follow what is committed.
///
/// Group 0 is the partition `__chronik_metadata`-0. Only committed records change the image.
actor MetadataService: MetadataStore {
    static let partitionID = TopicPartition(
        topic: InternalTopic.clusterMetadata.rawValue,
        partition: 0
    )
    static let groupID: UInt64 = 0
    static let patience = Int64.seconds(30)
    static let pause = Int64.milliseconds(20)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let shard: PartitionShard
    private let wal: GroupCommitWAL
    let nodeID: Int32
    private let published: PublishedImage
    let clock: any Clock
    private var generator: SeededGenerator
    private(set) var pipeline: DecisionPipeline
    /// What was told last, while something is applied and not told of yet; nobody who waits for
    /// that goes on before.
    private var untold: MetadataImage?
    private(set) var partition: Partition?
    /// How the leader is asked; `nil` in a cluster of one.
    private(set) var calls: (any NodeCalls)?
    /// Decisions without records of their own, and reads: until so much is settled or applied.
    private var waiting: [Waiting] = []
    private var producerIDs: Range<Int64> = 0..<0
    /// Told, in order, of what the node must follow.
    private var follow: ((MetadataDelta) -> Void)?
    /// Told when this node begins or ceases to lead the metadata.
    private var onLeading: ((Bool) -> Void)?
    /// What this node registered as; 0 before that.
    var brokerEpoch: Int64 = 0
    let log = Logger("metadata")
    /// Whether this node starts without a log of the metadata.
    let isNew: Bool
    private let acknowledgement: MetadataAcknowledgement
    private let early: EarlyAcknowledgements
    let snapshotRecords: Int64
    /// Where the log has to end for a snapshot to be tried again; `nil` while one is written.
    var nextSnapshot: Int64? = 0

    private struct Waiting {
        let isOver: (DecisionPipeline, _ end: Int64) -> Bool
        let continuation: UnsafeContinuation<Void, Never>
    }

    init(
        loop: EventLoop,
        shard: PartitionShard,
        wal: GroupCommitWAL,
        settings: MetadataController.Settings,
        isNew: Bool,
        snapshotRecords: Int64,
        acknowledgement: MetadataAcknowledgement,
        early: EarlyAcknowledgements,
        published: PublishedImage,
        clock: any Clock,
        generator: SeededGenerator
    ) {
        self.loop = loop
        self.shard = shard
        self.wal = wal
        self.isNew = isNew
        self.snapshotRecords = snapshotRecords
        self.acknowledgement = acknowledgement
        self.early = early
        nodeID = settings.nodeID
        self.published = published
        self.clock = clock
        self.generator = generator
        pipeline = DecisionPipeline(settings: settings)
    }

    /// Opens the metadata's log and takes part in its group.
    func start(
        recovered: RecoveredGroup?,
        beginning: MetadataImage.Partition.Beginning
    ) async throws {
        let configuration = EffectiveTopicConfiguration { key in
            switch key.name {
            case "max.message.bytes": "67108864"
            // What a snapshot stands for goes by whole segments.
            case "segment.bytes": "16777216"
            default: key.defaultValue
            }
        }
        let start = PartitionStart(
            id: Self.partitionID,
            topicID: .zero,
            groupID: Self.groupID,
            configuration: configuration,
            beginning: beginning,
            recovered: recovered,
            prepare: { [weak self] partition, stateMachine, replayed in
                self?.assumeIsolated { $0.load(replayed, partition, stateMachine) }
            }
        )
        partition = try await shard.start(start)
    }

    /// What is committed now; what changes from then on is handed to `follow`.
    func onChange(_ follow: @escaping @Sendable (MetadataDelta) -> Void) -> MetadataImage {
        tellApplied()
        self.follow = follow
        return pipeline.committed
    }

    func onLeading(_ body: @escaping @Sendable (Bool) -> Void) {
        onLeading = body
        if pipeline.isLeading { body(true) }
    }

    /// Other nodes can be asked from now on.
    func connect(_ calls: any NodeCalls) { self.calls = calls }

    // MARK: Following the log

    private func load(
        _ batches: [RecordBatch],
        _ partition: Partition,
        _ stateMachine: PartitionStateMachine
    ) {
        self.partition = partition
        // Whoever is told of a topic may ask another node for it next.
        partition.replica.tellsCommitsAtOnce = true
        startOver(batches)
        stateMachine.onBatch = { [unowned self] batch in
            self.assumeIsolated { $0.replay(batch) }
        }
        stateMachine.onRestored = { [unowned self] batches in
            self.assumeIsolated { $0.startOver(batches) }
        }
        let told = partition.onLeadership
        partition.onLeadership = { [unowned self] epoch in
            told?(epoch)
            self.assumeIsolated { $0.leadershipChanged(epoch) }
        }
    }

    private func replay(_ batch: RecordBatch) {
        if untold == nil {
            untold = pipeline.committed
            loop.execute { [weak self] in self?.assumeIsolated { $0.tellApplied() } }
        }
        pipeline.replay(Self.records(of: batch))
        reportLost(early.committed(batch))
        if isSnapshotDue {
            Task.immediate(executorPreference: loop) { await self.writeSnapshot() }
        }
    }

    /// This is the whole log; another may have been followed before.
    private func startOver(_ batches: [RecordBatch]) {
        if pipeline.isLeading { leadershipChanged(nil) }
        tellApplied()
        let before = pipeline.committed
        do {
            pipeline.restore(try MetadataImage(log: batches.lazy.flatMap(Self.records)))
        } catch {
            preconditionFailure("the snapshot the metadata's log begins with: \(error)")
        }
        reportLost(early.replaced(below: appliedEnd))
        tell(changesSince: before)
        resumeWaiting(end: appliedEnd)
    }

    private func reportLost(_ count: Int) {
        guard count > 0 else { return }
        log.error(
            "changes of the metadata that this node acknowledged are lost: it ceased to lead before"
                + " a majority had them",
            ["count": "\(count)"]
        )
    }

    private static func records(of batch: RecordBatch) -> [MetadataRecord] {
        guard let records = try? batch.records() else {
            preconditionFailure("the metadata batch at \(batch.baseOffset) cannot be read")
        }
        return records.compactMap { record in
            guard let value = record.value else { return nil }
            guard let change = try? MetadataRecord(decoding: value) else {
                preconditionFailure(
                    "the metadata record at \(record.offset) is of a later version;"
                        + " upgrade this node"
                )
            }
            return change
        }
    }

    /// Tells of all that was applied since it was last told: once for a whole turn of the loop,
    /// as it takes a look at the differences between two images.
    func tellApplied() {
        guard let before = untold else { return }
        untold = nil
        tell(changesSince: before)
        resumeWaiting(end: appliedEnd)
    }

    private func tell(changesSince before: MetadataImage) {
        published.publish(pipeline.committed)
        guard let follow else { return }
        let delta = MetadataDelta(from: before, to: pipeline.committed)
        if !delta.isEmpty { follow(delta) }
    }

    private func leadershipChanged(_ epoch: Int32?) {
        tellApplied()
        if let epoch {
            pipeline.begin(term: UInt64(epoch))
        } else {
            guard pipeline.isLeading else { return }
            pipeline.end()
        }
        resumeWaiting(end: appliedEnd)
        onLeading?(epoch != nil)
    }

    var appliedEnd: Int64 { partition?.log.logEndOffset.rawValue ?? 0 }

    private func resumeWaiting(end: Int64) {
        guard !waiting.isEmpty else { return }
        let all = waiting
        waiting = all.filter { !$0.isOver(pipeline, end) }
        for waiter in all where waiter.isOver(pipeline, end) { waiter.continuation.resume() }
    }

    private func wait(
        until isOver: @escaping (DecisionPipeline, _ end: Int64) -> Bool
    ) async {
        guard untold != nil || !isOver(pipeline, appliedEnd) else { return }
        await withUnsafeContinuation {
            waiting.append(Waiting(isOver: isOver, continuation: $0))
        }
    }

    // MARK: Writing

    nonisolated var image: MetadataImage { published.current }

    var isLeading: Bool { pipeline.isLeading }

    /// Who leads the metadata, as far as this node knows.
    var leader: Int32? {
        pipeline.isLeading
            ? nodeID : partition?.replica.info.leader.map { Int32(truncatingIfNeeded: $0.rawValue) }
    }

    func view() -> ClusterNode.View {
        .init(image: pipeline.committed, group: partition?.replica.info, leader: leader)
    }

    func write(_ command: MetadataCommand) async throws(MetadataProblem) -> MetadataAnswer {
        var command = command
        let deadline = clock.monotonicNanoseconds + Self.patience
        while true {
            let attempt = await attempt(command, deadline)
            switch attempt {
            case .answered(let answer, let position):
                await waitForPosition(position, until: deadline)
                return answer
            case .refused(let problem): throw problem
            case .notLeading(let problem), .unknown(let problem):
                if case .unknown = attempt { command.isRetry = true }
                guard clock.monotonicNanoseconds < deadline, !(partition?.hasFailed ?? false) else {
                    throw problem
                }
                await loop.sleep(nanoseconds: Self.pause)
            }
        }
    }

    func attempt(
        _ command: MetadataCommand,
        _ deadline: Int64
    ) async -> MetadataAttempt {
        if pipeline.isLeading { return await decide(command) }
        guard let calls, let leader, leader != nodeID else {
            return .notLeading(
                .init(
                    partition?.hasFailed == true ? .kafkaStorageError : .coordinatorNotAvailable,
                    "the metadata has no leader at the moment"
                )
            )
        }
        let left = max(1, deadline - clock.monotonicNanoseconds)
        do {
            let answer = try await calls.call(
                leader,
                .forwardWrite,
                command.encoded(),
                within: min(left, .seconds(5))
            )
            guard let attempt = try? MetadataAttempt(decoding: answer) else {
                return .unknown(.init(.requestTimedOut, "node \(leader) answered nonsense"))
            }
            return attempt
        } catch {
            let problem = MetadataProblem(
                .requestTimedOut,
                "node \(leader), which leads the metadata, did not answer: \(error)"
            )
            switch error {
            case .timedOut, .unreachable: return .unknown(problem)
            case .refused, .overloaded: return .notLeading(problem)
            case .tooLarge: return .refused(problem)
            }
        }
    }

    func decide(_ command: MetadataCommand) async -> MetadataAttempt {
        let isEarly = acknowledgement == .leader && command.mayBeAcknowledgedEarly
        return await decide(until: isEarly ? .written : .committed) { $0.handle(command) }
    }

    /// Decides here, and waits until that is committed, or if that suffices, on this node's disk.
    func decide(
        until point: AppendPoint = .committed,
        _ body: (inout MetadataController) -> Decision<MetadataAnswer>,
        onCommitted: ((_ offset: Int64) -> Void)? = nil
    ) async -> MetadataAttempt {
        #if CHRONIK_PLANT
        let point = PlantedMistake.inForce == .decisionNotAwaited ? .written : point
        #endif
        let pending: DecisionPipeline.Pending<MetadataAnswer>
        do throws(MetadataProblem) {
            if wal.isFull { throw .init(.kafkaStorageError, "the disk is full") }
            pending = try pipeline.decide(body)
        } catch {
            return error.code == .notController ? .notLeading(error) : .refused(error)
        }
        if !pending.records.isEmpty {
            let epoch = partition?.leaderEpoch ?? -1
            let (problem, offset) = await append(pending, until: point)
            if let problem { return problem }
            if point == .written, pipeline.state(of: pending.ticket) == .waiting {
                early.add(offset: offset, epoch: epoch)
                return answer(pending, position: -1)
            }
            onCommitted?(offset)
        }
        await wait { pipeline, _ in pipeline.state(of: pending.ticket) != .waiting }
        guard pipeline.state(of: pending.ticket) == .committed else {
            return .unknown(.init(.requestTimedOut, "the metadata's leader changed meanwhile"))
        }
        return answer(pending, position: appliedEnd)
    }

    private func answer(
        _ pending: DecisionPipeline.Pending<MetadataAnswer>,
        position: Int64
    ) -> MetadataAttempt {
        do {
            return .answered(try pending.result.get(), position: position)
        } catch {
            return .refused(error)
        }
    }

    /// Appends the records of a decision and waits until they are committed or written, at an
    /// offset; what is in the way otherwise.
    private func append(
        _ pending: DecisionPipeline.Pending<MetadataAnswer>,
        until point: AppendPoint
    ) async -> (problem: MetadataAttempt?, offset: Int64) {
        guard let partition else { preconditionFailure("a decision without a log") }
        var builder = RecordBatchBuilder(baseTimestamp: clock.wallMilliseconds)
        for record in pending.records { builder.append(key: nil, value: record.encoded()) }
        let wait = ProduceWait(
            count: 1,
            deadline: clock.monotonicNanoseconds + Self.patience
        )
        partition.append(
            builder.finish(),
            maxBytes: partition.configuration.maxMessageBytes,
            until: point,
            to: wait,
            slot: 0
        )
        if wait.isDone, wait.results[0].error != .none {
            pipeline.withdraw(pending)
            // Its leadership goes to another: nothing was appended.
            if wait.results[0].error == .notLeaderOrFollower {
                return (.notLeading(problem(wait.results[0])), -1)
            }
            return (.refused(problem(wait.results[0])), -1)
        }
        await wait.wait()
        let result = wait.results[0]
        guard result.error != .none else { return (nil, result.baseOffset) }
        return (partition.hasFailed ? .refused(problem(result)) : .unknown(problem(result)), -1)
    }

    private func problem(_ result: AppendResult) -> MetadataProblem {
        .init(result.error, result.message ?? "the metadata could not be committed")
    }

    /// Returns once so much of the log is applied here, or at the deadline.
    func waitForPosition(_ position: Int64, until deadline: Int64) async {
        guard untold != nil || appliedEnd < position else { return }
        let timer = loop.schedule(after: max(1, deadline - clock.monotonicNanoseconds)) {
            [weak self] in
            self?.assumeIsolated { $0.resumeWaiting(end: .max) }
        }
        await wait { _, end in end >= position }
        timer.cancel()
    }

    // MARK: Numbers nobody has had

    func newTopicID() -> KafkaUUID { KafkaUUID(from: &generator) }

    /// A producer id nobody has had.
    func nextProducerID() async throws(MetadataProblem) -> Int64 {
        while producerIDs.isEmpty {
            let answer = try await write(
                MetadataCommand(.allocateProducerIDs(broker: nodeID, epoch: brokerEpoch))
            )
            guard case .producerIDs(let first, let count) = answer else { throw answer.problem }
            if producerIDs.isEmpty { producerIDs = first..<first + count }
        }
        let id = producerIDs.lowerBound
        producerIDs = id + 1..<producerIDs.upperBound
        return id
    }
}
