/// Tells by its first byte what a connection speaks.
///
/// | first byte | protocol |
/// |---|---|
/// | `C7` | frames, see ``Envelope`` |
/// | `50`, the `P` of `PRI * HTTP/2.0` | HTTP/2, so gRPC |
/// | `16`, a handshake record | TLS, with either inside |
package enum ProtocolSniffer {
    package enum Found: Equatable, Sendable {
        case frames
        case http2
        case tls
        case unknown
    }

    package static func find(_ firstByte: UInt8) -> Found {
        switch firstByte {
        case Envelope.firstByte: .frames
        case 0x50: .http2
        case 0x16: .tls
        default: .unknown
        }
    }
}
