package import Bytes
package import KafkaProtocol
package import Platform

/// The committed records of a partition: the newest in memory, the rest in segments.
///
/// Confined to its event loop. Only committed batches come in, so nothing here is ever truncated
/// at the end. Batches go to segments later, in large writes; until then the write-ahead log has
/// them too.
package final class PartitionLog: @unchecked Sendable {
    // Unchecked: confined to the loop of its partition once it is opened.
    package var configuration: LogConfiguration
    package private(set) var logStartOffset: Offset
    /// The offset after the last committed record: the high watermark.
    package private(set) var logEndOffset: Offset
    package private(set) var epochs: LeaderEpochs
    package var producers: ProducerTable
    /// The last Raft entry taken in, and its term.
    package private(set) var appliedRaftIndex: UInt64
    package private(set) var appliedTerm: LeaderEpoch
    /// The last Raft entry that segments and checkpoint vouch for.
    package private(set) var flushedRaftIndex: UInt64
    /// Bytes of batches that went into segments since the log was opened.
    package private(set) var flushedBytes = 0

    private let directory: ClaimedDirectory
    private let cache: TailCache
    private var writer: SegmentWriter
    private var segments: [Segment]
    private var flushedOffset: Offset
    private var isFlushing = false
    /// A snapshot is about to take the place of everything.
    private var isReplacing = false
    /// It is deleted: nothing is written any more, or its directory would come back.
    private var isDiscarded = false
    private var needsCheckpoint = false
    private var tail = BatchWindow()
    /// The last checkpoint that was written.
    private var checkpoint: Checkpoint

    // MARK: Opening

    /// Opens the log as its checkpoint describes it; blocks, and looks at no data.
    ///
    /// A log that has no directory yet has been in nothing but the write-ahead log so far; it is made
    /// when something is flushed or a snapshot arrives.
    ///
    /// - Throws: `FileError`, or ``LogDamage`` when the files lack what the checkpoint vouches for.
    package static func open(
        directory: ClaimedDirectory,
        configuration: LogConfiguration,
        cache: TailCache
    ) throws -> PartitionLog {
        try directory.open()
        let (path, files) = (directory.path, directory.files)
        let checkpoint = try Checkpoint.read(from: path, files) ?? Checkpoint()
        if files.exists(path) { try cutToCheckpoint(checkpoint, path, files) }
        return PartitionLog(
            checkpoint,
            directory: directory,
            configuration: configuration,
            cache: cache
        )
    }

    private init(
        _ checkpoint: Checkpoint,
        directory: ClaimedDirectory,
        configuration: LogConfiguration,
        cache: TailCache
    ) {
        self.configuration = configuration
        self.directory = directory
        self.cache = cache
        self.checkpoint = checkpoint
        writer = SegmentWriter(directory, generation: checkpoint.generation)
        logStartOffset = checkpoint.logStartOffset
        logEndOffset = checkpoint.logEndOffset
        flushedOffset = checkpoint.logEndOffset
        epochs = checkpoint.epochs
        producers = ProducerTable(
            producers: checkpoint.producers,
            forgottenThrough: checkpoint.forgottenThrough
        )
        appliedRaftIndex = checkpoint.raftIndex
        appliedTerm = checkpoint.raftTerm
        flushedRaftIndex = checkpoint.raftIndex
        segments = checkpoint.segments
    }

    /// Removes what a crash left beyond the checkpoint, or a snapshot that took the log's place.
    static func cutToCheckpoint(
        _ checkpoint: Checkpoint,
        _ directory: String,
        _ files: FileSystem
    ) throws {
        var known: Set<String> = []
        for segment in checkpoint.segments {
            for path in [
                segment.files.logPath, segment.files.indexPath, segment.files.timeIndexPath,
            ] { known.insert(path) }
        }
        let home = Checkpoint.segmentDirectory(directory, generation: checkpoint.generation)
        for name in try files.list(directory) where Checkpoint.isSegmentDirectory(name) {
            let path = directory + "/" + name
            if path != home { try files.removeTree(path) }
        }
        for folder in home == directory ? [home] : [directory, home] where files.exists(folder) {
            for name in try files.list(folder) where Self.isSegmentFile(name) {
                let path = folder + "/" + name
                if !known.contains(path) { try files.remove(path) }
            }
        }
        for segment in checkpoint.segments {
            let size = try files.open(segment.files.logPath, .read).size()
            guard size < segment.size else { continue }
            throw LogDamage(
                path: segment.files.logPath,
                problem: "the segment has \(size) of its \(segment.size) bytes;"
                    + " restore the partition from a backup"
            )
        }
    }

    /// Whether a file is the log's to remove: a segment's, or one that was not finished.
    private static func isSegmentFile(_ name: String) -> Bool {
        [".log", ".index", ".timeindex", ".tmp"].contains { name.hasSuffix($0) }
    }

    // MARK: Committed batches

    /// Takes in the next committed batch; the log's end moves past it.
    ///
    /// `now`, in milliseconds since 1970, is looked at where a producer was not heard of by this
    /// node itself.
    package func append(
        batch: RecordBatch,
        raftIndex: UInt64,
        term: LeaderEpoch,
        now: @autoclosure () -> Int64 = Int64.min
    ) {
        precondition(batch.baseOffset == logEndOffset, "\(batch.baseOffset) after \(logEndOffset)")
        if term > epochs.latest { epochs.append(term, startingAt: batch.baseOffset) }
        tail.append(batch)
        cache.added(batch.bytes.count)
        logEndOffset = batch.nextOffset
        producers.commit(batch, now: now())
        advance(raftIndex: raftIndex, term: term)
    }

    /// The log of a group that begins after an entry nobody wrote.
    package func begin(raftIndex: UInt64, term: LeaderEpoch) {
        precondition(appliedRaftIndex == 0, "a log at entry \(appliedRaftIndex) begins again")
        appliedRaftIndex = raftIndex
        appliedTerm = term
        flushedRaftIndex = raftIndex
        checkpoint.raftIndex = raftIndex
        checkpoint.raftTerm = term
    }

    /// An entry without records was applied.
    package func advance(raftIndex: UInt64, term: LeaderEpoch) {
        precondition(raftIndex > appliedRaftIndex, "entry \(raftIndex) after \(appliedRaftIndex)")
        appliedRaftIndex = raftIndex
        appliedTerm = term
    }

    /// Moves the start of the log; whole segments below it go at the next retention.
    package func deleteRecords(before offset: Offset) {
        guard offset > logStartOffset, offset <= logEndOffset else { return }
        logStartOffset = offset
        epochs.truncate(before: offset)
        needsCheckpoint = true
    }

    package var unflushedBytes: Int { tail.unflushedBytes }

    /// Frees the memory of a log that is deleted; nothing of it is flushed any more.
    package func discard() {
        isDiscarded = true
        forget()
    }

    private func forget() {
        cache.removed(
            ObjectIdentifier(self),
            bytes: tail.bytes,
            unflushed: tail.unflushedBytes
        )
        tail = BatchWindow()
        segments = []
    }

    // MARK: Reading

    package enum ReadResult {
        case bytes(ByteRope)
        case cold(ColdRead)
        case offsetOutOfRange
    }

    /// Whole batches from the one that holds `offset`, up to `maxBytes`, at least one if asked.
    package func read(from offset: Offset, maxBytes: Int, minOneBatch: Bool) -> ReadResult {
        guard offset >= logStartOffset, offset <= logEndOffset else { return .offsetOutOfRange }
        if offset == logEndOffset { return .bytes(ByteRope()) }
        if let first = tail.firstOffset, offset >= first {
            return .bytes(tail.read(from: offset, maxBytes: maxBytes, minOneBatch: minOneBatch))
        }
        let place = segments.lastIndex { $0.baseOffset <= offset }
        guard let place, segments[place].nextOffset > offset else { return .offsetOutOfRange }
        CoverageMark.coldRead.hit()
        return .cold(
            ColdRead(
                segment: segments[place],
                offset: offset,
                maxBytes: maxBytes,
                minOneBatch: minOneBatch
            )
        )
    }

    /// Where a client's log parts from this one (KIP-595); `nil` when it does not.
    package func divergence(
        offset: Offset,
        epoch: LeaderEpoch
    ) -> (epoch: LeaderEpoch, endOffset: Offset)? {
        let known = epochs.endOffset(of: epoch, logEnd: logEndOffset)
        guard known.epoch != .none else { return nil }
        if known.epoch < epoch || known.end < offset { return (known.epoch, known.end) }
        return nil
    }

    package enum TimeResult {
        case found(TimeLookup.Found?)
        /// Look in segments first; in memory only if they have none.
        case cold(TimeLookup, otherwise: TimeLookup.Found?)
    }

    /// The first record with at least that timestamp.
    package func lookUp(timestamp: Int64) -> TimeResult {
        let inMemory = tail.firstRecord(from: timestamp, logStart: logStartOffset)
        let first = tail.firstOffset ?? logEndOffset
        let older = segments.filter {
            $0.maxTimestamp >= timestamp && $0.nextOffset > logStartOffset && $0.baseOffset < first
        }
        guard !older.isEmpty else { return .found(inMemory) }
        return .cold(
            TimeLookup(segments: older, timestamp: timestamp, logStart: logStartOffset),
            otherwise: inMemory
        )
    }

    /// The largest timestamp in the log, and the last offset of its batch.
    package var maxTimestamp: TimeLookup.Found? {
        var best: TimeLookup.Found?
        for segment in segments where segment.nextOffset > logStartOffset {
            if segment.maxTimestamp >= 0, segment.maxTimestamp > best?.timestamp ?? -1 {
                best = .init(offset: segment.maxTimestampOffset, timestamp: segment.maxTimestamp)
            }
        }
        if let batch = tail.batchOfMaxTimestamp, batch.maxTimestamp > best?.timestamp ?? -1 {
            best = .init(offset: batch.lastOffset, timestamp: batch.maxTimestamp)
        }
        return best
    }

    /// Bytes in segments and not yet in them.
    package var byteCount: Int { segments.reduce(0) { $0 + $1.size } + tail.unflushedBytes }

    // MARK: Flushing

    private var mayFlush: Bool { !isFlushing && !isReplacing && !isDiscarded }

    /// What is to be written now; `nil` when there is nothing, or a flush is under way.
    ///
    /// `membership` is that of the group as of ``appliedRaftIndex``.
    package func beginFlush(now: Int64, membership: @autoclosure () -> ByteSlice) -> FlushWork? {
        guard mayFlush, appliedRaftIndex > flushedRaftIndex || needsCheckpoint else { return nil }
        isFlushing = true
        needsCheckpoint = false
        var checkpoint = Checkpoint()
        checkpoint.generation = self.checkpoint.generation
        checkpoint.membership = membership()
        checkpoint.raftIndex = appliedRaftIndex
        checkpoint.raftTerm = appliedTerm
        checkpoint.logStartOffset = logStartOffset
        checkpoint.logEndOffset = logEndOffset
        checkpoint.epochs = epochs
        checkpoint.segments = segments
        checkpoint.producers = producers.producers
        checkpoint.forgottenThrough = producers.forgottenThrough
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .producersForgotten { checkpoint.producers = [:] }
        #endif
        return FlushWork(
            writer: writer,
            batches: tail.unflushed,
            checkpoint: checkpoint,
            configuration: configuration,
            now: now
        )
    }

    /// A flush that only takes what retention has dropped out of the checkpoint; `nil` while another
    /// is under way.
    ///
    /// It takes next to no space. What is not yet in segments stays due.
    package func beginRemoval(now: Int64) -> FlushWork? {
        guard mayFlush else { return nil }
        isFlushing = true
        var checkpoint = checkpoint
        let firstKept = segments.first?.baseOffset ?? checkpoint.logEndOffset
        checkpoint.segments.removeAll { $0.baseOffset < firstKept }
        checkpoint.logStartOffset = min(
            max(logStartOffset, checkpoint.logStartOffset),
            checkpoint.logEndOffset
        )
        checkpoint.epochs.truncate(before: checkpoint.logStartOffset)
        return FlushWork(
            writer: writer,
            batches: [],
            checkpoint: checkpoint,
            configuration: configuration,
            now: now
        )
    }

    /// Takes in what a flush has done.
    ///
    /// - Throws: Why it failed; nothing is vouched for that was not before, and another may be
    ///   begun.
    package func finishFlush(_ result: FlushResult) throws(FileError) {
        isFlushing = false
        switch result.outcome {
        case .done(let written):
            take(written)
            flushedRaftIndex = written.raftIndex
        case .nothingWritten(let error):
            needsCheckpoint = true
            throw error
        case .checkpointFailed(let error, let written):
            take(written)
            needsCheckpoint = true
            throw error
        }
    }

    /// Segments hold what they hold, whatever the checkpoint says.
    private func take(_ written: Checkpoint) {
        checkpoint = written
        // Retention may have dropped segments meanwhile.
        let firstKept = segments.first?.baseOffset
        segments = written.segments.filter { $0.baseOffset >= firstKept ?? $0.baseOffset }
        flushedOffset = written.logEndOffset
        let count = tail.markFlushed(through: flushedOffset)
        guard count > 0 else { return }
        flushedBytes += count
        let end = flushedOffset
        cache.flushed(count, of: ObjectIdentifier(self)) { [unowned self] in
            tail.evict(through: end)
        }
    }

    /// Cuts padding off; for a clean stop, after the last flush.
    package func trim() {
        var checkpoint = Checkpoint()
        checkpoint.segments = segments
        writer.trim(checkpoint)
    }

    // MARK: Snapshots

    /// What segments and checkpoint hold now, which stays readable whatever the log does next.
    package var snapshot: LogSnapshot { LogSnapshot(checkpoint) }

    /// What of the log may stay when a snapshot takes its place.
    package var prefix: LogPrefix { LogPrefix(checkpoint) }

    /// Who belonged to the group as of the last flush or the snapshot that the log came as; empty
    /// before.
    package var membership: ByteSlice { checkpoint.membership }

    /// From now on nothing is flushed, until ``finishReplacing(with:)``.
    package func beginReplacing() { isReplacing = true }

    /// The log is what a snapshot holds; `nil`: what it was.
    package func finishReplacing(with replacement: LogReplacement?) {
        isReplacing = false
        guard let checkpoint = replacement?.checkpoint else { return }
        forget()
        self.checkpoint = checkpoint
        writer = SegmentWriter(directory, generation: checkpoint.generation)
        // Retention is each replica's own: what was gone here does not come back.
        logStartOffset = min(
            max(logStartOffset, checkpoint.logStartOffset),
            checkpoint.logEndOffset
        )
        logEndOffset = checkpoint.logEndOffset
        flushedOffset = checkpoint.logEndOffset
        epochs = checkpoint.epochs
        epochs.truncate(before: logStartOffset)
        producers = ProducerTable(
            producers: checkpoint.producers,
            forgottenThrough: checkpoint.forgottenThrough
        )
        appliedRaftIndex = checkpoint.raftIndex
        appliedTerm = checkpoint.raftTerm
        flushedRaftIndex = checkpoint.raftIndex
        segments = checkpoint.segments
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .logStartGoesBack {
            logStartOffset = checkpoint.logStartOffset
        }
        #endif
        needsCheckpoint = logStartOffset > checkpoint.logStartOffset
        if needsCheckpoint { CoverageMark.snapshotBehindLogStart.hit() }
    }

    // MARK: Retention

    /// Segments to remove, which the log no longer has.
    package struct Removal: Sendable {
        let segments: [Segment]

        package func perform() throws(FileError) {
            for segment in segments { try segment.files.remove() }
        }
    }

    /// Drops what is too old, too much, or below the log's start; never the newest segment.
    ///
    /// - Returns: Files to remove once the next checkpoint no longer names them; a flush is due.
    package func applyRetention(now: Int64) -> Removal? {
        guard !isFlushing, !isReplacing else { return nil }
        let drop = Retention.segmentsToDrop(
            segments,
            logStart: logStartOffset,
            total: byteCount,
            configuration,
            now: now
        )
        producers.expire(before: now - configuration.producerMilliseconds)
        guard drop > 0 else { return nil }
        CoverageMark.retentionDropped.hit()
        let removed = Array(segments[..<drop])
        segments.removeFirst(drop)
        if let first = segments.first?.baseOffset ?? tail.firstOffset, first > logStartOffset {
            logStartOffset = first
            epochs.truncate(before: first)
        }
        needsCheckpoint = true
        return Removal(segments: removed)
    }
}

/// Which segments have outlived their topic's configuration.
enum Retention {
    /// How many of the oldest go; the last segment stays.
    static func segmentsToDrop(
        _ segments: [Segment],
        logStart: Offset,
        total: Int,
        _ configuration: LogConfiguration,
        now: Int64
    ) -> Int {
        var left = total
        var count = 0
        for segment in segments.dropLast() {
            let isDeleted = segment.nextOffset <= logStart
            let isTooMuch =
                configuration.retentionBytes >= 0
                && left - segment.size >= Int(configuration.retentionBytes)
            let newest = segment.maxTimestamp >= 0 ? segment.maxTimestamp : segment.created
            let isTooOld =
                configuration.retentionMilliseconds >= 0
                && now - newest > configuration.retentionMilliseconds
            guard isDeleted || isTooMuch || isTooOld else { break }
            left -= segment.size
            count += 1
        }
        return count
    }
}

extension PartitionLog {
    /// Everything in segments, to be read where blocking is allowed.
    package var replay: SegmentReplay {
        SegmentReplay(segments: segments, logStart: logStartOffset)
    }
}
