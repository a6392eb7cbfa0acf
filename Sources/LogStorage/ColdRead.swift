package import Bytes
package import KafkaProtocol
import Platform

/// A read from segments, to be performed where blocking is allowed.
package struct ColdRead: Sendable {
    let segment: Segment
    let offset: Offset
    let maxBytes: Int
    let minOneBatch: Bool

    /// Whole batches from the one with the offset on: in a buffer where one is free, otherwise as a
    /// piece of the segment's file whose pages have been read, so that sending them does not block.
    ///
    /// - Throws: `FileError`, or ``LogDamage``, when the segment cannot be read or is damaged.
    package func perform(with buffers: ReadBuffers? = nil) throws -> ByteRope {
        let index = SegmentIndex(segment: segment)
        let hinted = segment.files.hint(for: offset)
        let near = try hinted ?? index.position(before: offset)
        if let buffer = buffers?.take(), let rope = try read(from: near, into: buffer) {
            return rope
        }
        return try fileRegion(from: near, index)
    }

    /// `nil` when the first batch does not lie in one buffer.
    private func read(from near: Int, into buffer: ReadBuffer) throws -> ByteRope? {
        let block = FileSystem.directAlignment
        let base = near & ~(block - 1)
        let wanted = min(near - base + maxBytes + Self.slackBytes, segment.size - base)
        let count = min(ReadBuffers.bytes, (wanted + block - 1) & ~(block - 1))
        let file = try segment.files.directLog()
        let n = try file.read(
            into: UnsafeMutableRawBufferPointer(start: buffer.storage.start, count: count),
            at: base
        )
        let window = buffer.slice(0..<min(n, segment.size - base))
        var scan = BatchScan(window, at: base, of: file, segment.size, from: near)
        guard let first = try scan.first(reaching: offset) else { return nil }
        try check(first, from: near)
        guard first.byteCount <= maxBytes || minOneBatch else { return ByteRope() }
        var last = first
        while let next = try scan.next(),
            next.position + next.byteCount - first.position <= maxBytes
        {
            last = next
        }
        let end = last.position + last.byteCount
        segment.files.setHint(last.lastOffset + 1, end)
        var rope = ByteRope()
        rope.append(window[first.position - base..<end - base])
        return rope
    }

    /// How far the batch that is looked for may lie behind where the index leads.
    private static let slackBytes = 64 << 10

    private func check(_ first: BatchScan.Header, from near: Int) throws(LogDamage) {
        guard first.baseOffset <= offset else { throw indexPast(near) }
    }

    private func indexPast(_ near: Int) -> LogDamage {
        LogDamage(
            path: segment.files.indexPath,
            problem: "the index leads past offset \(offset), to byte \(near);"
                + " restore the partition from a backup"
        )
    }

    private func fileRegion(from near: Int, _ index: SegmentIndex) throws -> ByteRope {
        var scan = try BatchScan(segment, from: near)
        guard let first = try scan.first(reaching: offset) else { throw indexPast(near) }
        try check(first, from: near)
        let start = first.position
        guard first.byteCount <= maxBytes || minOneBatch else { return ByteRope() }
        let end = try end(start: start, first: first.byteCount, index)
        try warm(start..<end)
        var rope = ByteRope()
        rope.append(
            ByteRope.FileRegion(file: try segment.files.log(), offset: start, count: end - start)
        )
        return rope
    }

    /// The end of the last batch that fits, at the least of the first.
    private func end(start: Int, first: Int, _ index: SegmentIndex) throws(FileError) -> Int {
        let limit = start + maxBytes
        if limit >= segment.size { return segment.size }
        // The index knows a beginning every few kilobytes; from there it is a few headers.
        let known = try index.batchStart(atOrBelow: limit)
        var end = max(known, start + first)
        guard end < limit else { return end }
        var scan = try BatchScan(segment, from: end)
        while let header = try scan.next(), header.position + header.byteCount <= limit {
            end = header.position + header.byteCount
        }
        return end
    }

    private static let warmBytes = 256 << 10

    private func warm(_ range: Range<Int>) throws(FileError) {
        let file = try segment.files.log()
        let scratch = ByteStorage(capacity: Self.warmBytes)
        var at = range.lowerBound
        while at < range.upperBound {
            let count = min(Self.warmBytes, range.upperBound - at)
            let n = try file.read(
                into: UnsafeMutableRawBufferPointer(start: scratch.start, count: count),
                at: at
            )
            guard n == count else {
                throw FileError(.inputOutput, operation: "read", path: file.path)
            }
            at += count
        }
    }
}

/// A look for the first record of at least a timestamp, in segments.
package struct TimeLookup: Sendable {
    /// Those that may hold it, oldest first.
    let segments: [Segment]
    let timestamp: Int64
    let logStart: Offset

    package struct Found: Sendable, Equatable {
        package let offset: Offset
        package let timestamp: Int64
    }

    /// - Throws: `FileError` when a segment cannot be read or is damaged.
    package func perform() throws -> Found? {
        for segment in segments where segment.maxTimestamp >= timestamp {
            let near = try SegmentIndex(segment: segment).position(beforeTimestamp: timestamp)
            var scan = try BatchScan(segment, from: near)
            while let header = try scan.next() {
                guard header.maxTimestamp >= timestamp, header.lastOffset >= logStart else {
                    continue
                }
                let bytes = try segment.files.log().read(header.byteCount, at: header.position)
                let batch = RecordBatch(committed: bytes)
                if let found = Self.firstRecord(in: batch, from: timestamp, logStart: logStart) {
                    return found
                }
            }
        }
        return nil
    }

    /// The record itself where the batch is not compressed, otherwise the batch's first.
    ///
    /// `nil` when the only records late enough lie below the log's start.
    static func firstRecord(
        in batch: RecordBatch,
        from timestamp: Int64,
        logStart: Offset
    ) -> Found? {
        let first = max(batch.baseOffset, logStart)
        guard batch.codec == 0, let records = try? batch.records() else {
            return Found(offset: first, timestamp: batch.maxTimestamp)
        }
        // A record's own offset is what its producer wrote.
        return records.first {
            $0.timestamp >= timestamp && $0.offset >= first && $0.offset <= batch.lastOffset
        }.map { Found(offset: $0.offset, timestamp: $0.timestamp) }
    }
}
