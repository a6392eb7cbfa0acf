internal import Bytes
internal import Platform

/// What stands before the body of every frame, integers most significant byte first.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | length of the body |
/// | 4 | 1 | format in the upper four bits (1), kind in the lower four |
/// | 5 | 4 | CRC-32C of the bytes 0–4 and the body |
/// | 9 | … | body |
struct FrameHeader: Equatable {
    static let byteCount = 9
    static let format: UInt8 = 1

    /// What a body holds; the numbers are on the wire.
    enum Kind: UInt8, CaseIterable {
        case messages = 0
        case beat = 1
        case snapshotChunk = 2
        case snapshotAnswer = 3
        /// How many bytes have arrived, from the side that receives.
        case receipt = 4
        /// Nothing to say, but alive.
        case keepAlive = 5
        case call = 6
        case answer = 7
    }

    var kind: Kind
    var bodyLength: Int
    var checksum: UInt32

    /// The header of a body.
    init(kind: Kind, body: ByteRope) {
        self.kind = kind
        bodyLength = body.count
        checksum = Self.prefixChecksum(kind, body.count)
        for piece in body.pieces {
            guard case .bytes(let slice) = piece else {
                preconditionFailure("a file piece in a frame")
            }
            checksum = slice.withUnsafeBytes { [checksum] in
                CRC32C.checksum($0, continuing: checksum)
            }
        }
    }

    /// Reads the header at the front of `bytes`, of which there are at least ``byteCount``.
    init(_ bytes: ByteSlice, limit: Int) throws(FrameError) {
        precondition(bytes.count >= Self.byteCount, "a header of \(bytes.count) bytes")
        let tag = bytes[4]
        guard tag >> 4 == Self.format else { throw .unknownFormat(tag >> 4) }
        guard let kind = Kind(rawValue: tag & 0xf) else { throw .unknownFrameKind(tag & 0xf) }
        self.kind = kind
        bodyLength = Int(bytes.loadBigEndian(at: 0, as: UInt32.self))
        guard bodyLength <= limit - Self.byteCount else {
            throw .oversized(length: bodyLength + Self.byteCount, limit: limit)
        }
        checksum = bytes.loadBigEndian(at: 5, as: UInt32.self)
    }

    func check(_ body: ByteSlice) throws(FrameError) {
        let computed = body.withUnsafeBytes {
            CRC32C.checksum($0, continuing: Self.prefixChecksum(kind, bodyLength))
        }
        guard computed == checksum else {
            throw .checksumMismatch(stored: checksum, computed: computed)
        }
    }

    func write(to writer: inout ByteWriter) {
        writer.write(UInt32(truncatingIfNeeded: bodyLength))
        writer.write(Self.tag(kind))
        writer.write(checksum)
    }

    private static func tag(_ kind: Kind) -> UInt8 { format << 4 | kind.rawValue }

    private static func prefixChecksum(_ kind: Kind, _ length: Int) -> UInt32 {
        // The five bytes as they are on the wire.
        let prefix = (UInt64(UInt32(truncatingIfNeeded: length)) << 32 | UInt64(tag(kind)) << 24)
        return withUnsafeBytes(of: prefix.bigEndian) {
            CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[..<5]))
        }
    }
}
