internal import Bytes
internal import Platform

/// What both sides of a handshake are wrapped in.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | magic, its first byte `C7`: not that of HTTP/2 (`P`) nor that of TLS (`16`) |
/// | 8 | 2 | length of the content, at most 1,024 |
/// | 10 | 4 | CRC-32C of the content |
/// | 14 | … | content |
enum Envelope {
    static let headerBytes = 14
    static let maxContentBytes = 1024
    static let firstByte: UInt8 = 0xc7
    /// `C7` and "CHRONIK", a caller's.
    static let hello: UInt64 = 0xc743_4852_4f4e_494b
    /// `C7` and "chronik", an answer's.
    static let answer: UInt64 = 0xc763_6872_6f6e_696b

    static func seal(_ magic: UInt64, _ content: ByteSlice) -> ByteSlice {
        precondition(content.count <= maxContentBytes, "a greeting of \(content.count) bytes")
        var writer = ByteWriter(capacity: headerBytes + content.count)
        writer.write(magic)
        writer.write(UInt16(truncatingIfNeeded: content.count))
        writer.write(checksum(content))
        writer.write(content)
        return writer.finishContiguous()
    }

    /// The length of the content behind a header.
    static func contentLength(
        _ header: ByteSlice,
        magic: UInt64
    ) throws(GreetingError) -> Int {
        guard header.loadBigEndian(at: 0, as: UInt64.self) == magic else { throw .notChronik }
        let length = Int(header.loadBigEndian(at: 8, as: UInt16.self))
        guard length <= maxContentBytes else { throw .malformed }
        return length
    }

    static func check(_ header: ByteSlice, _ content: ByteSlice) throws(GreetingError) {
        guard header.loadBigEndian(at: 10, as: UInt32.self) == checksum(content) else {
            throw .malformed
        }
    }

    private static func checksum(_ content: ByteSlice) -> UInt32 {
        content.withUnsafeBytes { CRC32C.checksum($0) }
    }
}

/// Why a handshake came to nothing before either side could say who it is.
package enum GreetingError: Error, Equatable, Sendable {
    /// The first bytes are of another protocol.
    case notChronik
    case malformed
    /// The connection ended first.
    case ended
    case timedOut
}
