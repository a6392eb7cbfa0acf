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
    var configuration: EffectiveTopicConfiguration { didSet { updateDemand() } }

    /// The offset the next batch gets; ahead of the log's end by what is not yet committed.
    private var nextOffset: Int64
    /// Whether this replica leads, and everything that it has appended is applied.
    var isDrained: Bool { leaderEpoch != nil && nextOffset == log.logEndOffset.rawValue }
    /// The term this replica leads in; `nil` while it does not lead.
    private(set) var leaderEpoch: Int32?
    private(set) var hasFailed = false
    /// The last attempt to write its segments failed; the next will be made by itself.
    var cannotFlush = false
    private(set) var isRemoved = false
    private let inSync: InSyncTable
    /// How many voters must have a batch before acks=all is answered; 0 where a majority is enough.
    private var demand = 0

    private struct PendingProduce {
        let lastOffset: Int64
        let wait: ProduceWait
        let slot: Int
    }
    /// In the order of their offsets.
    private var pendingProduces: [PendingProduce] = []
    /// Those that wait for this node's disk only, where others vote too; in the order of their
    /// entries.
    private var pendingWrites: [(index: LogIndex, produce: PendingProduce)] = []
    /// Those that wait for more voters than a majority; in the order of the entries those must have.
    private var demandingProduces: [(index: LogIndex, produce: PendingProduce)] = []
    /// Whether the shard was told that a produce waits, and has not found since that none does.
    private var isSwept = false
    private var fetchSignals: [FetchSignal] = []

    /// Called with each leadership change: the epoch led in, or `nil`.
    var onLeadership: ((Int32?) -> Void)?
    /// Called when a leader is known, this node or another, or none any more.
    ///
    /// Where it is this node, it serves from ``onLeadership`` on.
    var onLeaderChanged: ((_ leader: Int32?, _ epoch: Int32) -> Void)?
    /// Called when the members of the group have changed, as far as this replica has applied.
    var onMembershipChanged: ((Membership) -> Void)?
    /// Called once when the partition's log can no longer be read or written.
    var onFailed: ((any Error) -> Void)?
    /// Called after entries were applied.
    var onCommitted: (() -> Void)?
    /// Called when a produce waits, unless ``endsSweeping()`` has yet to find that none does.
    var onProduceWaits: (() -> Void)?

    init(
        id: TopicPartition,
        topicID: KafkaUUID,
        groupID: UInt64,
        replica: PartitionReplica,
        stateMachine: PartitionStateMachine,
        configuration: EffectiveTopicConfiguration,
        inSync: InSyncTable,
        clock: any Clock
    ) {
        self.id = id
        self.topicID = topicID
        self.groupID = groupID
        isInternal = InternalTopic(rawValue: id.topic) != nil
        self.replica = replica
        self.stateMachine = stateMachine
        self.configuration = configuration
        self.inSync = inSync
        self.clock = clock
        log = stateMachine.log
        nextOffset = log.logEndOffset.rawValue
        replica.onLeadership = { [unowned self] leads, term in
            leadershipChanged(leads ? Int32(truncatingIfNeeded: term.rawValue) : nil)
        }
        replica.onLeaderChanged = { [unowned self] leader, term in
            onLeaderChanged?(
                leader.map { Int32(truncatingIfNeeded: $0.rawValue) },
                Int32(truncatingIfNeeded: term.rawValue)
            )
        }
        replica.onMembershipChanged = { [unowned self] membership in
            updateDemand()
            onMembershipChanged?(membership)
        }
        replica.onApplied = { [unowned self] in committed() }
        replica.onDurable = { [unowned self] in written(through: $0) }
        replica.onStorageFailed = { [unowned self] error in
            hasFailed = true
            leadershipChanged(nil)
            onFailed?(error)
        }
        updateDemand()
    }

    // MARK: Producing

    /// Appends a batch and settles `slot` of `wait`: at once, or when the batch is committed or,
    /// if that suffices, durable here.
    ///
    /// Where this replica votes alone the two are the same moment. Where more replicas must have it
    /// than commit it, "committed" is when they do.
    func append(
        _ batch: RecordBatch,
        maxBytes: Int,
        until point: AppendPoint = .committed,
        to wait: ProduceWait,
        slot: Int
    ) {
        let isDemanding = demand > 0 && point == .committed
        do {
            if isDemanding { try checkInSync(batch) }
            try append(batch, maxBytes: maxBytes) { result, lastOffset, index in
                if point == .staged { return wait.settle(slot, result) }
                #if CHRONIK_PLANT
                if PlantedMistake.inForce == .acknowledgedAtAppend {
                    return wait.settle(slot, result)
                }
                #endif
                let produce = expect(result, lastOffset: lastOffset, wait, slot)
                if isDemanding {
                    awaitDemand(produce, through: index)
                } else if point == .written, let index, !replica.isAlone {
                    pendingWrites.append((index, produce))
                } else {
                    pendingProduces.append(produce)
                }
            } duplicate: { result in
                guard isDemanding else { return wait.settle(slot, result) }
                awaitDemand(expect(result, lastOffset: -1, wait, slot), through: nil)
            }
        } catch {
            wait.settle(slot, error.result)
        }
    }

    private func expect(
        _ result: AppendResult,
        lastOffset: Int64,
        _ wait: ProduceWait,
        _ slot: Int
    ) -> PendingProduce {
        wait.expect(slot, result)
        if !isSwept {
            isSwept = true
            onProduceWaits?()
        }
        return PendingProduce(lastOffset: lastOffset, wait: wait, slot: slot)
    }

    private func append(
        _ batch: RecordBatch,
        maxBytes: Int,
        appended: (AppendResult, _ lastOffset: Int64, LogIndex?) -> Void,
        duplicate: (AppendResult) -> Void
    ) throws(AppendProblem) {
        guard !hasFailed else { throw AppendProblem(.kafkaStorageError) }
        // Before the sequence is looked at: of several batches of a producer the first would not be
        // taken, and the others called out of order.
        guard let epoch = leaderEpoch, replica.takesProposals(in: Term(UInt64(epoch))) else {
            throw AppendProblem(.notLeaderOrFollower)
        }
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
            CoverageMark.duplicateAnswered.hit()
            duplicate(result(baseOffset: offset.rawValue, now: now))
            return
        case .duplicatePending(let offset):
            CoverageMark.duplicatePendingAnswered.hit()
            appended(
                result(baseOffset: offset.rawValue, now: now),
                offset.rawValue + Int64(batch.lastOffsetDelta),
                nil
            )
            sortPendingProduces()
            return
        case .rejected(let code):
            CoverageMark.sequenceRefused.hit()
            throw AppendProblem(code)
        }
        if configuration.usesLogAppendTime { batch.setLogAppendTime(now) }
        batch.assign(baseOffset: Offset(nextOffset), leaderEpoch: LeaderEpoch(epoch))
        let index: LogIndex
        do {
            index = try replica.propose(RaftPayload(batch.bytes))
        } catch {
            throw AppendProblem(proposing: error)
        }
        log.producers.stage(batch, now: now)
        let base = nextOffset
        nextOffset += Int64(batch.lastOffsetDelta) + 1
        appended(result(baseOffset: base, now: now), nextOffset - 1, index)
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
        let expired =
            pendingProduces.filter { $0.wait.deadline <= now }
            + (pendingWrites + demandingProduces).map(\.produce)
            .filter { $0.wait.deadline <= now }
        guard !expired.isEmpty else { return }
        CoverageMark.produceTimedOut.hit()
        pendingProduces.removeAll { $0.wait.deadline <= now }
        pendingWrites.removeAll { $0.produce.wait.deadline <= now }
        demandingProduces.removeAll { $0.produce.wait.deadline <= now }
        for produce in expired { produce.wait.finish(produce.slot, error: .requestTimedOut) }
    }

    private var hasPendingProduces: Bool {
        !pendingProduces.isEmpty || !pendingWrites.isEmpty || !demandingProduces.isEmpty
    }

    /// Whether no produce waits any more; the next that does is told of.
    func endsSweeping() -> Bool {
        if !hasPendingProduces { isSwept = false }
        return !isSwept
    }

    private func endProduces(_ error: ErrorCode) {
        let waiting = pendingProduces + (pendingWrites + demandingProduces).map(\.produce)
        pendingProduces = []
        pendingWrites = []
        demandingProduces = []
        replica.onTurn = nil
        for produce in waiting { produce.wait.finish(produce.slot, error: error) }
    }

    /// Tells those who wait that the log cannot be written now; their batches may still be
    /// committed once it can.
    func refuseProduces() { endProduces(.kafkaStorageError) }

    // MARK: More replicas than a majority

    private func updateDemand() {
        demand = isInternal ? 0 : replica.votersBeyondMajority(configuration.minInSyncReplicas)
        finishDemanding()
    }

    /// Refuses a batch that cannot get to as many replicas as it must.
    private func checkInSync(_ batch: RecordBatch) throws(AppendProblem) {
        guard leaderEpoch != nil else { return }
        let count = replica.votersInSync(inSync)
        guard count < demand else { return }
        log.producers.refuse(batch)
        throw AppendProblem(
            .notEnoughReplicas,
            "replicas in sync: \(count); min.insync.replicas asks for \(demand)"
        )
    }

    /// `nil` for a batch that is in the log already, at an index that is not known any more.
    private func awaitDemand(_ produce: PendingProduce, through index: LogIndex?) {
        demandingProduces.append((index ?? replica.info.lastIndex, produce))
        if replica.onTurn == nil { replica.onTurn = { [unowned self] in finishDemanding() } }
        // They may all have it, and then nothing more happens.
        if index == nil { finishDemanding() }
    }

    private func finishDemanding() {
        guard !demandingProduces.isEmpty else { return }
        let end = log.logEndOffset.rawValue
        let held = demand > 0 ? replica.index(heldBy: demand) : nil
        let count =
            demandingProduces.firstIndex { index, produce in
                produce.lastOffset >= end || held.map { index > $0 } ?? false
            } ?? demandingProduces.count
        let finished = demandingProduces[..<count]
        demandingProduces.removeFirst(count)
        if demandingProduces.isEmpty { replica.onTurn = nil }
        for (_, produce) in finished { produce.wait.finish(produce.slot) }
    }

    /// Answers those who wait for replicas that have fallen out meanwhile; their batches are in the
    /// log, and an idempotent producer may send them again.
    func refuseUnmet() {
        guard !demandingProduces.isEmpty, replica.votersInSync(inSync) < demand else { return }
        let unmet = demandingProduces
        demandingProduces = []
        replica.onTurn = nil
        for (_, produce) in unmet {
            produce.wait.finish(produce.slot, error: .notEnoughReplicasAfterAppend)
        }
    }

    // MARK: What Raft tells

    private func leadershipChanged(_ epoch: Int32?) {
        leaderEpoch = epoch
        log.producers.dropStaged()
        nextOffset = log.logEndOffset.rawValue
        if epoch == nil {
            // An idempotent producer may send them again: whoever leads next knows which of them
            // are in the log before it takes any.
            if hasPendingProduces { CoverageMark.leadershipLostWhileProducing.hit() }
            endProduces(hasFailed ? .kafkaStorageError : .notLeaderOrFollower)
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
        if !pendingWrites.isEmpty { finishWrites { $0.produce.lastOffset < end } }
        if !demandingProduces.isEmpty { finishDemanding() }
        wakeFetches()
        onCommitted?()
    }

    private func written(through index: LogIndex) {
        if !pendingWrites.isEmpty { finishWrites { $0.index <= index } }
    }

    private func finishWrites(
        where isDone: ((index: LogIndex, produce: PendingProduce)) -> Bool
    ) {
        let count = pendingWrites.firstIndex { !isDone($0) } ?? pendingWrites.count
        guard count > 0 else { return }
        let finished = pendingWrites[..<count]
        pendingWrites.removeFirst(count)
        for (_, produce) in finished { produce.wait.finish(produce.slot) }
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

    /// Who leads, as far as this replica knows; asked when a client came to the wrong node.
    var knownLeader: KnownLeader {
        let info = replica.info
        return KnownLeader(
            id: info.leader.map { Int32(truncatingIfNeeded: $0.rawValue) },
            epoch: Int32(truncatingIfNeeded: info.term.rawValue)
        )
    }

    /// Checks whether a consumer may read here: below the high watermark of any replica (KIP-392).
    ///
    /// `mayFollow`: the client knows that it may read from a follower.
    func checkReadable(clientEpoch: Int32, offset: Int64, mayFollow: Bool) -> ErrorCode? {
        guard leaderEpoch == nil, mayFollow, !hasFailed, !isRemoved else {
            return checkLeadership(clientEpoch: clientEpoch)
        }
        let leader = knownLeader
        // It leads and is not ready, or has not heard from a leader.
        guard let id = leader.id,
            id != Int32(truncatingIfNeeded: replica.manager.replicaID.rawValue)
        else { return .notLeaderOrFollower }
        if clientEpoch >= 0 && clientEpoch != leader.epoch {
            return clientEpoch < leader.epoch ? .fencedLeaderEpoch : .unknownLeaderEpoch
        }
        // The leader may have more.
        return offset > log.logEndOffset.rawValue ? .offsetNotAvailable : nil
    }

    // MARK: DeleteRecords

    /// Moves the log's start, through the log of Raft, so that every replica does.
    func deleteRecords(before offset: Int64) async -> (lowWatermark: Int64, error: ErrorCode) {
        if let error = checkLeadership(clientEpoch: -1) { return (-1, error) }
        let end = log.logEndOffset.rawValue
        let target = offset == -1 ? end : offset
        guard target >= 0 && target <= end else { return (-1, .offsetOutOfRange) }
        if target > log.logStartOffset.rawValue {
            CoverageMark.recordsDeleted.hit()
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

    /// Ends the partition, which is deleted, on this node; everybody waiting learns that it is gone.
    func remove() {
        guard !isRemoved else { return }
        isRemoved = true
        CoverageMark.partitionRemoved.hit()
        replica.stop(handsOver: false)
        ended(.unknownTopicOrPartition)
    }

    /// The replica leaves this node, and the group goes on without it.
    ///
    /// - Parameter durable: Called with `true` once its vote is kept; its files may then go.
    func retire(_ durable: @escaping @Sendable (Bool) -> Void) {
        guard !isRemoved else { return durable(true) }
        isRemoved = true
        CoverageMark.partitionRetired.hit()
        replica.remove(written: durable)
        ended(.notLeaderOrFollower)
    }

    private func ended(_ error: ErrorCode) {
        leaderEpoch = nil
        endProduces(error)
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
        case .storageFailed, .logConflict, .snapshotFailed:
            self.init(.kafkaStorageError)
        case .rejected, .changePending, .logHasNoBase: self.init(.notLeaderOrFollower)
        }
    }

    var result: AppendResult { AppendResult(error: code, message: message) }
}
