internal import Platform

/// The head of what one group commit wrote.
///
/// A batch starts at a multiple of 4 KiB and is one unit: it is in the log when its header and all
/// of its records are intact, and not at all otherwise. Batch *n* is durable before a byte of batch
/// *n + 1* is written, so a damaged batch with an intact header of a later one anywhere behind it
/// was durable once and is damage, while one with nothing behind it may be a torn tail.
///
/// On disk, least significant byte first:
///
///     offset  bytes  field
///          0      4  magic
///          4      4  CRC-32C of bytes 8..<56, continuing the file header's CRC
///          8      8  file sequence
///         16      8  batch number: one more than the batch before, across files
///         24      8  life: drawn each time the log is opened
///         32      4  length of header and records, without padding
///         36      4  record count
///         40      8  where in the file the batch starts
///         48      8  the highest term of any record so far, in this batch or before it
///         56         records, then zeros up to a multiple of 4 KiB
///
/// The checksums form a chain (file header, batch header, record), so that bytes left behind by an
/// earlier life of the file, or by an earlier and torn batch at the same place, never pass for
/// part of a batch they were not written with; nor does a payload that imitates a batch, because
/// nobody outside knows the file's salt. A batch that a disk put in the wrong place is not intact
/// there. The highest term tells those who lost earlier records what these may have promised.
struct BatchHeader: Equatable {
    static let size = 56
    static let magic: UInt32 = 0x3142_5743  // "CWB1"
    /// As with ``FileHeader/maxSequence``.
    static let maxNumber = UInt64.max >> 1

    let sequence: UInt64
    let number: UInt64
    let life: UInt64
    let offset: Int
    /// Header and records, without the padding.
    let length: Int
    let count: Int
    let highestTerm: UInt64
    /// Continued by the CRC of each record.
    private(set) var checksum: UInt32 = 0

    init(
        sequence: UInt64,
        number: UInt64,
        life: UInt64,
        offset: Int,
        length: Int,
        count: Int,
        highestTerm: UInt64
    ) {
        self.sequence = sequence
        self.number = number
        self.life = life
        self.offset = offset
        self.length = length
        self.count = count
        self.highestTerm = highestTerm
    }

    /// Writes the header, completing its checksum.
    mutating func encode(into bytes: UnsafeMutableRawPointer, fileChecksum: UInt32) {
        bytes.storeLittleEndian(Self.magic, at: 0)
        bytes.storeLittleEndian(sequence, at: 8)
        bytes.storeLittleEndian(number, at: 16)
        bytes.storeLittleEndian(life, at: 24)
        bytes.storeLittleEndian(UInt32(length), at: 32)
        bytes.storeLittleEndian(UInt32(count), at: 36)
        bytes.storeLittleEndian(UInt64(offset), at: 40)
        bytes.storeLittleEndian(highestTerm, at: 48)
        checksum = Self.checksum(of: UnsafeRawPointer(bytes), fileChecksum: fileChecksum)
        bytes.storeLittleEndian(checksum, at: 4)
    }

    /// Reads ``size`` bytes; `nil` when they are no batch header of this file and place.
    init?(decoding bytes: UnsafeRawPointer, of file: FileHeader, at offset: Int) {
        guard bytes.loadLittleEndian(at: 0, as: UInt32.self) == Self.magic,
            bytes.loadLittleEndian(at: 8, as: UInt64.self) == file.sequence,
            bytes.loadLittleEndian(at: 40, as: UInt64.self) == UInt64(offset)
        else { return nil }
        let stored = bytes.loadLittleEndian(at: 4, as: UInt32.self)
        guard stored == Self.checksum(of: bytes, fileChecksum: file.checksum) else { return nil }
        sequence = file.sequence
        self.offset = offset
        number = bytes.loadLittleEndian(at: 16, as: UInt64.self)
        life = bytes.loadLittleEndian(at: 24, as: UInt64.self)
        length = Int(bytes.loadLittleEndian(at: 32, as: UInt32.self))
        count = Int(bytes.loadLittleEndian(at: 36, as: UInt32.self))
        highestTerm = bytes.loadLittleEndian(at: 48, as: UInt64.self)
        checksum = stored
        guard number <= Self.maxNumber, length >= Self.size,
            count <= (length - Self.size) / WALRecordHeader.size
        else { return nil }
    }

    private static func checksum(of bytes: UnsafeRawPointer, fileChecksum: UInt32) -> UInt32 {
        CRC32C.checksum(
            UnsafeRawBufferPointer(start: bytes + 8, count: size - 8),
            continuing: fileChecksum
        )
    }

    /// Where the next batch starts, counted from this one.
    var paddedLength: Int { WALBlock.roundedUp(length) }
}

/// The unit in which the log is laid out: direct I/O's alignment.
enum WALBlock {
    static let size = FileSystem.directAlignment

    static func roundedUp(_ n: Int) -> Int { (n + size - 1) & ~(size - 1) }
    static func roundedDown(_ n: Int) -> Int { n & ~(size - 1) }
}
