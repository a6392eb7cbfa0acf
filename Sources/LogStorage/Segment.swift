import Bytes
package import KafkaProtocol
import Platform
import Synchronization

/// A part of a partition's log on disk, in Kafka's format.
///
/// `<base offset, 20 digits>.log` holds record batches one after the other; `.index` pairs of
/// (offset - base offset u32, position u32): the last offset of a batch and where it begins;
/// `.timeindex` pairs of (timestamp i64, offset - base offset u32): the largest timestamp so far
/// and the last offset of its batch. Integers are most significant byte first.
package struct Segment: Sendable, Equatable {
    package let baseOffset: Offset
    /// The offset after the last record.
    package var nextOffset: Offset
    /// Bytes of batches in the log file; what lies beyond is padding or unfinished.
    package var size: Int
    package var maxTimestamp: Int64
    /// The last offset of the batch with the largest timestamp.
    package var maxTimestampOffset: Offset
    package var indexEntries: Int
    package var timeIndexEntries: Int
    /// Milliseconds since 1970 at which it was begun.
    package var created: Int64
    package let files: SegmentFiles

    init(baseOffset: Offset, created: Int64, files: SegmentFiles) {
        self.baseOffset = baseOffset
        nextOffset = baseOffset
        size = 0
        maxTimestamp = -1
        maxTimestampOffset = Offset(-1)
        indexEntries = 0
        timeIndexEntries = 0
        self.created = created
        self.files = files
    }

    package static func == (left: Segment, right: Segment) -> Bool {
        left.baseOffset == right.baseOffset && left.nextOffset == right.nextOffset
            && left.size == right.size && left.maxTimestamp == right.maxTimestamp
            && left.indexEntries == right.indexEntries
            && left.timeIndexEntries == right.timeIndexEntries
    }
}

/// The three files of a segment, opened for reading when first wanted.
package final class SegmentFiles: Sendable {
    private struct Open {
        var log: File?
        var directLog: File?
        var index: File?
        var timeIndex: File?
        /// Where batches begin that a sequential reader will want next.
        var hints: [(offset: Int64, position: Int)] = []
        /// Snapshots that are being read.
        var pins = 0
        var isRemovalDue = false
    }

    private static let hintsKept = 16

    private let files: FileSystem
    /// Without the ending.
    private let stem: String
    private let open = Mutex(Open())

    init(directory: String, baseOffset: Offset, files: FileSystem) {
        self.files = files
        let digits = String(baseOffset.rawValue)
        stem = directory + "/" + String(repeating: "0", count: 20 - digits.count) + digits
    }

    package var logPath: String { stem + ".log" }
    package var indexPath: String { stem + ".index" }
    package var timeIndexPath: String { stem + ".timeindex" }

    func log() throws(FileError) -> File {
        if let file = open.withLock({ $0.log }) { return file }
        let file = try files.open(logPath, .read)
        open.withLock { $0.log = file }
        return file
    }

    /// The log past the page cache, for reads that are aligned.
    func directLog() throws(FileError) -> File {
        if let file = open.withLock({ $0.directLog }) { return file }
        let file = try files.open(logPath, .read, direct: true)
        open.withLock { $0.directLog = file }
        return file
    }

    func index() throws(FileError) -> File {
        if let file = open.withLock({ $0.index }) { return file }
        let file = try files.open(indexPath, .read)
        open.withLock { $0.index = file }
        return file
    }

    func timeIndex() throws(FileError) -> File {
        if let file = open.withLock({ $0.timeIndex }) { return file }
        let file = try files.open(timeIndexPath, .read)
        open.withLock { $0.timeIndex = file }
        return file
    }

    func hint(for offset: Offset) -> Int? {
        open.withLock { $0.hints.first { $0.offset == offset.rawValue }?.position }
    }

    func setHint(_ offset: Offset, _ position: Int) {
        open.withLock { state in
            state.hints.removeAll { $0.offset == offset.rawValue }
            if state.hints.count == Self.hintsKept { state.hints.removeFirst() }
            state.hints.append((offset.rawValue, position))
        }
    }

    /// Keeps the files until ``unpin()``, whoever removes them.
    func pin() { open.withLock { $0.pins += 1 } }

    func unpin() throws(FileError) {
        let isDue = open.withLock { state in
            state.pins -= 1
            return state.pins == 0 && state.isRemovalDue
        }
        if isDue { try remove() }
    }

    func remove() throws(FileError) {
        let isPinned = open.withLock { state in
            state.isRemovalDue = state.pins > 0
            return state.isRemovalDue
        }
        guard !isPinned else { return }
        for path in [indexPath, timeIndexPath, logPath] where files.exists(path) {
            try files.remove(path)
        }
    }
}
