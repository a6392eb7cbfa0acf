package import Bytes
import Platform

/// One record batch of message format 2, as a view over its bytes.
///
/// Layout, integers most significant byte first:
///
///      0 base offset i64            43 producer id i64
///      8 length i32 (from byte 12)  51 producer epoch i16
///     12 partition leader epoch i32 53 base sequence i32
///     16 magic i8                   57 record count i32
///     17 CRC-32C u32 of byte 21 on  61 records
///     21 attributes i16
///     23 last offset delta i32
///     27 base timestamp i64
///     35 max timestamp i64
///
/// The broker assigns base offset and leader epoch, which the CRC leaves out; the records are kept
/// as the producer sent them.
package struct RecordBatch: Sendable, Equatable {
    package static let headerBytes = 61
    /// What the length field does not count: base offset and the length itself.
    package static let lengthPrefixBytes = 12

    /// The whole batch and nothing else.
    package let bytes: ByteSlice

    private init(unchecked bytes: ByteSlice) { self.bytes = bytes }

    package var baseOffset: Offset { Offset(bytes.loadBigEndian(at: 0)) }
    package var partitionLeaderEpoch: LeaderEpoch { LeaderEpoch(bytes.loadBigEndian(at: 12)) }
    package var checksum: UInt32 { bytes.loadBigEndian(at: 17) }
    package var attributes: Int16 { bytes.loadBigEndian(at: 21) }
    package var lastOffsetDelta: Int32 { bytes.loadBigEndian(at: 23) }
    package var baseTimestamp: Int64 { bytes.loadBigEndian(at: 27) }
    package var maxTimestamp: Int64 { bytes.loadBigEndian(at: 35) }
    package var producerID: Int64 { bytes.loadBigEndian(at: 43) }
    package var producerEpoch: Int16 { bytes.loadBigEndian(at: 51) }
    package var baseSequence: Int32 { bytes.loadBigEndian(at: 53) }
    package var recordCount: Int32 { bytes.loadBigEndian(at: 57) }

    // Wrapping: until the broker has assigned it, the base offset is whatever a client sent.
    package var lastOffset: Offset { Offset(baseOffset.rawValue &+ Int64(lastOffsetDelta)) }
    package var nextOffset: Offset { Offset(lastOffset.rawValue &+ 1) }
    package var codec: Int { Int(attributes & 0x07) }
    package var usesLogAppendTime: Bool { attributes & 0x08 != 0 }
    package var isTransactional: Bool { attributes & 0x10 != 0 }
    package var isControl: Bool { attributes & 0x20 != 0 }
    package var hasProducer: Bool { producerID >= 0 }

    /// Sequences count up to the largest Int32 and start again at 0.
    package var lastSequence: Int32 {
        Self.sequence(baseSequence, plus: lastOffsetDelta)
    }

    package static func sequence(_ base: Int32, plus delta: Int32) -> Int32 {
        let sum = Int64(base) + Int64(delta)
        return Int32(clamping: sum > Int64(Int32.max) ? sum - Int64(Int32.max) - 1 : sum)
    }

    // MARK: Making one

    /// A batch that was checked when it was appended.
    package init(committed bytes: ByteSlice) {
        precondition(bytes.count >= Self.headerBytes, "a committed batch of \(bytes.count) bytes")
        self.init(unchecked: bytes)
    }

    /// The one batch a producer sent for a partition, checked but for its records' own bytes.
    package static func validated(_ bytes: ByteSlice) throws(InvalidBatch) -> RecordBatch {
        let batch = try framed(bytes)
        guard batch.bytes.count == bytes.count else { throw .severalBatches }
        let crc = batch.bytes.withUnsafeBytes {
            CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...]))
        }
        guard crc == batch.checksum else {
            throw .checksum(found: crc, stated: batch.checksum)
        }
        guard batch.recordCount > 0, batch.lastOffsetDelta == batch.recordCount - 1 else {
            throw .counts(records: batch.recordCount, lastOffsetDelta: batch.lastOffsetDelta)
        }
        // The shortest record takes seven bytes; compressed ones may be shorter.
        let recordBytes = batch.bytes.count - headerBytes
        if batch.codec == 0, Int(batch.recordCount) > recordBytes / 7 {
            throw .counts(records: batch.recordCount, lastOffsetDelta: batch.lastOffsetDelta)
        }
        guard batch.codec <= 4 else { throw .codec(batch.codec) }
        guard !batch.isControl else { throw .control }
        guard batch.isTransactional == false else { throw .transactional }
        if batch.hasProducer {
            guard batch.producerEpoch >= 0, batch.baseSequence >= 0 else {
                throw .producer(epoch: batch.producerEpoch, sequence: batch.baseSequence)
            }
        }
        return batch
    }

    /// The batch at the start of `bytes`, by its own length; what follows it is not looked at.
    package static func framed(_ bytes: ByteSlice) throws(InvalidBatch) -> RecordBatch {
        guard bytes.count >= 17 else { throw .truncated(bytes.count) }
        let magic = Int8(bitPattern: bytes[16])
        guard magic == 2 else { throw .magic(magic) }
        guard bytes.count >= headerBytes else { throw .truncated(bytes.count) }
        let length: Int32 = bytes.loadBigEndian(at: 8)
        guard length >= headerBytes - lengthPrefixBytes,
            Int(length) <= bytes.count - lengthPrefixBytes
        else { throw .length(length) }
        return RecordBatch(unchecked: bytes[0..<Int(length) + lengthPrefixBytes])
    }

    // MARK: What the broker changes

    /// Writes offset and epoch into the batch, which nobody else may hold yet.
    package func assign(baseOffset: Offset, leaderEpoch: LeaderEpoch) {
        bytes.patchBigEndian(baseOffset.rawValue, at: 0)
        bytes.patchBigEndian(leaderEpoch.rawValue, at: 12)
    }

    /// Stamps the batch with the broker's time, which changes its CRC.
    package func setLogAppendTime(_ milliseconds: Int64) {
        bytes.patchBigEndian(attributes | 0x08, at: 21)
        bytes.patchBigEndian(milliseconds, at: 35)
        let crc = bytes.withUnsafeBytes {
            CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...]))
        }
        bytes.patchBigEndian(crc, at: 17)
    }

    /// Whether the stated CRC is right; for what was read back from a disk.
    package var isIntact: Bool {
        bytes.withUnsafeBytes {
            CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...])) == checksum
        }
    }
}

/// What is wrong with a batch a client sent.
package enum InvalidBatch: Error, Equatable, CustomStringConvertible {
    case truncated(Int)
    case length(Int32)
    case magic(Int8)
    case checksum(found: UInt32, stated: UInt32)
    case counts(records: Int32, lastOffsetDelta: Int32)
    case codec(Int)
    case control
    case transactional
    case severalBatches
    case producer(epoch: Int16, sequence: Int32)

    package var errorCode: ErrorCode {
        switch self {
        case .truncated, .length, .checksum: .corruptMessage
        case .magic: .unsupportedForMessageFormat
        case .codec: .unsupportedCompressionType
        case .transactional: .invalidTxnState
        case .counts, .control, .severalBatches, .producer: .invalidRecord
        }
    }

    package var description: String {
        switch self {
        case .truncated(let count): "\(count) bytes are no record batch"
        case .length(let length): "the batch states a length of \(length), which it has not"
        case .magic(let magic): "message format \(magic); only format 2 is accepted"
        case .checksum: "the batch does not match its CRC-32C"
        case .counts(let records, let delta):
            "\(records) records and a last offset delta of \(delta) contradict each other"
        case .codec(let codec): "unknown compression codec \(codec)"
        case .control: "control batches are the broker's to write"
        case .transactional: "the batch belongs to a transaction that was not begun"
        case .severalBatches: "a produce request carries one batch a partition"
        case .producer(let epoch, let sequence):
            "a producer id with epoch \(epoch) and sequence \(sequence)"
        }
    }
}
