/// An idle group costs nothing: no ticks are counted and no heartbeats sent.
///
/// The leader falls silent when nothing is left to do, and takes its followers with it. From then
/// on only the caller knows whether the leader's node is alive: when it is not, the caller wakes
/// the followers, and their election timeouts run.
extension RaftNode {
    /// Falls silent, if there is nothing left to do for any follower that is alive.
    ///
    /// - Parameter dead: Replicas known to be down; they do not keep the others awake.
    /// - Returns: Whether it is silent now. Then a last heartbeat takes the followers along.
    @discardableResult
    public mutating func quiesce(ignoring dead: [ReplicaID] = []) -> Bool {
        guard role == .leader, !isQuiescent, canQuiesce(ignoring: dead) else { return isQuiescent }
        broadcastHeartbeats(quiesce: true, except: dead)
        isQuiescent = true
        return true
    }

    private func canQuiesce(ignoring dead: [ReplicaID]) -> Bool {
        let last = log.lastIndex
        guard log.commit == last, log.applied == last, log.stable == last, transferee == nil,
            reads.count == 0, pendingChangeIndex <= last, !membership.isJoint
        else { return false }
        return progress.replicas.allSatisfy { peer in
            peer.id == id || dead.contains(peer.id)
                || (peer.match == last && peer.state == .replicate)
        }
    }

    /// Goes on where it stopped; anything that happens to the node does this by itself.
    public mutating func wake() {
        guard isQuiescent else { return }
        isQuiescent = false
        guard role == .leader else { return }
        // Nobody spoke while all were silent: that is no reason to step down.
        electionElapsed = 0
        heartbeatElapsed = 0
        for place in progress.replicas.indices { progress[place].isRecentlyActive = true }
        reads.breakLease()
        broadcastHeartbeats()
    }
}
