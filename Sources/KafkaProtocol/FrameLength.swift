package import Bytes

/// The length that begins every frame of Kafka's protocol.
package enum FrameLength {
    /// The shortest request: API key, version and correlation id.
    private static let minimum = 8

    /// Reads the length at the start of `prefix`, which has at least 4 bytes.
    package static func check(_ prefix: ByteSlice, limit: Int) throws(FrameProblem) -> Int {
        let length: Int32 = prefix.loadBigEndian(at: 0)
        switch UInt32(bitPattern: length) {
        // "GET ", "POST", "HEAD", "PUT ", as one number each.
        case 0x4745_5420, 0x504f_5354, 0x4845_4144, 0x5055_5420: throw .http
        // A TLS record of type handshake, versions 3.0 to 3.4.
        case 0x1603_0000...0x1603_04ff: throw .tls
        default: break
        }
        guard length >= minimum else { throw .tooShort(length) }
        guard Int(length) <= limit else { throw .tooLong(length, limit: limit) }
        return Int(length)
    }
}

/// What is wrong with a stream of frames.
package enum FrameProblem: Error, Equatable, CustomStringConvertible {
    case http
    case tls
    case tooShort(Int32)
    case tooLong(Int32, limit: Int)
    /// The peer closed in the middle of a frame.
    case cutShort

    package var description: String {
        switch self {
        case .http: "an HTTP request reached the port for Kafka clients"
        case .tls:
            "a TLS handshake reached a plaintext port; connect with security.protocol=PLAINTEXT"
        case .tooShort(let length): "a frame of \(length) bytes is shorter than any request"
        case .tooLong(let length, let limit): "a frame of \(length) bytes; the limit is \(limit)"
        case .cutShort: "the client closed in the middle of a request"
        }
    }
}
