import KafkaProtocol
import Platform

/// What a log has in segments, and may keep when a snapshot takes its place.
///
/// Segments hold committed batches, and those are the same bytes on every node. So whole segments
/// stay as they are, up to where both logs have the same leader epoch: entries of the same index and
/// term follow the same entries. The other log's segments may begin elsewhere.
package struct LogPrefix: Sendable {
    private let segments: [Segment]
    private let epochs: LeaderEpochs

    /// Nothing is kept.
    package static let none = LogPrefix(Checkpoint())

    init(_ checkpoint: Checkpoint) {
        segments = checkpoint.segments.filter { $0.size > 0 }
        epochs = checkpoint.epochs
    }

    /// What is kept, and where the other log goes on.
    struct Kept {
        var segments: [Segment]
        /// The offset after the last that is kept.
        var end: Offset
        /// Segments of the other log that end at or before `end`.
        var passed: Int
        /// Bytes of the segment after those that lie before `end`.
        var bytesBefore: Int
    }

    /// What a log keeps that is to become the other one; `nil` for nothing.
    func kept(in other: Checkpoint) throws(FileError) -> Kept? {
        let common = commonEnd(with: other)
        let kept = segments.filter {
            $0.nextOffset <= common && $0.nextOffset > other.logStartOffset
        }
        guard let first = kept.first, let end = kept.last?.nextOffset,
            first.baseOffset <= other.logStartOffset
                || first.baseOffset == other.segments.first?.baseOffset
        else { return nil }
        let passed = other.segments.prefix { $0.nextOffset <= end }.count
        var result = Kept(segments: kept, end: end, passed: passed, bytesBefore: 0)
        guard passed < other.segments.count else { return result }
        let next = other.segments[passed]
        guard next.baseOffset < end else { return result }
        guard let bytes = try byteCount(from: next.baseOffset, to: end), bytes < next.size else {
            return nil
        }
        result.bytesBefore = bytes
        return result
    }

    /// The offset up to which both logs were written by the same leaders.
    private func commonEnd(with other: Checkpoint) -> Offset {
        var end = segments.last?.nextOffset ?? .zero
        for entry in epochs.entries.reversed() where entry.startOffset < end {
            if let place = other.epochs.entries.firstIndex(where: { $0.epoch == entry.epoch }) {
                let theirs = other.epochs.entries[place...]
                let theirEnd = theirs.dropFirst().first?.startOffset ?? other.logEndOffset
                let common = min(end, theirEnd)
                if common > entry.startOffset && common > theirs[place].startOffset {
                    return common
                }
            }
            end = entry.startOffset
        }
        return .zero
    }

    /// Bytes of the batches between two offsets; `nil` where no batch begins at the first.
    private func byteCount(from start: Offset, to end: Offset) throws(FileError) -> Int? {
        var count = 0
        for segment in segments where segment.nextOffset > start && segment.nextOffset <= end {
            count += segment.size
            guard segment.baseOffset < start else { continue }
            let position = try SegmentIndex(segment: segment).position(before: start)
            var scan = try BatchScan(segment, from: position)
            guard let batch = try scan.first(reaching: start), batch.baseOffset == start else {
                return nil
            }
            count -= batch.position
        }
        guard let first = segments.first, first.baseOffset <= start else { return nil }
        return count
    }
}

extension Segment {
    /// The same segment under names in another directory, which are made here.
    func linked(into directory: String, _ files: FileSystem) throws(FileError) -> Segment {
        let there = SegmentFiles(directory: directory, baseOffset: baseOffset, files: files)
        try files.link(self.files.logPath, to: there.logPath)
        try files.link(self.files.indexPath, to: there.indexPath)
        try files.link(self.files.timeIndexPath, to: there.timeIndexPath)
        var segment = Segment(baseOffset: baseOffset, created: created, files: there)
        segment.nextOffset = nextOffset
        segment.size = size
        segment.maxTimestamp = maxTimestamp
        segment.maxTimestampOffset = maxTimestampOffset
        segment.indexEntries = indexEntries
        segment.timeIndexEntries = timeIndexEntries
        return segment
    }

    /// What is left of a segment that is to arrive, behind its first bytes.
    func rest(
        from offset: Offset,
        after bytes: Int,
        in directory: String,
        _ files: FileSystem
    ) -> Segment {
        guard bytes > 0 else { return self }
        var segment = Segment(
            baseOffset: offset,
            created: created,
            files: SegmentFiles(directory: directory, baseOffset: offset, files: files)
        )
        segment.nextOffset = nextOffset
        segment.size = size - bytes
        return segment
    }
}
