import Bytes
import KafkaProtocol
import Platform

/// What a partition's segments vouch for: the file `checkpoint` in its directory.
///
/// Written after everything it names is synced. After a crash, segment bytes beyond it are cut; the
/// write-ahead log has what came after it.
///
/// Layout, integers most significant byte first:
///
///     magic u32 "CHKP" | version u16 (3)
///     generation u64 | membership: u32 count, bytes
///     raft index u64 | raft term i32 | log start offset i64 | log end offset i64
///     leader epochs: u32 count, each epoch i32, start offset i64
///     segments: u32 count, each base offset, next offset, size, largest timestamp and its offset,
///         created (i64 each), index entries, time index entries (u32 each)
///     producers: u32 count, each id i64, epoch i16, last active i64, u8 count of batches: base
///         sequence i32, last sequence i32, base offset i64
///     forgotten producers: the largest ID i64, -1 where there is none
///     CRC-32C u32 of all before it
///
/// Version 1 had neither generation nor membership; version 2 did not say who was forgotten, which
/// is read as anybody. Segments of generation 0 lie beside the
/// checkpoint, those of another in a directory of their own: replacing the checkpoint replaces the
/// whole log at once.
struct Checkpoint: Sendable, Equatable {
    static let fileName = "checkpoint"
    private static let magic: UInt32 = 0x4348_4b50
    private static let version: UInt16 = 3
    /// Far above what a hundred thousand producers take.
    static let maxBytes = 256 << 20
    private static let generationPrefix = "snapshot-"

    /// The Raft index of the snapshot the log began with; 0: with none.
    var generation: UInt64 = 0
    /// Who belonged to the group at the Raft index, where the log came as a snapshot and the Raft
    /// log may not know of it yet; opaque.
    var membership = ByteSlice()
    var raftIndex: UInt64 = 0
    var raftTerm = LeaderEpoch(0)
    var logStartOffset = Offset.zero
    var logEndOffset = Offset.zero
    var epochs = LeaderEpochs()
    var segments: [Segment] = []
    var producers: [Int64: ProducerTable.Producer] = [:]
    var forgottenThrough = ProducerTable.noneForgotten

    /// Where the segments of a generation are.
    static func segmentDirectory(_ directory: String, generation: UInt64) -> String {
        generation == 0 ? directory : "\(directory)/\(generationPrefix)\(generation)"
    }

    static func isSegmentDirectory(_ name: String) -> Bool { name.hasPrefix(generationPrefix) }

    func write(to directory: String, _ files: FileSystem) throws(FileError) {
        try files.replaceAtomically(directory + "/" + Self.fileName, with: encoded())
    }

    /// `nil` when the partition has never been flushed.
    static func read(from directory: String, _ files: FileSystem) throws -> Checkpoint? {
        let path = directory + "/" + fileName
        guard files.exists(path) else { return nil }
        let bytes = try files.readAll(path, limit: maxBytes)
        do {
            return try Checkpoint(decoding: bytes, directory: directory, files)
        } catch {
            throw LogDamage(
                path: path,
                problem: "the checkpoint is damaged (\(error)); restore the partition from a backup"
            )
        }
    }

    func encoded() -> ByteSlice {
        var out = ByteWriter(capacity: 1024)
        out.write(Self.magic)
        out.write(Self.version)
        out.write(generation)
        out.write(UInt32(membership.count))
        membership.withUnsafeBytes { out.write(contentsOf: $0) }
        out.write(raftIndex)
        out.write(raftTerm.rawValue)
        out.write(logStartOffset.rawValue)
        out.write(logEndOffset.rawValue)
        out.write(UInt32(epochs.entries.count))
        for entry in epochs.entries {
            out.write(entry.epoch.rawValue)
            out.write(entry.startOffset.rawValue)
        }
        out.write(UInt32(segments.count))
        for segment in segments {
            for number in [
                segment.baseOffset.rawValue, segment.nextOffset.rawValue, Int64(segment.size),
                segment.maxTimestamp, segment.maxTimestampOffset.rawValue, segment.created,
            ] { out.write(number) }
            out.write(UInt32(segment.indexEntries))
            out.write(UInt32(segment.timeIndexEntries))
        }
        out.write(UInt32(producers.count))
        for (id, producer) in producers.sorted(by: { $0.key < $1.key }) {
            out.write(id)
            out.write(producer.epoch)
            out.write(producer.lastActive)
            out.write(UInt8(producer.recent.count))
            for batch in producer.recent {
                out.write(batch.baseSequence)
                out.write(batch.lastSequence)
                out.write(batch.baseOffset.rawValue)
            }
        }
        out.write(forgottenThrough)
        let body = out.finishContiguous()
        var whole = ByteWriter(capacity: body.count + 4)
        body.withUnsafeBytes { whole.write(contentsOf: $0) }
        whole.write(body.withUnsafeBytes { CRC32C.checksum($0) })
        return whole.finishContiguous()
    }

    init() {}

    /// Decodes a checkpoint; one of another node becomes the one of `generation` here.
    init(
        decoding slice: ByteSlice,
        directory: String,
        _ files: FileSystem,
        as generation: UInt64? = nil
    ) throws(MalformedBytes) {
        guard slice.count > 4 else { throw .truncated(needed: 5, available: slice.count) }
        let body = slice.prefix(slice.count - 4)
        let stated: UInt32 = slice.loadBigEndian(at: slice.count - 4)
        guard body.withUnsafeBytes({ CRC32C.checksum($0) }) == stated else {
            throw .invalidLength(Int64(slice.count))
        }
        var reader = ByteReader(body)
        let magic: UInt32 = try reader.read()
        let version: UInt16 = try reader.read()
        guard magic == Self.magic, (1...Self.version).contains(version) else {
            throw .unsupportedVersion(Int16(truncatingIfNeeded: version))
        }
        if version > 1 {
            self.generation = try reader.read()
            let count: UInt32 = try reader.read()
            membership = try reader.readSlice(Int(count))
        }
        if let generation { self.generation = generation }
        let home = Self.segmentDirectory(directory, generation: self.generation)
        raftIndex = try reader.read()
        raftTerm = LeaderEpoch(try reader.read())
        logStartOffset = Offset(try reader.read())
        logEndOffset = Offset(try reader.read())
        let epochCount: UInt32 = try reader.read()
        for _ in 0..<epochCount {
            let epoch = LeaderEpoch(try reader.read())
            epochs.append(epoch, startingAt: Offset(try reader.read()))
        }
        let segmentCount: UInt32 = try reader.read()
        for _ in 0..<segmentCount {
            segments.append(try Self.readSegment(&reader, home, files))
        }
        let producerCount: UInt32 = try reader.read()
        for _ in 0..<producerCount { try readProducer(&reader) }
        forgottenThrough = version > 2 ? try reader.read() : .max
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
    }

    private static func readSegment(
        _ reader: inout ByteReader,
        _ directory: String,
        _ files: FileSystem
    ) throws(MalformedBytes) -> Segment {
        let base = Offset(try reader.read())
        let next = Offset(try reader.read())
        let size = Int(try reader.readInt64())
        let maxTimestamp: Int64 = try reader.read()
        let maxTimestampOffset = Offset(try reader.read())
        let created: Int64 = try reader.read()
        var segment = Segment(
            baseOffset: base,
            created: created,
            files: SegmentFiles(directory: directory, baseOffset: base, files: files)
        )
        segment.nextOffset = next
        segment.size = size
        segment.maxTimestamp = maxTimestamp
        segment.maxTimestampOffset = maxTimestampOffset
        segment.indexEntries = Int(try reader.readUInt32())
        segment.timeIndexEntries = Int(try reader.readUInt32())
        return segment
    }

    private mutating func readProducer(_ reader: inout ByteReader) throws(MalformedBytes) {
        let id: Int64 = try reader.read()
        var producer = ProducerTable.Producer(
            epoch: try reader.read(),
            lastActive: try reader.read()
        )
        let count: UInt8 = try reader.read()
        for _ in 0..<count {
            producer.recent.append(
                ProducerTable.Batch(
                    baseSequence: try reader.read(),
                    lastSequence: try reader.read(),
                    baseOffset: Offset(try reader.read())
                )
            )
        }
        producers[id] = producer
    }
}

/// Files that are not what they were written as.
package struct LogDamage: Error, CustomStringConvertible {
    package let path: String
    package let problem: String

    package var description: String { "\(path): \(problem)" }
}
