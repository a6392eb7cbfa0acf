package import Bytes
internal import Platform

/// What a Raft group writes to the log that all groups of a node share.
package struct WALRecord: Sendable {
    /// Never renumber: the values are on disk.
    package enum Kind: UInt8, Sendable, CaseIterable {
        case entry = 1
        case configurationEntry = 2
        case hardState = 3
        case truncateSuffix = 4
        case snapshotMetadata = 5
        case groupRemoved = 6
    }

    package var group: UInt64
    /// Tells a group from an earlier one of the same number.
    package var incarnation: UInt32
    package var kind: Kind
    package var term: UInt64
    package var index: UInt64
    package var payload: ByteSlice

    package init(
        group: UInt64,
        incarnation: UInt32 = 0,
        kind: Kind,
        term: UInt64,
        index: UInt64,
        payload: ByteSlice
    ) {
        self.group = group
        self.incarnation = incarnation
        self.kind = kind
        self.term = term
        self.index = index
        self.payload = payload
    }

    /// Bytes it takes in the log.
    package var encodedBytes: Int { WALRecordHeader.size + payload.count }
}

/// A record without its payload.
///
/// On disk, least significant byte first, the payload right behind it:
///
///     offset  bytes  field
///          0      4  CRC-32C of bytes 4..<40 and the payload, continuing the batch header's CRC
///          4      4  payload length
///          8      8  group
///         16      8  term
///         24      8  index
///         32      4  incarnation
///         36      1  kind
///         37      3  zero
package struct WALRecordHeader: Equatable, Sendable {
    package let group: UInt64
    package let incarnation: UInt32
    package let kind: WALRecord.Kind
    package let term: UInt64
    package let index: UInt64
    package let payloadLength: Int

    static let size = 40

    /// Writes the header of `record`; its CRC continues `seed`.
    @inline(__always)
    static func encode(
        _ record: WALRecord,
        seed: UInt32,
        into header: UnsafeMutableRawPointer
    ) {
        header.storeLittleEndian(UInt32(record.payload.count), at: 4)
        header.storeLittleEndian(record.group, at: 8)
        header.storeLittleEndian(record.term, at: 16)
        header.storeLittleEndian(record.index, at: 24)
        header.storeLittleEndian(record.incarnation, at: 32)
        header.storeLittleEndian(UInt32(record.kind.rawValue), at: 36)
        let payload = UnsafeRawBufferPointer(
            start: record.payload.start,
            count: record.payload.count
        )
        header.storeLittleEndian(
            checksum(of: UnsafeRawPointer(header), payload: payload, seed: seed),
            at: 0
        )
    }

    @inline(__always)
    static func checksum(
        of header: UnsafeRawPointer,
        payload: UnsafeRawBufferPointer,
        seed: UInt32
    ) -> UInt32 {
        let fields = UnsafeRawBufferPointer(start: header + 4, count: size - 4)
        return CRC32C.checksum(payload, continuing: CRC32C.checksum(fields, continuing: seed))
    }

    /// Reads a header whose CRC was verified; `nil` when its kind is of a later format.
    init?(decoding header: UnsafeRawPointer) {
        guard let kind = WALRecord.Kind(rawValue: header.loadLittleEndian(at: 36, as: UInt8.self))
        else { return nil }
        self.kind = kind
        payloadLength = Int(header.loadLittleEndian(at: 4, as: UInt32.self))
        group = header.loadLittleEndian(at: 8, as: UInt64.self)
        term = header.loadLittleEndian(at: 16, as: UInt64.self)
        index = header.loadLittleEndian(at: 24, as: UInt64.self)
        incarnation = header.loadLittleEndian(at: 32, as: UInt32.self)
    }
}

extension UnsafeMutableRawPointer {
    @inline(__always)
    func storeLittleEndian<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
}

extension UnsafeRawPointer {
    @inline(__always)
    func loadLittleEndian<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
    }
}
