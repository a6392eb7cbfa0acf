package import Bytes
package import Platform
package import Raft
internal import RaftTransport

/// TLS between the nodes of a cluster: each side shows a certificate and checks the other's.
///
/// A node is who it says if an authority of ours signed its certificate and a subject alternative
/// name (DNS or IP) in it is the host at which that node is configured to be reached: a dialed node
/// by the address dialed, a calling one by the node that its hello names. Nodes that share a host
/// share an identity.
package final class NodeTLS: StreamStage {
    private let store: CredentialStore
    private let hosts: [ReplicaID: String]

    /// Reads the files here and now; later changes are found by `worker`.
    package init(
        _ files: CredentialFiles,
        hosts: [ReplicaID: String],
        fileSystem: FileSystem,
        worker: Worker
    ) throws(TLSError) {
        store = try CredentialStore(files, fileSystem, worker: worker)
        self.hosts = hosts
    }

    package func dialed(_ socket: Socket, to peer: ReplicaID) async throws -> Socket {
        let secured = try await secure(socket, .client)
        do {
            try check(secured, isOf: peer)
        } catch {
            secured.close()
            throw error
        }
        return secured
    }

    package func accepted(_ socket: Socket) async throws -> Socket {
        try await secure(socket, .server)
    }

    package func check(_ socket: Socket, isOf peer: ReplicaID) throws {
        guard let socket = socket as? TLSSocket else {
            preconditionFailure("a socket that this stage did not make")
        }
        try check(socket.certificate, peer)
    }

    /// Throws unless the certificate, PEM and already verified, is that of `peer`.
    package func check(certificate pem: ByteSlice?, isOf peer: ReplicaID) throws {
        try check(pem.flatMap { Certificate(pem: $0) }, peer)
    }

    private func check(_ certificate: Certificate?, _ peer: ReplicaID) throws(TLSError) {
        guard let host = hosts[peer] else { throw .unknownNode("\(peer)") }
        guard let certificate else { throw .noCertificate }
        guard certificate.isOf(host) else {
            throw .wrongName(node: "\(peer)", expected: host, presented: certificate.hosts)
        }
    }

    private func secure(_ socket: Socket, _ side: TLSSocket.Side) async throws -> TLSSocket {
        let secured = try TLSSocket(socket, side, await store.current())
        do {
            try await secured.handshake()
        } catch .ended {
            // Whoever comes and goes has said nothing wrong.
            throw NetworkError.closed
        } catch .network(let error) {
            throw error
        }
        return secured
    }
}
