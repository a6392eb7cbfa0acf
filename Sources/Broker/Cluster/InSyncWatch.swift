import Platform
import Raft
import RaftRuntime

/// Which voters of a group are in sync, as its leader sees it from one look to the next.
///
/// A replica has caught up when it has all that the leader had at the look before; it stays in
/// sync for a while without that, so that load does not make it come and go. That does not hold for
/// one whose node was away since, nor for one that needs a snapshot: those lag until they are seen
/// to have caught up.
struct InSyncWatch {
    private static let patience = Int64.seconds(2)

    /// The end of the leader's log at the last look.
    private var mark: LogIndex
    /// Those in sync, and when each had last caught up.
    private var caughtUp: [(id: ReplicaID, at: Int64)] = []
    /// Whether every voter whose node is linked had everything at the last look: of the others
    /// nothing is to be learnt before their node is back.
    private var isComplete = false

    /// Goes on from those that were in sync under the leader before, who have a while to show it.
    init(mark: LogIndex, inSync: [ReplicaID], at now: Int64) {
        self.mark = mark
        caughtUp = inSync.map { ($0, now) }
    }

    /// The voters in sync now, by rising id; the leader is one of them.
    ///
    /// `cameBack` tells when the node of a replica last was there again, after it was not.
    mutating func update(
        _ status: RaftStatus,
        linked peers: PeerView,
        cameBack: (ReplicaID) -> Int64?,
        at now: Int64
    ) -> [ReplicaID] {
        var current: [(id: ReplicaID, at: Int64)] = []
        var isComplete = true
        for peer in status.peers where status.membership.isVoter(peer.id) {
            let isOwn = peer.id == status.id
            let has = isOwn || peers.isLinked(peer.id)
            guard has else { continue }
            if !isOwn && peer.match < status.lastIndex { isComplete = false }
            if isOwn || peer.match >= mark {
                current.append((peer.id, now))
            } else if let before = caughtUp.first(where: { $0.id == peer.id }),
                !peer.isSentSnapshot, now - before.at < Self.patience,
                before.at > cameBack(peer.id) ?? .min
            {
                current.append(before)
            }
        }
        caughtUp = current
        self.isComplete = isComplete
        mark = status.lastIndex
        return current.map(\.id).sorted()
    }

    /// Whether another look could tell nothing new while the leader's log ends at `last`.
    func hasSeenAll(through last: LogIndex) -> Bool { isComplete && mark == last }

    /// The members, learners too, that had all the leader had at the last look.
    func caughtUp(_ status: RaftStatus, linked peers: PeerView) -> [ReplicaID] {
        status.peers.filter {
            $0.id == status.id
                || (peers.isLinked($0.id) && $0.state == .replicate && $0.match >= mark)
        }.map(\.id)
    }
}
