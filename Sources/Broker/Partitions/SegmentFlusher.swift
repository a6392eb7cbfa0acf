import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// Moves committed batches of one loop's partitions from memory into segments.
///
/// A partition is flushed when it holds enough to make a large write, when memory is short, or when
/// the WAL wants its files back. Once flushed and synced, its part of the WAL is dropped.
///
/// A flush that fails is tried again, later each time; the WAL has the batches until one succeeds.
/// When the disk is full, one partition tries for all.
final class SegmentFlusher {
    /// Unflushed bytes of a partition at which it is flushed.
    static let flushBytes = 8 << 20
    /// Bytes of a partition's entries that are kept at most for replicas that lag.
    private static let keptBytesOfOne = 16 << 20
    private static let firstRetry = Int64.milliseconds(100)
    private static let lastRetry = Int64.seconds(2)

    private let loop: EventLoop
    private let worker: Worker
    private let manager: RaftReplicaManager
    private let cache: TailCache
    private let budget: MemoryBudget
    private let log: Logger
    private let wal: GroupCommitWAL
    private let limiter: LogLimiter
    private let recoveryLimiter: LogLimiter
    private let keptBytesLimit: Int
    private var followed: [UInt64: Followed] = [:]
    /// Bytes of entries that are in segments and kept all the same.
    private var keptBytes = 0
    private var reportedUnflushed = 0
    /// The last flush found no room; true until one succeeds.
    private(set) var isDiskFull = false
    /// Who finds out whether there is room again.
    private var probe: Followed?

    private final class Followed {
        let partition: Partition
        var isFlushing = false
        var isWanted = false
        /// It failed, and the time of the next attempt has not come.
        var isBackingOff = false
        var retryDelay = SegmentFlusher.firstRetry
        var waiting: [UnsafeContinuation<Void, Never>] = []
        /// The WAL wants its space back, whoever else may need the entries.
        var mustRelease = false
        /// Ends of flushes whose entries are kept for replicas that lag, and what had been flushed
        /// by then.
        var kept: [(index: UInt64, flushedBytes: Int)] = []
        /// What was flushed when the last entry that is kept no more was.
        var droppedAt = 0
        /// Removed once a checkpoint has been written without them.
        var removals: [PartitionLog.Removal] = []

        init(_ partition: Partition) { self.partition = partition }
    }

    init(
        loop: EventLoop,
        worker: Worker,
        manager: RaftReplicaManager,
        cache: TailCache,
        budget: MemoryBudget,
        keptBytesLimit: Int,
        log: Logger,
        wal: GroupCommitWAL
    ) {
        self.keptBytesLimit = keptBytesLimit
        self.loop = loop
        self.worker = worker
        self.manager = manager
        self.cache = cache
        self.budget = budget
        self.log = log
        self.wal = wal
        limiter = LogLimiter(every: .seconds(5), clock: loop.clock)
        recoveryLimiter = LogLimiter(every: .seconds(5), clock: loop.clock)
    }

    func follow(_ partition: Partition) {
        let entry = Followed(partition)
        followed[partition.groupID] = entry
        partition.onCommitted = { [unowned self] in committed(entry) }
        partition.replica.onReleaseWanted = { [unowned self] in
            entry.mustRelease = true
            want(entry)
        }
    }

    func forget(_ partition: Partition) {
        guard let entry = followed.removeValue(forKey: partition.groupID) else { return }
        forgetKept(entry)
        finishWaiting(entry)
        reportMemory()
    }

    /// Returns once the partition is in its segments, or could not be written to them.
    func flushAndWait(_ partition: Partition) async {
        guard let entry = followed[partition.groupID] else { return }
        await withUnsafeContinuation { continuation in
            entry.waiting.append(continuation)
            want(entry)
        }
    }

    func applyRetention(to partitions: [Partition]) {
        let now = loop.clock.wallMilliseconds
        for partition in partitions {
            guard let removal = partition.log.applyRetention(now: now),
                let entry = followed[partition.groupID]
            else { continue }
            entry.removals.append(removal)
            if isDiskFull { beginRemoving(entry) } else { want(entry) }
        }
    }

    /// The checkpoint no longer names them.
    private func performRemovals(_ entry: Followed) {
        let removals = entry.removals
        entry.removals = []
        guard !removals.isEmpty else { return }
        worker.execute { [log] in
            do {
                for removal in removals { try removal.perform() }
            } catch {
                log.warning("old segments could not be removed", ["error": "\(error)"])
            }
        }
    }

    private func committed(_ entry: Followed) {
        reportMemory()
        if entry.partition.log.unflushedBytes >= Self.flushBytes { want(entry) }
        if cache.isOverBudget { flushLargest() }
    }

    /// Tells the node how much memory cannot be given back before it is flushed.
    private func reportMemory() {
        let now = cache.unflushedBytes
        budget.add(now - reportedUnflushed)
        reportedUnflushed = now
    }

    private func flushLargest() {
        guard !isDiskFull else { return }
        let largest = followed.values.filter { !$0.isFlushing && !$0.isBackingOff }
            .max {
                ($0.partition.log.unflushedBytes, $0.partition.groupID)
                    < ($1.partition.log.unflushedBytes, $1.partition.groupID)
            }
        if let largest, largest.partition.log.unflushedBytes > 0 { want(largest) }
    }

    private func want(_ entry: Followed) {
        guard !entry.isFlushing else {
            entry.isWanted = true
            return
        }
        guard !entry.isBackingOff && !isDiskFull else {
            entry.isWanted = true
            finishWaiting(entry)
            return
        }
        begin(entry)
    }

    private func begin(_ entry: Followed) {
        let (log, replica) = (entry.partition.log, entry.partition.replica)
        // In the log the record of a change may be damaged.
        let work = log.beginFlush(
            now: loop.clock.wallMilliseconds,
            membership: MembershipCoding.encoded(
                replica.membership(at: LogIndex(log.appliedRaftIndex))
            )
        )
        guard let work else {
            finishWaiting(entry)
            dropPrefix(entry)
            return
        }
        entry.isWanted = false
        perform(work, for: entry)
    }

    /// Removes what retention has dropped, without writing what comes after: on a full disk that is
    /// what makes room.
    private func beginRemoving(_ entry: Followed) {
        guard let work = entry.partition.log.beginRemoval(now: loop.clock.wallMilliseconds) else {
            return
        }
        entry.isWanted = true
        perform(work, for: entry)
    }

    private func perform(_ work: FlushWork, for entry: Followed) {
        entry.isFlushing = true
        let loop = loop
        let completion = FlushCompletion { [unowned self] result in finished(entry, result) }
        worker.execute {
            let result = work.perform()
            loop.execute { completion.run(result) }
        }
    }

    private func finished(_ entry: Followed, _ result: FlushResult) {
        entry.isFlushing = false
        do {
            try entry.partition.log.finishFlush(result)
        } catch {
            failed(entry, error)
            return
        }
        entry.retryDelay = Self.firstRetry
        entry.partition.cannotFlush = false
        performRemovals(entry)
        dropPrefix(entry)
        finishWaiting(entry)
        reportMemory()
        if isDiskFull && (probe == nil || probe === entry) { diskHasRoom() }
        if entry.isWanted { want(entry) }
    }

    // MARK: What cannot be written

    private func failed(_ entry: Followed, _ error: FileError) {
        let isCurrent = followed[entry.partition.groupID] === entry
        finishWaiting(entry)
        reportMemory()
        guard isCurrent || error.reason == .noSpace else { return }
        limiter.limited { suppressed in
            log.error(
                "a partition could not be written to its segments; it is tried again",
                [
                    "partition": "\(entry.partition.id)", "error": "\(error)",
                    "suppressed": "\(suppressed)",
                ]
            )
        }
        entry.isWanted = true
        if error.reason == .noSpace {
            if !isDiskFull { budget.setStuck(true) }
            isDiskFull = true
            guard probe == nil || probe === entry else { return }
            probe = entry
        } else {
            entry.partition.cannotFlush = true
        }
        entry.isBackingOff = true
        let delay = entry.retryDelay
        // A full disk stays full for a while; other errors often do not come twice.
        if error.reason == .noSpace { entry.retryDelay = min(2 * delay, Self.lastRetry) }
        _ = loop.schedule(after: delay) { [unowned self] in retry(entry) }
    }

    private func retry(_ entry: Followed) {
        entry.isBackingOff = false
        let isCurrent = followed[entry.partition.groupID] === entry
        if isCurrent && !entry.isFlushing { begin(entry) }
        // Its topic was deleted, or nothing is left to write: another finds out.
        if probe === entry && !entry.isFlushing { diskHasRoom() }
    }

    /// Everybody who waited for room has a try.
    private func diskHasRoom() {
        if isDiskFull { budget.setStuck(false) }
        isDiskFull = false
        probe = nil
        let waiting = followed.values.filter { $0.isWanted && !$0.isFlushing && !$0.isBackingOff }
        for entry in waiting.sorted(by: { $0.partition.groupID < $1.partition.groupID }) {
            entry.isWanted = false
            want(entry)
        }
        recoveryLimiter.limited { _ in log.info("the disk may have room for segments again") }
    }

    /// Drops entries that are in segments, but for the last few if somebody may need them: to bring
    /// those costs less than a snapshot.
    private func dropPrefix(_ entry: Followed) {
        let (log, replica) = (entry.partition.log, entry.partition.replica)
        let flushed = log.flushedRaftIndex
        if replica.isAlone || entry.mustRelease || replica.lowestMatch >= .init(flushed) {
            entry.mustRelease = false
            forgetKept(entry)
            replica.truncatePrefix(through: .init(flushed))
        } else {
            keep(entry, upTo: flushed)
        }
        manager.reportRelief()
    }

    private func keep(_ entry: Followed, upTo flushed: UInt64) {
        let (log, replica) = (entry.partition.log, entry.partition.replica)
        if entry.kept.last?.index ?? 0 < flushed {
            let before = entry.kept.last?.flushedBytes ?? entry.droppedAt
            keptBytes += log.flushedBytes - before
            entry.kept.append((flushed, log.flushedBytes))
        }
        let needed = replica.lowestMatch.rawValue
        while let first = entry.kept.first {
            let isTooMuch =
                log.flushedBytes - entry.droppedAt > Self.keptBytesOfOne
                || keptBytes > keptBytesLimit
            guard isTooMuch || first.index <= needed else { break }
            keptBytes -= first.flushedBytes - entry.droppedAt
            entry.droppedAt = first.flushedBytes
            entry.kept.removeFirst()
            replica.truncatePrefix(through: .init(first.index))
        }
    }

    private func forgetKept(_ entry: Followed) {
        if let last = entry.kept.last { keptBytes -= last.flushedBytes - entry.droppedAt }
        entry.kept = []
        entry.droppedAt = entry.partition.log.flushedBytes
    }

    private func finishWaiting(_ entry: Followed) {
        let waiting = entry.waiting
        entry.waiting = []
        for waiter in waiting { waiter.resume() }
    }
}

/// Carries a loop-confined completion through a worker and back.
private final class FlushCompletion: @unchecked Sendable {
    // Unchecked: made and run on the same loop.
    let run: (FlushResult) -> Void

    init(_ run: @escaping (FlushResult) -> Void) { self.run = run }
}
