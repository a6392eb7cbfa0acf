package import Raft

/// Who a node is: which cluster, which node of it, and which life of that node.
package struct NodeIdentity: Hashable, Sendable, CustomStringConvertible {
    /// At most 255 bytes of UTF-8.
    package var cluster: String
    package var node: ReplicaID
    /// When the process started, in nanoseconds of the wall clock.
    package var incarnation: UInt64

    package init(cluster: String, node: ReplicaID, incarnation: UInt64) {
        precondition(cluster.utf8.count <= 255, "a cluster id of \(cluster.utf8.count) bytes")
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
    }

    package var description: String { "node \(node) of cluster \(cluster)" }
}

/// Why a node does not take a connection; both sides know both.
package struct HandshakeRefusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// The numbers are on the wire.
    package enum Reason: UInt8, Sendable, CaseIterable {
        case wrongCluster = 1
        /// The node that answers is not the one that was called.
        case wrongNode = 2
        /// The node that answers does not know the caller.
        case unknownPeer = 3
        /// Another process, begun later, goes by the caller's id, or the node that answers does.
        case duplicateNode = 4
        case unsupportedVersion = 5
        case unknownStream = 6
    }

    package var reason: Reason
    package var caller: NodeIdentity
    /// Whom the caller meant to reach.
    package var called: ReplicaID
    package var answering: NodeIdentity
    /// Versions of the protocol that the caller and the answering node speak.
    package var callerVersions: ClosedRange<UInt8>
    package var answeringVersions: ClosedRange<UInt8>

    package var description: String {
        switch reason {
        case .wrongCluster:
            "node \(caller.node) is of cluster \(caller.cluster), but node \(answering.node) of "
                + "cluster \(answering.cluster)"
        case .wrongNode:
            "node \(caller.node) called node \(called), but node \(answering.node) answered"
        case .unknownPeer:
            "node \(caller.node) is not known to node \(answering.node) of cluster "
                + answering.cluster
        case .duplicateNode:
            "node \(caller.node), started at \(caller.incarnation), called node "
                + "\(answering.node), but another process goes by its id"
        case .unsupportedVersion:
            "node \(caller.node) speaks versions \(callerVersions) of the protocol, node "
                + "\(answering.node) \(answeringVersions)"
        case .unknownStream:
            "node \(caller.node) wants a stream that node \(answering.node) does not know"
        }
    }
}
