import Configuration
import Platform
import Raft
import RaftTransport
import TLS

/// What the nodes of a cluster need to know each other by certificate.
struct NodeSecurity {
    private let files: CredentialFiles
    private let hosts: [ReplicaID: String]

    /// `nil` when the nodes are to speak in the clear.
    init?(_ configuration: ClusterConfiguration) {
        guard let tls = configuration.tls else { return nil }
        files = CredentialFiles(tls)
        hosts = Dictionary(
            uniqueKeysWithValues: configuration.nodes.map {
                (ReplicaID(UInt64($0.id)), $0.raftAddress.host)
            }
        )
    }

    func stage(on platform: RealPlatform) throws(TLSError) -> any StreamStage {
        try NodeTLS(
            files,
            hosts: hosts,
            fileSystem: platform.files,
            worker: platform.makeWorker(name: "tls")
        )
    }
}

extension CredentialFiles {
    init(_ files: ClusterConfiguration.TLSFiles) {
        self.init(certificate: files.certificate, key: files.key, authority: files.authority)
    }
}
