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
final class SegmentFlusher {
    /// Unflushed bytes of a partition at which it is flushed.
    private static let flushBytes = 8 << 20

    private let loop: EventLoop
    private let worker: Worker
    private let manager: RaftReplicaManager
    private let cache: TailCache
    private let budget: MemoryBudget
    private let log: Logger
    private let wal: GroupCommitWAL
    private let limiter: LogLimiter
    private var followed: [UInt64: Followed] = [:]
    private var reportedUnflushed = 0

    private final class Followed {
        let partition: Partition
        var isFlushing = false
        var isWanted = false
        var waiting: [UnsafeContinuation<Void, Never>] = []
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
        log: Logger,
        wal: GroupCommitWAL
    ) {
        self.loop = loop
        self.worker = worker
        self.manager = manager
        self.cache = cache
        self.budget = budget
        self.log = log
        self.wal = wal
        limiter = LogLimiter(every: .seconds(5), clock: loop.clock)
    }

    func follow(_ partition: Partition) {
        let entry = Followed(partition)
        followed[partition.groupID] = entry
        partition.onCommitted = { [unowned self] in committed(entry) }
        partition.replica.onReleaseWanted = { [unowned self] in want(entry) }
    }

    func forget(_ partition: Partition) {
        guard let entry = followed.removeValue(forKey: partition.groupID) else { return }
        for waiter in entry.waiting { waiter.resume() }
        entry.waiting = []
        reportMemory()
    }

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
            want(entry)
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
        let largest = followed.values.filter { !$0.isFlushing }
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
        guard let work = entry.partition.log.beginFlush(now: loop.clock.wallMilliseconds) else {
            finishWaiting(entry)
            dropPrefix(entry)
            return
        }
        entry.isFlushing = true
        entry.isWanted = false
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
            performRemovals(entry)
            dropPrefix(entry)
            finishWaiting(entry)
        } catch {
            limiter.limited { suppressed in
                log.error(
                    "a partition could not be written to its segments",
                    [
                        "partition": "\(entry.partition.id)", "error": "\(error)",
                        "suppressed": "\(suppressed)",
                    ]
                )
            }
            // Nothing is lost: the WAL still has it. Try again when there may be room.
            _ = loop.schedule(after: .milliseconds(500)) { [unowned self] in want(entry) }
        }
        reportMemory()
        if entry.isWanted { want(entry) }
    }

    private func dropPrefix(_ entry: Followed) {
        entry.partition.replica.truncatePrefix(through: .init(entry.partition.log.flushedRaftIndex))
        manager.reportRelief()
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
