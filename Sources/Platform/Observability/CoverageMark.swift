import Glibc
import Synchronization

/// Rare paths of the code that ships, by name, so that a simulation can tell which it reached.
///
/// Nothing is counted until ``startCounting()``: until then a mark costs the load of a flag, on a
/// path that is rarely taken.
package enum CoverageMark: String, CaseIterable, Sendable {
    // The write-ahead log.
    case walFileRecycled = "wal-file-recycled"
    case walFileGrown = "wal-file-grown"
    case walDiskFull = "wal-disk-full"
    case walPoisoned = "wal-poisoned"
    case walDamageReadOn = "wal-damage-read-on"
    // Replicas.
    case voteGranted = "vote-granted"
    case electionWon = "election-won"
    case logTruncated = "log-truncated"
    case entriesMoved = "entries-moved"
    case logEndLost = "log-end-lost"
    case abstentionEnded = "abstention-ended"
    case snapshotSent = "snapshot-sent"
    case snapshotNotTaken = "snapshot-not-taken"
    case snapshotInstalled = "snapshot-installed"
    case snapshotNotWanted = "snapshot-not-wanted"
    case snapshotWaitsForRoom = "snapshot-waits-for-room"
    case leadershipHandedOver = "leadership-handed-over"
    // Partitions' logs.
    case coldRead = "cold-read"
    case segmentRolled = "segment-rolled"
    case segmentNotWritten = "segment-not-written"
    case retentionDropped = "retention-dropped"
    case snapshotBehindLogStart = "snapshot-behind-log-start"
    // Partitions.
    case duplicateAnswered = "duplicate-answered"
    case duplicatePendingAnswered = "duplicate-pending-answered"
    case sequenceRefused = "sequence-refused"
    case leadershipLostWhileProducing = "leadership-lost-while-producing"
    case produceTimedOut = "produce-timed-out"
    case recordsDeleted = "records-deleted"
    case partitionRemoved = "partition-removed"
    case partitionRetired = "partition-retired"
    // Coordinators and metadata.
    case coordinatorLoaded = "coordinator-loaded"
    case coordinatorUnloaded = "coordinator-unloaded"
    case coordinatorStartedOver = "coordinator-started-over"
    case groupsWrittenAgain = "groups-written-again"
    case decisionsForgotten = "decisions-forgotten"
    case metadataRestored = "metadata-restored"

    private static let isCounting = Atomic(false)
    private static let counts = Mutex<[CoverageMark: Int]>([:])
    /// By thread.
    private static let watchers = Mutex<[pthread_t: Watch]>([:])

    /// Told of a mark, and of what it was hit for: with an election, its group and term.
    package typealias Watch = @Sendable (_ mark: CoverageMark, _ a: UInt64, _ b: UInt64) -> Void

    /// This path is taken.
    package func hit(_ a: UInt64 = 0, _ b: UInt64 = 0) {
        guard Self.isCounting.load(ordering: .relaxed) else { return }
        Self.counts.withLock { $0[self, default: 0] += 1 }
        let thread = pthread_self()
        if let watch = Self.watchers.withLock({ $0[thread] }) { watch(self, a, b) }
    }

    /// From now on this process counts, from zero.
    package static func startCounting() {
        counts.withLock { $0 = [:] }
        isCounting.store(true, ordering: .relaxed)
    }

    /// Who is told of every mark that is counted, where the thread that calls this comes by it.
    ///
    /// Beside a simulation there may be others.
    package static func watch(_ watch: Watch?) {
        watchers.withLock { $0[pthread_self()] = watch }
    }

    /// How often each was hit, in the order of their declaration.
    package static var tally: [(mark: CoverageMark, count: Int)] {
        let counted = counts.withLock { $0 }
        return allCases.map { ($0, counted[$0] ?? 0) }
    }
}
