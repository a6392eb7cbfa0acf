import CISAL

/// CRC-32C (Castagnoli), as Kafka's record batches and our own files use it.
public enum CRC32C {
    /// The checksum of `bytes`, or of all bytes so far when `previous` is that of those before.
    public static func checksum(
        _ bytes: UnsafeRawBufferPointer,
        continuing previous: UInt32 = 0
    ) -> UInt32 {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return previous }
        // The library takes a mutable pointer and an int length, and changes nothing.
        var register = ~previous
        var done = 0
        while done < bytes.count {
            let length = min(bytes.count - done, 1 << 30)
            let part = UnsafeMutableRawPointer(mutating: start + done)
                .assumingMemoryBound(to: UInt8.self)
            register = crc32_iscsi(part, Int32(length), register)
            done += length
        }
        return ~register
    }
}
