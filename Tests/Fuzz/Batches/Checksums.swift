import Bytes
import KafkaProtocol
import Platform

/// Gives bytes the length and the checksum of a batch, so that what lies behind those is reached.
enum Checksums {
    static func corrected(_ bytes: ByteSlice) -> ByteSlice {
        guard bytes.count >= RecordBatch.headerBytes else { return bytes }
        let batch = bytes.copied()
        batch.patchBigEndian(Int32(batch.count - RecordBatch.lengthPrefixBytes), at: 8)
        batch.patchBigEndian(Int8(2), at: 16)
        let checksum = batch.withUnsafeBytes {
            CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...]))
        }
        batch.patchBigEndian(checksum, at: 17)
        return batch
    }
}
