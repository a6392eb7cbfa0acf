import Bytes
import Platform

@testable import KafkaProtocol

/// Batches to take apart and to damage.
enum BatchFixture {
    /// A batch of small records, in memory of its own.
    static func batch(
        records: Int = 3,
        baseTimestamp: Int64 = 1_000,
        producerID: Int64 = -1,
        producerEpoch: Int16 = -1,
        baseSequence: Int32 = -1
    ) -> RecordBatch {
        var builder = RecordBatchBuilder(baseTimestamp: baseTimestamp)
        builder.producerID = producerID
        builder.producerEpoch = producerEpoch
        builder.baseSequence = baseSequence
        for n in 0..<records {
            builder.append(
                key: ByteSlice("key \(n)"),
                value: ByteSlice("value \(n)"),
                timestamp: baseTimestamp + Int64(n)
            )
        }
        return builder.finish()
    }

    /// The bytes of a batch with some of them changed and the CRC made right again.
    static func altered(
        _ batch: RecordBatch = batch(),
        _ change: (ByteSlice) -> Void
    ) -> ByteSlice {
        let bytes = batch.bytes.copied()
        change(bytes)
        sign(bytes)
        return bytes
    }

    static func sign(_ bytes: ByteSlice) {
        bytes.patchBigEndian(checksum(of: bytes), at: 17)
    }

    /// CRC-32C bit by bit, from its definition: not the library under test.
    static func checksum(of bytes: ByteSlice) -> UInt32 {
        var crc: UInt32 = .max
        for byte in bytes.array[21...] {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
        }
        return ~crc
    }

    /// A header and whatever records, with the count that is asked for.
    static func batch(records bytes: [UInt8], count: Int32, attributes: Int16 = 0) -> ByteSlice {
        var writer = ByteWriter()
        writer.write(Int64(0))
        writer.write(Int32(RecordBatch.headerBytes - RecordBatch.lengthPrefixBytes + bytes.count))
        writer.write(Int32(-1))
        writer.write(Int8(2))
        writer.write(UInt32(0))
        writer.write(attributes)
        writer.write(count &- 1)
        writer.write(Int64(5_000))
        writer.write(Int64(5_000))
        writer.write(Int64(-1))
        writer.write(Int16(-1))
        writer.write(Int32(-1))
        writer.write(count)
        bytes.withUnsafeBytes { writer.write(contentsOf: $0) }
        let whole = writer.finishContiguous()
        sign(whole)
        return whole
    }
}
