package import Platform

/// Everything a node of a cluster is started with: checked, and nothing left to be derived.
package struct ClusterConfiguration: Sendable {
    /// A voter of the metadata group, as others reach it.
    package struct Node: Sendable, Equatable {
        package var id: Int
        package var raftAddress: SocketAddress
        /// Known beforehand of those in the file; every broker also registers its own.
        package var kafkaAddress: SocketAddress?
        package var rack: String?
    }

    package struct TLSFiles: Sendable, Equatable {
        package var certificate: String
        package var key: String
        package var authority: String
    }

    package var name: String
    package var nodeID: Int
    package var rack: String?
    /// All nodes, this one among them, by id.
    package var nodes: [Node]

    package var kafkaListenAddress: SocketAddress
    package var raftListenAddress: SocketAddress
    package var raftAdvertisedAddress: SocketAddress

    package var transport: RaftTransportKind
    package var electionTimeoutMilliseconds: Int
    package var heartbeatIntervalMilliseconds: Int
    /// `nil` for no limit.
    package var snapshotBytesPerSecond: Int?
    package var snapshotTransfers: Int
    package var tls: TLSFiles?

    package var metadataAcks: MetadataAcks
    package var producesAreProxied: Bool
    package var defaultReplicationFactor: Int
    package var minInSyncReplicas: Int

    /// What any server is told: directory, log, limits, topics, admin.
    package var server: ServerConfiguration

    /// The other nodes, by id.
    package var peers: [Node] { nodes.filter { $0.id != nodeID } }

    /// Nodes that must agree.
    package var quorum: Int { nodes.count / 2 + 1 }
}
