/// What a leader knows of a replica.
public struct PeerStatus: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        case probe
        case replicate
        case snapshot(LogIndex)
    }

    public var id: ReplicaID
    public var match: LogIndex
    public var next: LogIndex
    public var state: State
    public var inflightMessages: Int
    public var inflightBytes: Int
    public var isPaused: Bool
    public var isRecentlyActive: Bool
    public var isLearner: Bool
}

/// A replica at a glance.
public struct RaftStatus: Sendable, Equatable {
    public var id: ReplicaID
    public var role: RaftRole
    public var term: Term
    public var vote: ReplicaID?
    public var leader: ReplicaID?
    public var commit: LogIndex
    public var applied: LogIndex
    public var firstIndex: LogIndex
    public var lastIndex: LogIndex
    /// The last entry known to be durable here.
    public var stableIndex: LogIndex
    public var membership: Membership
    public var transferee: ReplicaID?
    public var isQuiescent: Bool
    public var uncommittedBytes: Int
    /// Sorted by id; empty unless it leads.
    public var peers: [PeerStatus]

    /// Learners that lag no more than so many entries: ready to become voters.
    public func promotableLearners(maxLag: Int) -> [ReplicaID] {
        peers.filter { peer in
            peer.isLearner && peer.isRecentlyActive && peer.state == .replicate
                && peer.match.distance(to: lastIndex) <= maxLag
        }.map(\.id)
    }
}

extension RaftNode {
    public var status: RaftStatus {
        RaftStatus(
            id: id,
            role: role,
            term: term,
            vote: vote,
            leader: leader,
            commit: log.commit,
            applied: log.applied,
            firstIndex: log.firstIndex,
            lastIndex: log.lastIndex,
            stableIndex: log.stable,
            membership: membership,
            transferee: transferee,
            isQuiescent: isQuiescent,
            uncommittedBytes: uncommittedBytes,
            peers: role == .leader ? progress.replicas.map(PeerStatus.init) : []
        )
    }
}

extension PeerStatus {
    init(_ progress: Progress) {
        self.init(
            id: progress.id,
            match: progress.match,
            next: progress.next,
            state: State(progress.state),
            inflightMessages: progress.inflight.count,
            inflightBytes: progress.inflight.bytes,
            isPaused: progress.isPaused,
            isRecentlyActive: progress.isRecentlyActive,
            isLearner: progress.isLearner
        )
    }
}

extension PeerStatus.State {
    init(_ state: Progress.State) {
        switch state {
        case .probe: self = .probe
        case .replicate: self = .replicate
        case .snapshot(let index): self = .snapshot(index)
        }
    }
}
