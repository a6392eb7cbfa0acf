package import Platform

/// Why a connection is not let in, or certificates cannot be used.
package enum TLSError: Error, Equatable {
    /// A file that this node needs to show who it is, or to check who others are.
    case unusable(file: String, reason: String)
    /// The peer's certificate is not one that the authorities vouch for, now and for this use.
    case untrusted(reason: String)
    /// The peer shows no certificate.
    case noCertificate
    /// The certificate is good, but of somebody else.
    case wrongName(node: String, expected: String, presented: [String])
    /// A node that nobody has told this one about.
    case unknownNode(String)
    /// The handshake broke off, by the rules of TLS or the word of the peer.
    case handshake(reason: String)
    /// The peer closed before the handshake was over.
    case ended
    case network(NetworkError)
}

extension TLSError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unusable(let file, let reason): "\(file) cannot be used for TLS: \(reason)"
        case .untrusted(let reason): "the peer's certificate is not trusted: \(reason)"
        case .noCertificate: "the peer shows no certificate"
        case .wrongName(let node, let expected, let presented):
            "node \(node) is reached at \(expected), but the certificate shown is of "
                + (presented.isEmpty ? "no host" : presented.joined(separator: ", "))
        case .unknownNode(let node): "node \(node) is not one of the cluster"
        case .handshake(let reason): "the TLS handshake failed: \(reason)"
        case .ended: "the peer closed during the TLS handshake"
        case .network(let error): "the network failed during the TLS handshake: \(error)"
        }
    }
}
