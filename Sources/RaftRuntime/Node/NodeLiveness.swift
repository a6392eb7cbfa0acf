import Raft

/// Which of the other nodes live, by the beats they exchange: one a peer and tick, whatever the
/// number of groups.
///
/// | a peer | means |
/// |---|---|
/// | is heard | a beat of it arrived within the last `patience` ticks |
/// | is linked | it is heard, and answers beats of ours of the last `patience` ticks |
/// | restarted | its beats carry another incarnation than before |
/// | returned | it is linked again, after it was not or what was sent to it may be lost |
///
/// A leader counts on peers that are linked: one that does not hear it would elect another.
/// Followers count on a leader that is heard.
struct NodeLiveness {
    private struct Peer {
        let id: ReplicaID
        var sequence: UInt64 = 0
        /// The last beat received.
        var received: UInt64 = 0
        /// The last of our beats it has answered.
        var answered: UInt64 = 0
        var incarnation: UInt64?
        var lastHeard: UInt64?
        /// Beats up to here may be lost, and what else was sent before.
        var doubtful: UInt64?
    }

    struct Change: Equatable {
        var view: PeerView
        var returned: [ReplicaID] = []
        var restarted: [ReplicaID] = []
    }

    private let incarnation: UInt64
    private let patience: UInt64
    private var ticks: UInt64 = 0
    private var peers: [Peer] = []
    private var told = PeerView()
    /// The peers of which more than one life was heard in this life of the node.
    private(set) var restartedPeers: Set<ReplicaID> = []

    init(incarnation: UInt64, patience: Int) {
        self.incarnation = incarnation
        self.patience = UInt64(patience)
    }

    /// The peers that are heard, each with its incarnation.
    var heardPeers: [ReplicaID: UInt64] {
        var heard: [ReplicaID: UInt64] = [:]
        for peer in peers where told.isHeard(peer.id) { heard[peer.id] = peer.incarnation }
        return heard
    }

    /// The nodes to exchange beats with from now on.
    mutating func follow(_ ids: [ReplicaID]) {
        peers = ids.map { id in peers.first { $0.id == id } ?? Peer(id: id) }
    }

    /// A tick has passed: what is to be sent to whom.
    mutating func tick() -> [(peer: ReplicaID, beat: NodeBeat)] {
        ticks += 1
        var beats: [(ReplicaID, NodeBeat)] = []
        for place in peers.indices {
            peers[place].sequence += 1
            let beat = NodeBeat(
                sequence: peers[place].sequence,
                answered: peers[place].received,
                incarnation: incarnation
            )
            beats.append((peers[place].id, beat))
        }
        return beats
    }

    mutating func received(_ beat: NodeBeat, from id: ReplicaID) -> Change? {
        guard let place = peers.firstIndex(where: { $0.id == id }) else { return nil }
        let isRestart = peers[place].incarnation.map { $0 != beat.incarnation } ?? false
        if isRestart {
            // A late beat of an earlier life says nothing. One that comes long after the later life
            // was last heard is of the node itself: the other was not, and is gone.
            let isLater = beat.incarnation > peers[place].incarnation ?? 0
            guard isLater || !told.isHeard(id) else { return nil }
            peers[place].received = 0
            peers[place].answered = 0
            restartedPeers.insert(id)
        }
        peers[place].incarnation = beat.incarnation
        peers[place].lastHeard = ticks
        peers[place].received = max(peers[place].received, beat.sequence)
        // Answers to an earlier life of this node are higher than anything sent in this one.
        if beat.answered <= peers[place].sequence {
            peers[place].answered = max(peers[place].answered, beat.answered)
        }
        var returned: [ReplicaID] = []
        if let doubtful = peers[place].doubtful, peers[place].answered > doubtful {
            peers[place].doubtful = nil
            returned = [id]
        }
        return change(returned: returned, restarted: isRestart ? [id] : [])
    }

    /// What was sent to a peer may be lost.
    mutating func isUnreachable(_ id: ReplicaID) {
        guard let place = peers.firstIndex(where: { $0.id == id }) else { return }
        peers[place].doubtful = peers[place].sequence
    }

    /// What is different from what was told before.
    mutating func change(
        returned: [ReplicaID] = [],
        restarted: [ReplicaID] = []
    ) -> Change? {
        let heard = peers.filter { peer in
            peer.lastHeard.map { ticks - $0 <= patience } ?? false
        }
        let linked = heard.filter { $0.answered > 0 && $0.sequence - $0.answered <= patience }
        let view = PeerView(heard: heard.map(\.id), linked: linked.map(\.id))
        guard view != told || !returned.isEmpty || !restarted.isEmpty else { return nil }
        told = view
        return Change(view: view, returned: returned, restarted: restarted)
    }
}
