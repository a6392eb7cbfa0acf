import Bytes
import KafkaProtocol
import Platform

/// Committed batches on their way into segments: captured on the loop, performed on a worker.
package struct FlushWork: Sendable {
    let writer: SegmentWriter
    let batches: [RecordBatch]
    let checkpoint: Checkpoint
    let configuration: LogConfiguration
    let now: Int64

    package func perform() -> FlushResult {
        let written: Checkpoint
        do {
            written = try writer.write(batches, checkpoint, configuration, now: now)
        } catch {
            return FlushResult(outcome: .nothingWritten(error))
        }
        do {
            try writer.store(written)
            return FlushResult(outcome: .done(written))
        } catch {
            return FlushResult(outcome: .checkpointFailed(error, written))
        }
    }
}

/// What came of a flush; give it back to the log it came from.
package struct FlushResult: Sendable {
    enum Outcome: Sendable {
        case done(Checkpoint)
        /// Segments are as they were at the last checkpoint.
        case nothingWritten(FileError)
        /// The segments are written, and either checkpoint may be the one a power cut leaves: what
        /// this one vouches for must stay.
        case checkpointFailed(FileError, Checkpoint)
    }

    let outcome: Outcome
}

/// Writes batches to the end of a partition's segments; one flush at a time.
///
/// Batches are copied into a buffer aligned for direct I/O and written in large pieces. The last
/// block of a segment is padded with zeros, kept, and written again with what follows.
final class SegmentWriter: @unchecked Sendable {
    // Unchecked: only one flush of a partition is under way at a time, and the loop does not touch
    // the writer meanwhile.
    private static let block = FileSystem.directAlignment
    private static let bufferBytes = 1 << 20
    /// Left of the disk for checkpoints, so that retention can make room when nothing else can.
    private static let reserveBytes = 1 << 20

    private let directory: ClaimedDirectory
    /// Where the segments are.
    private let home: String
    private let files: FileSystem

    private struct Active {
        var segment: Segment
        var log: File
        var index: File
        var timeIndex: File
        /// The bytes of the unfinished last block.
        var partial: [UInt8]
        /// Bytes of batches since the last index entry.
        var sinceIndex: Int
    }
    private var active: Active?

    init(_ directory: ClaimedDirectory, generation: UInt64) {
        self.directory = directory
        home = Checkpoint.segmentDirectory(directory.path, generation: generation)
        files = directory.files
    }

    /// Appends the batches and syncs; returns the checkpoint that may vouch for them.
    ///
    /// After an error the segments are as they were at the last checkpoint.
    func write(
        _ batches: [RecordBatch],
        _ checkpoint: Checkpoint,
        _ configuration: LogConfiguration,
        now: Int64
    ) throws(FileError) -> Checkpoint {
        var checkpoint = checkpoint
        do {
            try directory.make()
            try checkRoom(for: batches)
            var next = 0
            while next < batches.count {
                try prepare(for: batches[next], &checkpoint, configuration, now: now)
                next = try writeRun(batches, from: next, configuration)
                if let active {
                    checkpoint.segments[checkpoint.segments.count - 1] = active.segment
                }
            }
            #if CHRONIK_PLANT
            if PlantedMistake.inForce == .checkpointBeforeSync { return checkpoint }
            #endif
            if let active {
                try active.log.sync()
                try active.index.sync()
                try active.timeIndex.sync()
            }
            return checkpoint
        } catch {
            CoverageMark.segmentNotWritten.hit()
            // The next try begins from what the last checkpoint says.
            active = nil
            throw error
        }
    }

    private func checkRoom(for batches: [RecordBatch]) throws(FileError) {
        guard !batches.isEmpty else { return }
        let needed = batches.reduce(Self.reserveBytes) { $0 + $1.bytes.count }
        guard try files.availableBytes(directory.path) >= needed else {
            throw FileError(.noSpace, operation: "write segments in", path: directory.path)
        }
    }

    func store(_ checkpoint: Checkpoint) throws(FileError) {
        try checkpoint.write(to: directory.path, files)
    }

    /// Cuts the padding off the active segment, so that the files hold nothing but batches.
    func trim(_ checkpoint: Checkpoint) {
        guard let last = checkpoint.segments.last,
            let file = try? files.open(last.files.logPath, .readWrite)
        else { return }
        try? file.truncate(to: last.size)
        active = nil
    }

    // MARK: Segments

    private func prepare(
        for batch: RecordBatch,
        _ checkpoint: inout Checkpoint,
        _ configuration: LogConfiguration,
        now: Int64
    ) throws(FileError) {
        if active == nil, let last = checkpoint.segments.last { active = try reopen(last) }
        if let current = active {
            let isFull = current.segment.size + batch.bytes.count > configuration.segmentBytes
            let isOld = now - current.segment.created > configuration.segmentMilliseconds
            let isFar = Self.isFar(batch, from: current.segment)
            let isIndexFull = Self.isIndexFull(current.segment.indexEntries, configuration)
            guard current.segment.size > 0, isFull || isOld || isFar || isIndexFull else { return }
            CoverageMark.segmentRolled.hit()
            try seal(current)
        }
        let segment = Segment(
            baseOffset: batch.baseOffset,
            created: now,
            files: SegmentFiles(directory: home, baseOffset: batch.baseOffset, files: files)
        )
        active = Active(
            segment: segment,
            log: try files.open(segment.files.logPath, .replace, direct: true),
            index: try files.open(segment.files.indexPath, .replace),
            timeIndex: try files.open(segment.files.timeIndexPath, .replace),
            partial: [],
            sinceIndex: configuration.indexIntervalBytes
        )
        try files.syncDirectory(home)
        checkpoint.segments.append(segment)
    }

    /// Whether an index, which has 32 bits for an offset, cannot tell where the batch ends.
    private static func isFar(_ batch: RecordBatch, from segment: Segment) -> Bool {
        batch.lastOffset.rawValue - segment.baseOffset.rawValue > Int64(Int32.max)
    }

    /// Opens the last segment at the end that the checkpoint vouches for.
    private func reopen(_ segment: Segment) throws(FileError) -> Active {
        let plain = try files.open(segment.files.logPath, .readWrite)
        let start = segment.size / Self.block * Self.block
        let wanted = segment.size - start
        let storage = ByteStorage(capacity: wanted)
        let n = try plain.read(
            into: UnsafeMutableRawBufferPointer(start: storage.start, count: wanted),
            at: start
        )
        guard n == wanted else {
            throw FileError(.inputOutput, operation: "read the end of", path: plain.path)
        }
        let partial = storage.slice(0..<wanted).array
        return Active(
            segment: segment,
            log: try files.open(segment.files.logPath, .readWrite, direct: true),
            index: try files.open(segment.files.indexPath, .create),
            timeIndex: try files.open(segment.files.timeIndexPath, .create),
            partial: partial,
            sinceIndex: 0
        )
    }

    private func seal(_ active: Active) throws(FileError) {
        try active.log.sync()
        try active.index.sync()
        try active.timeIndex.sync()
        let plain = try files.open(active.segment.files.logPath, .readWrite)
        try plain.truncate(to: active.segment.size)
        try plain.sync()
    }

    private static func isIndexFull(_ entries: Int, _ configuration: LogConfiguration) -> Bool {
        (entries + 1) * SegmentIndex.entryBytes > configuration.indexBytes
    }

    // MARK: Batches

    /// Writes as many batches as the segment takes; returns the first it did not.
    private func writeRun(
        _ batches: [RecordBatch],
        from first: Int,
        _ configuration: LogConfiguration
    ) throws(FileError) -> Int {
        guard var current = active else { preconditionFailure("a flush without a segment") }
        var buffer = DirectBuffer(
            file: current.log,
            size: current.segment.size,
            partial: current.partial,
            capacity: Self.bufferBytes
        )
        var index = ByteWriter(capacity: 256)
        var timeIndex = ByteWriter(capacity: 256)
        var (indexCount, timeCount) = (0, 0)
        var next = first
        while next < batches.count {
            let batch = batches[next]
            let size = current.segment.size
            if next > first {
                let entries = current.segment.indexEntries + indexCount
                guard size + batch.bytes.count <= configuration.segmentBytes,
                    !Self.isFar(batch, from: current.segment),
                    !Self.isIndexFull(entries, configuration)
                else { break }
            }
            let relative = UInt32(batch.lastOffset.rawValue - current.segment.baseOffset.rawValue)
            if current.sinceIndex >= configuration.indexIntervalBytes {
                index.write(relative)
                index.write(UInt32(size))
                indexCount += 1
                current.sinceIndex = 0
            }
            if batch.maxTimestamp > current.segment.maxTimestamp {
                current.segment.maxTimestamp = batch.maxTimestamp
                current.segment.maxTimestampOffset = batch.lastOffset
                if current.sinceIndex == 0 {
                    timeIndex.write(batch.maxTimestamp)
                    timeIndex.write(relative)
                    timeCount += 1
                }
            }
            try buffer.append(batch.bytes)
            current.sinceIndex += batch.bytes.count
            current.segment.size += batch.bytes.count
            current.segment.nextOffset = batch.nextOffset
            next += 1
        }
        current.partial = try buffer.finish()
        try Self.append(
            index.finishContiguous(),
            to: current.index,
            at: current.segment.indexEntries * SegmentIndex.entryBytes
        )
        try Self.append(
            timeIndex.finishContiguous(),
            to: current.timeIndex,
            at: current.segment.timeIndexEntries * SegmentIndex.timeEntryBytes
        )
        current.segment.indexEntries += indexCount
        current.segment.timeIndexEntries += timeCount
        active = current
        return next
    }

    private static func append(_ bytes: ByteSlice, to file: File, at offset: Int) throws(FileError)
    {
        try bytes.withUnsafeBytes { (buffer) throws(FileError) in try file.write(buffer, at: offset)
        }
    }
}

/// Collects bytes into aligned pieces for direct writes.
private struct DirectBuffer: ~Copyable {
    private let file: File
    private let storage: ByteStorage
    private var filled: Int
    /// Where the buffer's first byte belongs in the file; a multiple of the block.
    private var offset: Int

    init(file: File, size: Int, partial: [UInt8], capacity: Int) {
        self.file = file
        storage = ByteStorage(capacity: capacity, alignment: FileSystem.directAlignment)
        filled = partial.count
        offset = size - partial.count
        precondition(offset % FileSystem.directAlignment == 0, "\(size) with \(filled) pending")
        partial.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            storage.start.copyMemory(from: start, byteCount: source.count)
        }
    }

    mutating func append(_ slice: ByteSlice) throws(FileError) {
        var done = 0
        while done < slice.count, let source = slice.start {
            let n = min(slice.count - done, storage.capacity - filled)
            (storage.start + filled).copyMemory(from: source + done, byteCount: n)
            done += n
            filled += n
            guard filled == storage.capacity else { continue }
            try file.write(UnsafeRawBufferPointer(start: storage.start, count: filled), at: offset)
            offset += filled
            filled = 0
        }
    }

    /// Writes the rest, padded to a block; returns the bytes of the unfinished block.
    mutating func finish() throws(FileError) -> [UInt8] {
        let block = FileSystem.directAlignment
        let padded = (filled + block - 1) / block * block
        (storage.start + filled).initializeMemory(
            as: UInt8.self,
            repeating: 0,
            count: padded - filled
        )
        if padded > 0 {
            try file.write(UnsafeRawBufferPointer(start: storage.start, count: padded), at: offset)
        }
        let whole = filled / block * block
        return Array(UnsafeRawBufferPointer(start: storage.start + whole, count: filled - whole))
    }
}
