import CGRPC
import Platform

/// What channels show of themselves, and whom they trust.
///
/// With files, the certificate of the node called must name the host at which it is called. gRPC
/// looks at the files every second; new connections are made with what it finds.
final class ChannelCredentials: @unchecked Sendable {
    // Unchecked: gRPC's credentials are safe to use from any thread.
    let pointer: OpaquePointer

    init(_ files: CredentialFiles?) {
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
