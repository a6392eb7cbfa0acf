import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import RaftRuntime

/// The group coordinators of one event loop: gives the pure shards their clock, their log and the
/// requests that wait for them.
actor CoordinatorLoop {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// Deadlines are kept that much late at most, so that many cost one look.
    private static let leastDelay = Int64.milliseconds(50)
    /// Time between two looks at the age of offsets.
    private static let expiryNanoseconds = Int64.milliseconds(600_000)
    private static let appendTimeoutMilliseconds: Int32 = 5_000
    private static let snapshotBatchBytes = 64 << 10

    private final class Hosted: @unchecked Sendable {
        // Unchecked: confined to the loop.
        let partition: TopicPartition
        private(set) weak var log: Partition?
        var coordinator: GroupCoordinatorShard
        /// It leads, and everything of earlier leaders is replayed.
        var isActive = false
        /// Counts the times it became active.
        var reign = 0
        /// Appends that have no outcome yet.
        var underWay = 0
        var snapshot: GroupsSnapshot
        /// Writes that come after the part of a snapshot that is awaited.
        var held: [GroupEffects.Write] = []

        init(_ log: Partition, _ coordinator: GroupCoordinatorShard, _ settings: GroupSettings) {
            self.log = log
            partition = log.id
            self.coordinator = coordinator
            snapshot = GroupsSnapshot(leastRecords: settings.snapshotRecords)
        }

        var logEnd: Int64 { log?.log.logEndOffset.rawValue ?? 0 }
    }

    private let shard: PartitionShard
    private let settings: GroupSettings
    private var generator: SeededGenerator
    private var hosted: [Int32: Hosted] = [:]
    private var waiting: [ReplyToken: UnsafeContinuation<GroupReply?, Never>] = [:]
    private var nextToken: UInt64 = 1
    private var deadlineTimer: LoopTimer?
    private var isExpiring = false

    init(
        loop: EventLoop,
        shard: PartitionShard,
        settings: GroupSettings,
        generator: SeededGenerator
    ) {
        self.loop = loop
        self.shard = shard
        self.settings = settings
        self.generator = generator
    }

    private var now: Int64 { loop.clock.monotonicNanoseconds / 1_000_000 }

    // MARK: The log

    /// Follows a partition of `__consumer_offsets` from its start, whoever leads it, so that a
    /// replica that comes to lead knows every group at once.
    ///
    /// | it | members' sessions | requests |
    /// |---|---|---|
    /// | follows | run elsewhere | refused: not the coordinator |
    /// | was elected | | refused: it is loading |
    /// | has applied all that earlier leaders committed | begin anew | served |
    func follow(
        _ partition: Partition,
        _ stateMachine: PartitionStateMachine,
        _ batches: [RecordBatch]
    ) {
        let entry = Hosted(partition, makeCoordinator(), settings)
        hosted[partition.id.partition] = entry
        for batch in batches { replay(batch, into: entry) }
        stateMachine.onBatch = { [unowned self] batch in
            self.assumeIsolated { $0.replay(batch, into: entry) }
        }
        stateMachine.onRestored = { [unowned self] batches in
            self.assumeIsolated { $0.startOver(entry, batches) }
        }
        let tellOthers = partition.onLeadership
        partition.onLeadership = { [unowned self, unowned partition] epoch in
            self.assumeIsolated {
                $0.leadershipChanged(entry, leads: epoch != nil)
                if partition.isRemoved { $0.forget(entry) }
            }
            tellOthers?(epoch)
        }
    }

    private func makeCoordinator() -> GroupCoordinatorShard {
        GroupCoordinatorShard(
            settings: settings,
            wallMilliseconds: { [clock = loop.clock] in clock.wallMilliseconds },
            memberSuffix: { [unowned self] in self.assumeIsolated { $0.randomSuffix() } }
        )
    }

    /// A snapshot took the place of the log that was followed.
    private func startOver(_ entry: Hosted, _ batches: [RecordBatch]) {
        CoverageMark.coordinatorStartedOver.hit()
        leadershipChanged(entry, leads: false)
        entry.coordinator = makeCoordinator()
        for batch in batches { replay(batch, into: entry) }
    }

    /// The partition has left this node.
    private func forget(_ entry: Hosted) {
        if hosted[entry.partition.partition] === entry {
            hosted[entry.partition.partition] = nil
        }
    }

    private func replay(_ batch: RecordBatch, into entry: Hosted) {
        guard let records = try? batch.records() else {
            preconditionFailure(
                "\(entry.partition): the batch at \(batch.baseOffset) cannot be read"
            )
        }
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .followersDoNotReplay && !entry.isActive { return }
        #endif
        for record in records {
            guard let key = record.key else { continue }
            entry.coordinator.replay(
                key: key,
                value: record.value,
                isLoading: !entry.isActive
            )
        }
    }

    private func leadershipChanged(_ entry: Hosted, leads: Bool) {
        guard leads != entry.isActive else { return }
        entry.isActive = leads
        guard leads else {
            CoverageMark.coordinatorUnloaded.hit()
            // Whoever waits for what is held back is answered with the others.
            entry.held = []
            entry.snapshot = GroupsSnapshot(leastRecords: settings.snapshotRecords)
            return carryOut(entry.coordinator.unload(), for: entry)
        }
        CoverageMark.coordinatorLoaded.hit()
        entry.reign += 1
        entry.coordinator.lead(now: now)
        awaitDeadline(of: entry)
        startExpiring()
    }

    private func randomSuffix() -> String {
        let (high, low) = (generator.next(), generator.next())
        let digits = [high, low].map { number in
            let text = String(number, radix: 16)
            return String(repeating: "0", count: 16 - text.count) + text
        }.joined()
        var text = ""
        for (place, digit) in digits.enumerated() {
            if [8, 12, 16, 20].contains(place) { text += "-" }
            text.append(digit)
        }
        return text
    }

    // MARK: Requests

    /// Hands a request to the coordinator and waits for the reply; `nil` when this node is not the
    /// group's coordinator.
    func request(
        partition: Int32,
        _ body: @Sendable (GroupCoordinatorShard, ReplyToken, _ now: Int64) -> GroupEffects
    ) async -> GroupReply? {
        guard let entry = hosted[partition], entry.isActive else { return nil }
        let token = ReplyToken(nextToken)
        nextToken += 1
        return await withUnsafeContinuation { continuation in
            waiting[token] = continuation
            carryOut(body(entry.coordinator, token, now), for: entry)
        }
    }

    /// Why a request was not taken.
    func refusal(partition: Int32) -> ErrorCode {
        guard let log = hosted[partition]?.log, !log.hasFailed, log.replica.info.isLeader else {
            return .notCoordinator
        }
        return .coordinatorLoadInProgress
    }

    /// Reads a coordinator's state; `nil` when this node is not the group's coordinator.
    func read<T: Sendable>(
        partition: Int32,
        _ body: @Sendable (GroupCoordinatorShard) -> T
    ) -> T? {
        guard let entry = hosted[partition], entry.isActive else { return nil }
        return body(entry.coordinator)
    }

    func readAll<T: Sendable>(_ body: @Sendable (GroupCoordinatorShard) -> T) -> [T] {
        hosted.sorted { $0.key < $1.key }.filter(\.value.isActive).map {
            body($0.value.coordinator)
        }
    }

    func topicDeleted(_ topic: String) {
        for (_, entry) in hosted.sorted(by: { $0.key < $1.key }) where entry.isActive {
            carryOut(entry.coordinator.topicDeleted(topic, now: now), for: entry)
        }
    }

    // MARK: Effects

    private func carryOut(_ effects: GroupEffects, for entry: Hosted) {
        for write in effects.writes { append(write, for: entry) }
        for (token, reply) in effects.replies {
            waiting.removeValue(forKey: token)?.resume(returning: reply)
        }
        awaitDeadline(of: entry)
    }

    private func append(_ write: GroupEffects.Write, for entry: Hosted) {
        guard !entry.snapshot.isAwaited else { return entry.held.append(write) }
        let coordinator = entry.coordinator
        let items = batches(of: write.records, for: entry, maxBytes: .max)
        entry.underWay += 1
        Task.immediate(executorPreference: loop) {
            let results = await self.shard.append(
                items,
                timeoutMilliseconds: Self.appendTimeoutMilliseconds
            )
            entry.underWay -= 1
            let effects = coordinator.appendFinished(
                write.id,
                Self.outcome(results[0].error),
                now: self.now
            )
            self.carryOut(effects, for: entry)
            self.considerSnapshot(of: entry)
        }
    }

    /// Records as batches, each not much larger than `maxBytes`.
    private func batches(
        of records: [CoordinatorRecord],
        for entry: Hosted,
        maxBytes: Int
    ) -> [AppendItem] {
        var items: [AppendItem] = []
        var rest = records[...]
        while !rest.isEmpty {
            var builder = RecordBatchBuilder(baseTimestamp: loop.clock.wallMilliseconds)
            while builder.byteCount < maxBytes, let record = rest.popFirst() {
                builder.append(key: record.key, value: record.value)
            }
            items.append(AppendItem(partition: entry.partition, batch: builder.finish()))
        }
        return items
    }

    private static func outcome(_ error: ErrorCode) -> ErrorCode {
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .offsetsNotAwaited { return .none }
        #endif
        return error
    }

    // MARK: Snapshots

    /// An append has its outcome.
    private func considerSnapshot(of entry: Hosted) {
        guard entry.isActive, let log = entry.log else { return }
        entry.snapshot.consider(
            logStart: log.log.logStartOffset.rawValue,
            logEnd: entry.logEnd,
            entry.coordinator
        )
        guard entry.snapshot.isAwaited, entry.underWay == 0 || Self.hurries else { return }
        let end = entry.logEnd
        // Of one that failed it is not known whether it will be committed.
        if log.isDrained || Self.hurries {
            appendPart(of: entry, at: end)
        } else {
            entry.snapshot.end(logEnd: end)
        }
        let held = entry.held
        entry.held = []
        for write in held { append(write, for: entry) }
    }

    private static var hurries: Bool {
        #if CHRONIK_PLANT
        PlantedMistake.inForce == .groupsNotAwaited
        #else
        false
        #endif
    }

    private func appendPart(of entry: Hosted, at offset: Int64) {
        let records = entry.snapshot.nextPart(of: entry.coordinator)
        let items = batches(of: records, for: entry, maxBytes: Self.snapshotBatchBytes)
        let reign = entry.reign
        entry.underWay += 1
        Task.immediate(executorPreference: loop) {
            let results = await self.shard.append(
                items,
                timeoutMilliseconds: Self.appendTimeoutMilliseconds
            )
            entry.underWay -= 1
            let base = results.first?.baseOffset ?? offset
            let isCommitted =
                results.allSatisfy { $0.error == .none } && (base == offset || Self.hurries)
            if entry.isActive && entry.reign == reign {
                await self.partEnded(of: entry, committedAt: isCommitted ? base : nil)
            }
            self.considerSnapshot(of: entry)
        }
    }

    private func partEnded(of entry: Hosted, committedAt offset: Int64?) async {
        guard let offset else { return entry.snapshot.end(logEnd: entry.logEnd) }
        guard let start = entry.snapshot.committed(at: offset) else { return }
        CoverageMark.groupsWrittenAgain.hit()
        let reign = entry.reign
        _ = await shard.deleteRecords(of: entry.partition, before: start)
        if entry.reign == reign { entry.snapshot.end(logEnd: entry.logEnd) }
    }

    // MARK: Time

    /// Looks at the coordinators when the first deadline of this one has come.
    private func awaitDeadline(of entry: Hosted) {
        let deadline = entry.coordinator.nextDeadline
        guard entry.isActive, deadline < .max else { return }
        let now = loop.clock.monotonicNanoseconds
        let due = max(deadline * 1_000_000, now + Self.leastDelay)
        if let timer = deadlineTimer, timer.body != nil, timer.deadline <= due { return }
        deadlineTimer?.cancel()
        deadlineTimer = loop.schedule(after: due - now) { [weak self] in
            self?.assumeIsolated { $0.deadlineHasCome() }
        }
    }

    private func deadlineHasCome() {
        deadlineTimer = nil
        for (_, entry) in hosted.sorted(by: { $0.key < $1.key }) where entry.isActive {
            carryOut(entry.coordinator.expire(now: now), for: entry)
        }
    }

    private func startExpiring() {
        guard !isExpiring else { return }
        isExpiring = true
        _ = loop.schedule(after: Self.expiryNanoseconds) { [weak self] in
            self?.assumeIsolated { $0.expireOffsets() }
        }
    }

    private func expireOffsets() {
        isExpiring = false
        for (_, entry) in hosted.sorted(by: { $0.key < $1.key }) where entry.isActive {
            carryOut(entry.coordinator.expireOffsets(), for: entry)
            startExpiring()
        }
    }
}
