package import Raft

extension RaftStatus {
    /// The voters besides this replica that take what it sends, as its leader sees them.
    package var followersThatKeepUp: [PeerStatus] {
        peers.filter { peer in
            peer.id != id && !peer.isLearner && peer.isRecentlyActive && peer.state == .replicate
        }
    }
}

extension PeerStatus {
    /// Whether what it lacks is no longer in the leader's log.
    package var isSentSnapshot: Bool {
        if case .snapshot = state { return true }
        return false
    }
}
