import CGRPC

/// Where a node's certificate, its key and the authorities' certificates are, all PEM.
///
/// gRPC looks at the files every second; new connections are made with what it finds.
package struct GRPCCredentialFiles: Sendable {
    /// The node's certificate first, then those between it and an authority.
    package var certificate: String
    package var key: String
    package var authority: String

    package init(certificate: String, key: String, authority: String) {
        self.certificate = certificate
        self.key = key
        self.authority = authority
    }
}

/// What channels show of themselves, and whom they trust.
///
/// With files, the certificate of the node called must name the host at which it is called.
final class ChannelCredentials: @unchecked Sendable {
    // Unchecked: gRPC's credentials are safe to use from any thread.
    let pointer: OpaquePointer

    init(_ files: GRPCCredentialFiles?) {
        _ = GRPCLibrary.initialized
        let made =
            if let files {
                cgrpc_tls_for_channels(files.certificate, files.key, files.authority)
            } else {
                grpc_insecure_credentials_create()
            }
        guard let made else { preconditionFailure("gRPC made no credentials") }
        pointer = made
    }

    deinit { grpc_channel_credentials_release(pointer) }
}
