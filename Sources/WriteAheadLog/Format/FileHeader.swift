internal import Platform

/// The first block of a log file.
///
/// Written and synced before the file gets its name in the log, so a file of that name without an
/// intact header is damaged. On disk, least significant byte first:
///
///     offset  bytes  field
///          0      8  magic
///          8      4  format version
///         12      4  zero
///         16      8  sequence, as in the file's name
///         24      8  salt: drawn each time the file enters the log
///         32      4  CRC-32C of bytes 0..<32
struct FileHeader: Equatable {
    static let encodedSize = 36
    static let magic: UInt64 = 0x4C41_574E_4F52_4843  // "CHRONWAL"
    static let version: UInt32 = 2
    /// No log gets as far; what says so was not written by one, and would not leave room to go on.
    static let maxSequence = UInt64.max >> 1

    let sequence: UInt64
    /// Continued by the CRC of each batch header.
    let checksum: UInt32

    /// Writes the header into a block of zeros.
    static func encode(
        sequence: UInt64,
        salt: UInt64,
        into block: UnsafeMutableRawPointer
    ) -> FileHeader {
        block.storeLittleEndian(magic, at: 0)
        block.storeLittleEndian(version, at: 8)
        block.storeLittleEndian(sequence, at: 16)
        block.storeLittleEndian(salt, at: 24)
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(start: block, count: 32))
        block.storeLittleEndian(checksum, at: 32)
        return FileHeader(sequence: sequence, checksum: checksum)
    }

    enum Decoded: Equatable {
        case header(FileHeader)
        case unknownVersion(UInt32)
        case damaged
    }

    static func decode(_ bytes: UnsafeRawPointer) -> Decoded {
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(start: bytes, count: 32))
        guard bytes.loadLittleEndian(at: 0, as: UInt64.self) == magic,
            bytes.loadLittleEndian(at: 32, as: UInt32.self) == checksum
        else { return .damaged }
        let version = bytes.loadLittleEndian(at: 8, as: UInt32.self)
        guard version == Self.version else { return .unknownVersion(version) }
        let sequence = bytes.loadLittleEndian(at: 16, as: UInt64.self)
        guard sequence <= maxSequence else { return .damaged }
        return .header(FileHeader(sequence: sequence, checksum: checksum))
    }
}
