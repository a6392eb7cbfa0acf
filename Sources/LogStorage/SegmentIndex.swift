import Bytes
import KafkaProtocol
import Platform

/// Looks positions up in a segment's index files, without keeping them in memory.
struct SegmentIndex {
    static let entryBytes = 8
    static let timeEntryBytes = 12

    let segment: Segment

    /// Where to begin to look for the batch with `offset`: at or before it.
    func position(before offset: Offset) throws(FileError) -> Int {
        let file = try segment.files.index()
        let target = UInt32(clamping: offset.rawValue - segment.baseOffset.rawValue)
        let entry = try last(segment.indexEntries) { (n) throws(FileError) in
            try read(file, n, Self.entryBytes).loadBigEndian(at: 0, as: UInt32.self) <= target
        }
        guard let entry else { return 0 }
        return Int(try read(file, entry, Self.entryBytes).loadBigEndian(at: 4, as: UInt32.self))
    }

    /// The last beginning of a batch the index knows at or below `position`.
    func batchStart(atOrBelow position: Int) throws(FileError) -> Int {
        let file = try segment.files.index()
        let entry = try last(segment.indexEntries) { (n) throws(FileError) in
            Int(try read(file, n, Self.entryBytes).loadBigEndian(at: 4, as: UInt32.self))
                <= position
        }
        guard let entry else { return 0 }
        return Int(try read(file, entry, Self.entryBytes).loadBigEndian(at: 4, as: UInt32.self))
    }

    /// Where to begin to look for the first batch with a timestamp of at least `timestamp`.
    func position(beforeTimestamp timestamp: Int64) throws(FileError) -> Int {
        let file = try segment.files.timeIndex()
        let entry = try last(segment.timeIndexEntries) { (n) throws(FileError) in
            try read(file, n, Self.timeEntryBytes).loadBigEndian(at: 0, as: Int64.self) < timestamp
        }
        guard let entry else { return 0 }
        let relative: UInt32 = try read(file, entry, Self.timeEntryBytes).loadBigEndian(at: 8)
        return try position(before: segment.baseOffset + Int64(relative))
    }

    /// The last of the entries for which `holds`, which holds for a first part of them.
    private func last(
        _ count: Int,
        where holds: (Int) throws(FileError) -> Bool
    ) throws(FileError) -> Int? {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if try holds(middle) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : low - 1
    }

    private func read(_ file: File, _ entry: Int, _ bytes: Int) throws(FileError) -> ByteSlice {
        try file.read(bytes, at: entry * bytes)
    }
}

extension File {
    /// Exactly `count` bytes; a file that ends before them is damaged.
    func read(_ count: Int, at offset: Int) throws(FileError) -> ByteSlice {
        let storage = ByteStorage(capacity: count)
        let n = try read(
            into: UnsafeMutableRawBufferPointer(start: storage.start, count: count),
            at: offset
        )
        guard n == count else { throw FileError(.inputOutput, operation: "read", path: path) }
        return storage.slice(0..<count)
    }
}

/// Walks over the headers of the batches in a segment.
struct BatchScan {
    private static let chunkBytes = 64 << 10

    private let file: File
    private let end: Int
    private(set) var position: Int
    private var chunk = ByteSlice()
    private var chunkStart = 0
    private var windowEnd = Int.max

    init(_ segment: Segment, from position: Int) throws(FileError) {
        file = try segment.files.log()
        end = segment.size
        self.position = position
    }

    /// Walks over what has been read at `base` of a segment's `size` bytes, as far as whole batches
    /// go.
    init(_ window: ByteSlice, at base: Int, of file: File, _ size: Int, from position: Int) {
        self.file = file
        end = size
        windowEnd = base + window.count
        chunk = window
        chunkStart = base
        self.position = position
    }

    struct Header {
        let position: Int
        let byteCount: Int
        let baseOffset: Offset
        let lastOffset: Offset
        let maxTimestamp: Int64
    }

    /// The first batch that ends at `offset` or later.
    mutating func first(reaching offset: Offset) throws(FileError) -> Header? {
        while let header = try next() {
            if header.lastOffset >= offset { return header }
        }
        return nil
    }

    /// The next batch's header; `nil` at the end of the segment or window.
    mutating func next() throws(FileError) -> Header? {
        guard position < end, position + RecordBatch.headerBytes <= windowEnd else { return nil }
        let bytes = try bytes(at: position, count: RecordBatch.headerBytes)
        let length: Int32 = bytes.loadBigEndian(at: 8)
        let count = Int(length) + RecordBatch.lengthPrefixBytes
        guard bytes[16] == 2, count >= RecordBatch.headerBytes, position + count <= end else {
            throw FileError(
                .inputOutput,
                operation: "find a batch at \(position) of",
                path: file.path
            )
        }
        guard position + count <= windowEnd else { return nil }
        let batch = RecordBatch(committed: bytes)
        defer { position += count }
        return Header(
            position: position,
            byteCount: count,
            baseOffset: batch.baseOffset,
            lastOffset: batch.lastOffset,
            maxTimestamp: batch.maxTimestamp
        )
    }

    private mutating func bytes(at position: Int, count: Int) throws(FileError) -> ByteSlice {
        if position < chunkStart || position + count > chunkStart + chunk.count {
            let wanted = min(Self.chunkBytes, end - position)
            let storage = ByteStorage(capacity: wanted)
            let n = try file.read(
                into: UnsafeMutableRawBufferPointer(start: storage.start, count: wanted),
                at: position
            )
            guard n >= count else {
                throw FileError(.inputOutput, operation: "read", path: file.path)
            }
            chunk = storage.slice(0..<n)
            chunkStart = position
        }
        return chunk[position - chunkStart..<position - chunkStart + count]
    }
}
