package import Bytes
import KafkaProtocol
package import Platform

/// A partition's log as of its last checkpoint, on its way to another node.
///
/// It shows the same bytes whatever the log does meanwhile: batches below the end that a checkpoint
/// names never change, and the files are pinned until ``release()``.
///
/// Layout, integers most significant byte first: the index files are made anew where it arrives.
///
///     magic u32 "CHSN" | version u16 (1) | checkpoint: u32 count, bytes
///     the batches of each segment the checkpoint names, in its order
package final class LogSnapshot: Sendable {
    static let magic: UInt32 = 0x4348_534e
    static let version: UInt16 = 1
    static let prefixBytes = 10

    package let raftIndex: UInt64
    package let raftTerm: Int32
    package let byteCount: UInt64
    /// Equal for equal content alone, on whichever node: batches of one offset are the same
    /// everywhere, and the header tells which there are and how segments divide them.
    package let contentID: UInt64
    private let header: ByteSlice
    private let segments: [Segment]
    /// Where each segment begins in the content.
    private let starts: [UInt64]

    init(_ checkpoint: Checkpoint) {
        raftIndex = checkpoint.raftIndex
        raftTerm = checkpoint.raftTerm.rawValue
        segments = checkpoint.segments
        let manifest = checkpoint.encoded()
        var out = ByteWriter(capacity: Self.prefixBytes + manifest.count)
        out.write(Self.magic)
        out.write(Self.version)
        out.write(UInt32(manifest.count))
        manifest.withUnsafeBytes { out.write(contentsOf: $0) }
        header = out.finishContiguous()
        var starts: [UInt64] = []
        var end = UInt64(header.count)
        for segment in segments {
            starts.append(end)
            end += UInt64(segment.size)
            segment.files.pin()
        }
        self.starts = starts
        byteCount = end
        let checksum = header.withUnsafeBytes { CRC32C.checksum($0) }
        contentID = UInt64(checksum) << 32 | end & 0xffff_ffff
    }

    /// Reads `count` bytes at an offset, both within the content; blocks.
    package func read(at offset: UInt64, count: Int) throws -> ByteSlice {
        precondition(offset + UInt64(count) <= byteCount, "\(offset) + \(count) of \(byteCount)")
        let storage = ByteStorage(capacity: max(count, 1))
        var done = 0
        if offset < UInt64(header.count) {
            let piece = header.dropFirst(Int(offset)).prefix(count)
            piece.withUnsafeBytes { source in
                guard let start = source.baseAddress else { return }
                storage.start.copyMemory(from: start, byteCount: source.count)
            }
            done = piece.count
        }
        while done < count {
            let position = offset + UInt64(done)
            guard let place = starts.lastIndex(where: { $0 <= position }) else {
                preconditionFailure("byte \(position) lies in no segment")
            }
            let segment = segments[place]
            let start = Int(position - starts[place])
            // A segment may be empty: the next begins at the same place.
            let n = min(count - done, segment.size - start)
            precondition(n > 0, "byte \(position) lies beyond segment \(segment.baseOffset)")
            let bytes = try segment.files.log().read(n, at: start)
            bytes.withUnsafeBytes { source in
                guard let from = source.baseAddress else { return }
                (storage.start + done).copyMemory(from: from, byteCount: n)
            }
            done += n
        }
        return storage.slice(0..<count)
    }

    /// Nobody reads it any more; blocks if the log has dropped some of it meanwhile.
    package func release() throws(FileError) {
        for segment in segments { try segment.files.unpin() }
    }
}

/// A log that has taken another's place on disk; for ``PartitionLog/finishReplacing(with:)``.
package struct LogReplacement: Sendable {
    let checkpoint: Checkpoint

    /// Everything in its segments, to be read where blocking is allowed.
    package var replay: SegmentReplay {
        SegmentReplay(segments: checkpoint.segments, logStart: checkpoint.logStartOffset)
    }
}
