package import Raft

/// What a loop knows of the other nodes; changed by the ``RaftDispatcher`` alone.
package struct PeerView: Sendable, Equatable {
    /// Their beats arrive.
    package private(set) var heard: [ReplicaID] = []
    /// Their beats arrive and answer ours.
    package private(set) var linked: [ReplicaID] = []

    package init(heard: [ReplicaID] = [], linked: [ReplicaID] = []) {
        self.heard = heard
        self.linked = linked
    }

    package func isHeard(_ peer: ReplicaID) -> Bool { heard.contains(peer) }
    package func isLinked(_ peer: ReplicaID) -> Bool { linked.contains(peer) }
}
