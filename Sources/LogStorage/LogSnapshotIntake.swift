package import Bytes
import KafkaProtocol
package import Platform

/// A ``LogSnapshot`` that arrives: written beside the log it is to replace, and checked on the way.
///
/// What the log has of it already stays: its files get second names, and only what follows is wanted
/// (``next``). That the first batch to arrive begins where those end shows that they fit.
///
/// | a crash | leaves |
/// |---|---|
/// | before the checkpoint is replaced | the old log; what has arrived goes when it is opened |
/// | after it | the new log; the old one's files go when it is opened |
package final class LogSnapshotIntake: @unchecked Sendable {
    // Unchecked: used on one worker, one call at a time.
    private let directory: ClaimedDirectory
    private let home: String
    private let generation: UInt64
    private let membership: ByteSlice
    private let configuration: LogConfiguration
    private let files: FileSystem
    private let own: LogPrefix
    /// The place in the content of what is wanted next: behind what has arrived, or what is kept.
    package private(set) var next: UInt64 = 0
    /// What has arrived and is not yet whole: the header, or a batch.
    private var rest: [UInt8] = []
    private var checkpoint: Checkpoint?
    private var current: Arriving?
    /// Segments that have arrived whole.
    private var done = 0
    private var isStarted = false

    fileprivate struct Arriving {
        /// As it was where it comes from.
        let promised: Segment
        var segment: Segment
        let log: File
        var index: [UInt8] = []
        var timeIndex: [UInt8] = []
        var sinceIndex: Int
    }

    /// Takes in the snapshot as of the Raft entry `raftIndex`, where `membership` is the group's; of
    /// the log it replaces, `own` may stay.
    package init(
        directory: ClaimedDirectory,
        raftIndex: UInt64,
        membership: ByteSlice,
        configuration: LogConfiguration,
        own: LogPrefix = .none
    ) {
        precondition(raftIndex > 0, "a snapshot of nothing")
        self.directory = directory
        self.membership = membership
        self.configuration = configuration
        files = directory.files
        self.own = own
        generation = raftIndex
        home = Checkpoint.segmentDirectory(directory.path, generation: raftIndex)
    }

    // MARK: Content

    /// Takes the bytes that follow.
    ///
    /// - Throws: `FileError`, or ``LogDamage`` when they are not what they should be.
    package func write(_ bytes: ByteSlice) throws {
        if !isStarted {
            isStarted = true
            try directory.make()
            try files.removeTree(home)
            try files.createDirectory(home)
        }
        rest += bytes.array
        next += UInt64(bytes.count)
        if checkpoint == nil, try !takeHeader() { return }
        try takeBatches()
    }

    private func damage(_ problem: String) -> LogDamage {
        LogDamage(path: home, problem: "the snapshot is damaged: \(problem)")
    }

    private func takeHeader() throws -> Bool {
        guard rest.count >= LogSnapshot.prefixBytes else { return false }
        var reader = ByteReader(ByteSlice(Array(rest.prefix(LogSnapshot.prefixBytes))))
        let (magic, version) = (try reader.readUInt32(), try reader.read(UInt16.self))
        let count = Int(try reader.readUInt32())
        guard magic == LogSnapshot.magic, version == LogSnapshot.version else {
            throw damage("version \(version) of magic \(magic)")
        }
        guard count <= Checkpoint.maxBytes else { throw damage("a checkpoint of \(count) bytes") }
        let end = LogSnapshot.prefixBytes + count
        guard rest.count >= end else { return false }
        var checkpoint = try Checkpoint(
            decoding: ByteSlice(Array(rest[LogSnapshot.prefixBytes..<end])),
            directory: directory.path,
            files,
            as: generation
        )
        guard checkpoint.raftIndex == generation else {
            throw damage("it is of entry \(checkpoint.raftIndex), not of \(generation)")
        }
        checkpoint.membership = membership
        var next = checkpoint.segments.first?.baseOffset ?? checkpoint.logEndOffset
        for segment in checkpoint.segments {
            guard segment.baseOffset == next, segment.nextOffset >= next else {
                throw damage("segment \(segment.baseOffset) after offset \(next)")
            }
            next = segment.nextOffset
        }
        guard next == checkpoint.logEndOffset else {
            throw damage("it ends at \(next), not at \(checkpoint.logEndOffset)")
        }
        rest.removeFirst(end)
        let skipped = try keep(in: &checkpoint)
        self.checkpoint = checkpoint
        self.next += UInt64(max(0, skipped - rest.count))
        rest.removeFirst(min(skipped, rest.count))
        return true
    }

    /// Puts segments of the log that is replaced in the place of those that were promised.
    ///
    /// - Returns: How many bytes of the promised ones are not wanted.
    private func keep(in checkpoint: inout Checkpoint) throws(FileError) -> Int {
        let kept: LogPrefix.Kept
        var linked: [Segment] = []
        do {
            guard let found = try own.kept(in: checkpoint) else { return 0 }
            kept = found
            for segment in kept.segments { linked.append(try segment.linked(into: home, files)) }
        } catch {
            // Retention was faster, or the file system has no second names: all of it is wanted.
            try files.removeTree(home)
            try files.createDirectory(home)
            return 0
        }
        let promised = checkpoint.segments
        var segments = linked
        for (place, segment) in promised.enumerated().dropFirst(kept.passed) {
            let before = place == kept.passed ? kept.bytesBefore : 0
            segments.append(segment.rest(from: kept.end, after: before, in: home, files))
        }
        checkpoint.segments = segments
        done = linked.count
        return promised[..<kept.passed].reduce(kept.bytesBefore) { $0 + $1.size }
    }

    private func takeBatches() throws {
        let whole = ByteSlice(rest)
        var position = 0
        while try openNext(), whole.count - position >= RecordBatch.headerBytes {
            guard let arriving = current else { break }
            let left = arriving.promised.size - arriving.segment.size
            let length = Int(whole.loadBigEndian(at: position + 8) as Int32)
            let count = length + RecordBatch.lengthPrefixBytes
            guard count >= RecordBatch.headerBytes, count <= left else {
                throw damage("a batch of \(count) bytes where \(left) are left")
            }
            guard whole.count - position >= count else { break }
            try take(RecordBatch(committed: whole[position..<position + count]))
            position += count
        }
        rest.removeFirst(position)
        guard rest.isEmpty || done < checkpoint?.segments.count ?? 0 else {
            throw damage("\(rest.count) bytes follow its end")
        }
    }

    /// Makes the segment ready that comes next; false when all have arrived.
    private func openNext() throws -> Bool {
        while let checkpoint, done < checkpoint.segments.count {
            if let current {
                guard current.segment.size == current.promised.size else { return true }
                try close(current)
                continue
            }
            let promised = checkpoint.segments[done]
            let segment = Segment(
                baseOffset: promised.baseOffset,
                created: promised.created,
                files: promised.files
            )
            current = Arriving(
                promised: promised,
                segment: segment,
                log: try files.open(promised.files.logPath, .replace),
                sinceIndex: configuration.indexIntervalBytes
            )
        }
        return false
    }

    private func take(_ batch: RecordBatch) throws {
        guard var arriving = current else { preconditionFailure("a batch without a segment") }
        let position = arriving.segment.size
        guard batch.bytes[16] == 2, batch.isIntact, batch.lastOffsetDelta >= 0,
            batch.baseOffset == arriving.segment.nextOffset,
            batch.nextOffset <= arriving.promised.nextOffset
        else {
            throw damage("the batch at byte \(position) of segment \(arriving.segment.baseOffset)")
        }
        try Self.write(batch.bytes, to: arriving.log, at: position)
        arriving.note(batch, at: position, interval: configuration.indexIntervalBytes)
        current = arriving
    }

    private static func write(_ bytes: ByteSlice, to file: File, at offset: Int) throws(FileError) {
        try bytes.withUnsafeBytes { (buffer) throws(FileError) in try file.write(buffer, at: offset)
        }
    }

    private func close(_ arriving: Arriving) throws {
        guard arriving.segment.nextOffset == arriving.promised.nextOffset else {
            throw damage("segment \(arriving.segment.baseOffset) lacks batches at its end")
        }
        try arriving.log.sync()
        let paths = arriving.promised.files
        for (path, bytes) in [
            (paths.indexPath, arriving.index), (paths.timeIndexPath, arriving.timeIndex),
        ] {
            let file = try files.open(path, .replace)
            try Self.write(ByteSlice(bytes), to: file, at: 0)
            try file.sync()
        }
        checkpoint?.segments[done] = arriving.segment
        current = nil
        done += 1
    }

    // MARK: Ends

    /// All of the content must have arrived by now.
    ///
    /// - Throws: `FileError`, or ``LogDamage`` when something is missing.
    package func checkWhole() throws { _ = try whole() }

    private func whole() throws -> Checkpoint {
        guard try !openNext(), rest.isEmpty, let checkpoint else {
            throw damage("its end is missing")
        }
        return checkpoint
    }

    /// Puts what has arrived in the log's place, durably and at once.
    ///
    /// - Throws: `FileError`, or ``LogDamage`` when something is missing; the log is as it was.
    package func install() throws -> LogReplacement {
        let checkpoint = try whole()
        try files.syncDirectory(home)
        try files.syncDirectory(directory.path)
        try checkpoint.write(to: directory.path, files)
        try PartitionLog.cutToCheckpoint(checkpoint, directory.path, files)
        return LogReplacement(checkpoint: checkpoint)
    }

    /// It is not wanted any more.
    package func discard() throws(FileError) {
        current = nil
        try files.removeTree(home)
    }
}

extension LogSnapshotIntake.Arriving {
    /// What a ``SegmentWriter`` would have noted of the batch.
    fileprivate mutating func note(_ batch: RecordBatch, at position: Int, interval: Int) {
        let relative = UInt32(batch.lastOffset.rawValue - segment.baseOffset.rawValue)
        if sinceIndex >= interval {
            Self.append(UInt64(relative) << 32 | UInt64(position), 8, to: &index)
            segment.indexEntries += 1
            sinceIndex = 0
        }
        if batch.maxTimestamp > segment.maxTimestamp {
            segment.maxTimestamp = batch.maxTimestamp
            segment.maxTimestampOffset = batch.lastOffset
            if sinceIndex == 0 {
                Self.append(UInt64(bitPattern: batch.maxTimestamp), 8, to: &timeIndex)
                Self.append(UInt64(relative), 4, to: &timeIndex)
                segment.timeIndexEntries += 1
            }
        }
        sinceIndex += batch.bytes.count
        segment.size += batch.bytes.count
        segment.nextOffset = batch.nextOffset
    }

    private static func append(_ number: UInt64, _ bytes: Int, to out: inout [UInt8]) {
        for place in 0..<bytes {
            out.append(UInt8(truncatingIfNeeded: number >> UInt64(8 * (bytes - 1 - place))))
        }
    }
}
