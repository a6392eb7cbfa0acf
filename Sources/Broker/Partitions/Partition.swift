import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime

/// A partition on this node: its Raft replica, its log, and whoever waits for either.
///
/// Confined to the loop of its shard. Offsets are handed out here, when a batch is proposed; what
/// is committed comes back through ``PartitionStateMachine`` in the same order.
final class Partition: @unchecked Sendable {
    // Unchecked: confined to the shard's loop.
    let id: TopicPartition
    let topicID: KafkaUUID
    let groupID: UInt64
    /// One of the broker's own topics.
    let isInternal: Bool
    let log: PartitionLog
    let replica: PartitionReplica
    private let stateMachine: PartitionStateMachine
    private let clock: any Clock
    var configuration: EffectiveTopicConfiguration

    /// The offset the next batch gets; ahead of the log's end by what is not yet committed.
    private var nextOffset: Int64
    /// The term this replica leads in; `nil` while it does not lead.
    private(set) var leaderEpoch: Int32?
    private(set) var hasFailed = false
    /// The last attempt to write its segments failed; the next will be made by itself.
    var cannotFlush = false
    private var isRemoved = false

    private struct PendingProduce {
        let lastOffset: Int64
        let wait: ProduceWait
        let slot: Int
    }
    /// In the order of their offsets.
    private var pendingProduces: [PendingProduce] = []
    private var fetchSignals: [FetchSignal] = []

    /// Called with each leadership change: the epoch led in, or `nil`.
    var onLeadership: ((Int32?) -> Void)?
    /// Called once when the partition's log can no longer be read or written.
    var onFailed: ((any Error) -> Void)?
    /// Called after entries were applied.
    var onCommitted: (() -> Void)?

    init(
        id: TopicPartition,
        topicID: KafkaUUID,
        groupID: UInt64,
        replica: PartitionReplica,
        stateMachine: PartitionStateMachine,
        configuration: EffectiveTopicConfiguration,
        clock: any Clock
    ) {
        self.id = id
        self.topicID = topicID
        self.groupID = groupID
        isInternal = InternalTopic(rawValue: id.topic) != nil
        self.replica = replica
        self.stateMachine = stateMachine
        self.configuration = configuration
        self.clock = clock
        log = stateMachine.log
        nextOffset = log.logEndOffset.rawValue
        replica.onLeadership = { [unowned self] leads, term in
            leadershipChanged(leads ? Int32(truncatingIfNeeded: term.rawValue) : nil)
        }
        replica.onApplied = { [unowned self] in committed() }
        replica.onStorageFailed = { [unowned self] error in
            hasFailed = true
            leadershipChanged(nil)
            onFailed?(error)
        }
    }

    // MARK: Producing

    /// Appends a batch and settles `slot` of `wait`, at once or when the batch is committed.
    func append(_ batch: RecordBatch, maxBytes: Int, to wait: ProduceWait, slot: Int) {
        do {
            try append(batch, maxBytes: maxBytes) { result, lastOffset in
                wait.expect(slot, result)
                pendingProduces.append(
                    PendingProduce(lastOffset: lastOffset, wait: wait, slot: slot)
                )
            } duplicate: { result in
                wait.settle(slot, result)
            }
        } catch {
            wait.settle(slot, error.result)
        }
    }

    private func append(
        _ batch: RecordBatch,
        maxBytes: Int,
        appended: (AppendResult, _ lastOffset: Int64) -> Void,
        duplicate: (AppendResult) -> Void
    ) throws(AppendProblem) {
        guard !hasFailed else { throw AppendProblem(.kafkaStorageError) }
        guard let epoch = leaderEpoch else { throw AppendProblem(.notLeaderOrFollower) }
        guard batch.bytes.count <= maxBytes else {
            throw AppendProblem(
                .messageTooLarge,
                "a batch of \(batch.bytes.count) bytes; the limit is \(maxBytes)"
            )
        }
        let now = clock.wallMilliseconds
        try checkTimestamp(batch, now: now)
        switch log.producers.check(batch, now: now) {
        case .new: break
        case .duplicate(let offset):
            duplicate(result(baseOffset: offset.rawValue, now: now))
            return
        case .duplicatePending(let offset):
            appended(
                result(baseOffset: offset.rawValue, now: now),
                offset.rawValue + Int64(batch.lastOffsetDelta)
            )
            sortPendingProduces()
            return
        case .rejected(let code): throw AppendProblem(code)
        }
        if configuration.usesLogAppendTime { batch.setLogAppendTime(now) }
        batch.assign(baseOffset: Offset(nextOffset), leaderEpoch: LeaderEpoch(epoch))
        do {
            try replica.propose(RaftPayload(batch.bytes))
        } catch {
            throw AppendProblem(proposing: error)
        }
        log.producers.stage(batch, now: now)
        let base = nextOffset
        nextOffset += Int64(batch.lastOffsetDelta) + 1
        appended(result(baseOffset: base, now: now), nextOffset - 1)
    }

    private func result(baseOffset: Int64, now: Int64) -> AppendResult {
        AppendResult(
            baseOffset: baseOffset,
            logAppendTime: configuration.usesLogAppendTime ? now : -1,
            logStartOffset: log.logStartOffset.rawValue
        )
    }

    private func checkTimestamp(_ batch: RecordBatch, now: Int64) throws(AppendProblem) {
        guard !configuration.usesLogAppendTime, batch.maxTimestamp >= 0 else { return }
        let (age, ahead) = (now &- batch.baseTimestamp, batch.maxTimestamp &- now)
        guard age <= configuration.timestampBeforeMaxMilliseconds,
            ahead <= configuration.timestampAfterMaxMilliseconds
        else {
            throw AppendProblem(
                .invalidTimestamp,
                "the timestamps lie outside what the topic allows"
            )
        }
    }

    /// A retry of a batch still under way waits for an offset that others already wait for.
    private func sortPendingProduces() { pendingProduces.sort { $0.lastOffset < $1.lastOffset } }

    /// Answers the requests whose time is up; their batches may still be committed.
    func expireProduces(at now: Int64) {
        guard pendingProduces.contains(where: { $0.wait.deadline <= now }) else { return }
        let expired = pendingProduces.filter { $0.wait.deadline <= now }
        pendingProduces.removeAll { $0.wait.deadline <= now }
        for produce in expired { produce.wait.finish(produce.slot, error: .requestTimedOut) }
    }

    var hasPendingProduces: Bool { !pendingProduces.isEmpty }

    /// Tells those who wait that the log cannot be written now; their batches may still be
    /// committed once it can.
    func refuseProduces() {
        let waiting = pendingProduces
        pendingProduces = []
        for produce in waiting { produce.wait.finish(produce.slot, error: .kafkaStorageError) }
    }

    // MARK: What Raft tells

    private func leadershipChanged(_ epoch: Int32?) {
        leaderEpoch = epoch
        log.producers.dropStaged()
        nextOffset = log.logEndOffset.rawValue
        if epoch == nil {
            let error: ErrorCode = hasFailed ? .kafkaStorageError : .notLeaderOrFollower
            let waiting = pendingProduces
            pendingProduces = []
            for produce in waiting { produce.wait.finish(produce.slot, error: error) }
            wakeFetches()
        }
        onLeadership?(epoch)
    }

    private func committed() {
        let end = log.logEndOffset.rawValue
        if nextOffset < end { nextOffset = end }
        var done = 0
        while done < pendingProduces.count, pendingProduces[done].lastOffset < end { done += 1 }
        if done > 0 {
            let finished = pendingProduces[..<done]
            pendingProduces.removeFirst(done)
            for produce in finished { produce.wait.finish(produce.slot) }
        }
        wakeFetches()
        onCommitted?()
    }

    // MARK: Fetching

    /// Calls `signal` when there is more to read, or nobody here may be read from any more.
    func notify(_ signal: FetchSignal) { fetchSignals.append(signal) }

    func forget(_ signal: FetchSignal) { fetchSignals.removeAll { $0 === signal } }

    private func wakeFetches() {
        guard !fetchSignals.isEmpty else { return }
        let waiting = fetchSignals
        fetchSignals = []
        for signal in waiting { signal.fire() }
    }

    /// Checks what a client believes of the leader (KIP-320).
    func checkLeadership(clientEpoch: Int32) -> ErrorCode? {
        if hasFailed { return .kafkaStorageError }
        guard let leaderEpoch else { return .notLeaderOrFollower }
        if clientEpoch < 0 || clientEpoch == leaderEpoch { return nil }
        return clientEpoch < leaderEpoch ? .fencedLeaderEpoch : .unknownLeaderEpoch
    }

    // MARK: DeleteRecords

    /// Moves the log's start, through the log of Raft, so that every replica does.
    func deleteRecords(before offset: Int64) async -> (lowWatermark: Int64, error: ErrorCode) {
        if let error = checkLeadership(clientEpoch: -1) { return (-1, error) }
        let end = log.logEndOffset.rawValue
        let target = offset == -1 ? end : offset
        guard target >= 0 && target <= end else { return (-1, .offsetOutOfRange) }
        if target > log.logStartOffset.rawValue {
            do {
                _ = try await replica.proposeAndWait(
                    RaftPayload(PartitionCommand.deleteRecords(before: target).encoded())
                )
            } catch {
                return (-1, AppendProblem(proposing: error).code)
            }
        }
        return (log.logStartOffset.rawValue, .none)
    }

    /// Ends the partition on this node; everybody waiting learns that it is gone.
    func remove() {
        guard !isRemoved else { return }
        isRemoved = true
        replica.stop()
        leaderEpoch = nil
        let waiting = pendingProduces
        pendingProduces = []
        for produce in waiting {
            produce.wait.finish(produce.slot, error: .unknownTopicOrPartition)
        }
        wakeFetches()
        onLeadership?(nil)
    }
}

/// Why a batch was not appended.
struct AppendProblem: Error {
    let code: ErrorCode
    let message: String?

    init(_ code: ErrorCode, _ message: String? = nil) {
        self.code = code
        self.message = message
    }

    init(proposing error: RaftError) {
        switch error {
        case .notLeader, .stopped, .unknownGroup: self.init(.notLeaderOrFollower)
        // Retriable, and true: it did not get in before its time.
        case .overloaded, .outcomeUnknown, .timedOut: self.init(.requestTimedOut)
        case .storageFailed, .logLost, .logConflict, .snapshotFailed:
            self.init(.kafkaStorageError)
        case .rejected, .changePending, .logHasNoBase: self.init(.notLeaderOrFollower)
        }
    }

    var result: AppendResult { AppendResult(error: code, message: message) }
}
