package import Platform
package import RaftRuntime
package import RaftTransport

/// What a node must know of its cluster before it has met it.
package struct ClusterSettings: Sendable {
    package struct Node: Sendable, Equatable {
        package let id: Int32
        /// Where its Raft port is reached.
        package let raft: SocketAddress

        package init(id: Int32, raft: SocketAddress) {
            self.id = id
            self.raft = raft
        }
    }

    /// The same on every node, and of no other cluster.
    package var clusterID: String
    /// All nodes, this one among them.
    package var nodes: [Node]
    package var raftListen: SocketAddress
    package var raftAdvertised: SocketAddress
    package var rack: String?
    package var defaultReplicationFactor: Int16
    package var raft: RaftConfig
    package var metadataAcknowledgement = MetadataAcknowledgement.quorum
    /// Pass produces on to the nodes that lead, for clients that cannot reach every node.
    package var proxiesProduces = false
    /// What the nodes speak through, TLS for one; without it they speak in the clear.
    package var stage: (any StreamStage)?
    /// Makes what carries the cluster; frames, unless another is given.
    package var makeWire: @Sendable (WireSettings) -> any ClusterWire = { FramedWire($0) }

    package init(
        clusterID: String,
        nodes: [Node],
        raftListen: SocketAddress,
        raftAdvertised: SocketAddress,
        rack: String? = nil,
        defaultReplicationFactor: Int16,
        raft: RaftConfig
    ) {
        self.clusterID = clusterID
        self.nodes = nodes
        self.raftListen = raftListen
        self.raftAdvertised = raftAdvertised
        self.rack = rack
        self.defaultReplicationFactor = defaultReplicationFactor
        self.raft = raft
    }
}
