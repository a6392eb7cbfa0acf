package import Raft

/// Who a node is: which cluster, which node of it, and which life of that node on which disk.
package struct NodeIdentity: Hashable, Sendable, CustomStringConvertible {
    /// At most 255 bytes of UTF-8.
    package var cluster: String
    package var node: ReplicaID
    /// When the process started, in nanoseconds of the wall clock.
    package var incarnation: UInt64
    /// The id of its data directory, at most 255 bytes of UTF-8; empty if it does not say.
    package var directory: String

    package init(
        cluster: String,
        node: ReplicaID,
        incarnation: UInt64,
        directory: String = ""
    ) {
        precondition(cluster.utf8.count <= 255, "a cluster id of \(cluster.utf8.count) bytes")
        precondition(directory.utf8.count <= 255, "an id of \(directory.utf8.count) bytes")
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
        self.directory = directory
    }

    var life: NodeLife { NodeLife(incarnation: incarnation, directory: directory) }

    package var description: String { "node \(node) of cluster \(cluster)" }
}

/// One process of a node: when it started, and on which disk.
package struct NodeLife: Hashable, Sendable, CustomStringConvertible {
    /// 0 if it is not known.
    package var incarnation: UInt64
    /// Empty if it is not known.
    package var directory: String

    package init(incarnation: UInt64 = 0, directory: String = "") {
        self.incarnation = incarnation
        self.directory = directory
    }

    package var description: String {
        let start = incarnation == 0 ? nil : "started at \(incarnation)"
        let disk = directory.isEmpty ? nil : "with data directory \(directory)"
        return [start, disk].compactMap(\.self).joined(separator: " ")
    }
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
        /// Another process goes by the caller's id: one that came first and is heard, the one whose
        /// data directory the cluster knows, or the node that answers.
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
    /// Of a duplicate, whom the answering node knows under the caller's id.
    package var rival: NodeLife?

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
            "node \(caller.node) \(caller.life) called node \(answering.node), but another process "
                + "goes by its id" + (rival.map { ": node \(caller.node) \($0)" } ?? "")
        case .unsupportedVersion:
            "node \(caller.node) speaks versions \(callerVersions) of the protocol, node "
                + "\(answering.node) \(answeringVersions)"
        case .unknownStream:
            "node \(caller.node) wants a stream that node \(answering.node) does not know"
        }
    }
}
