import Raft

/// What time means to a replica: heartbeats, elections, and falling silent.
///
/// A group where nothing happens is quiescent: no replica of it is ticked, and only the beats of
/// the nodes (see `NodeLiveness`) tell that its leader lives. Every way in which somebody could
/// stay silent who must not, and what ends it:
///
/// | what happened | who finds out, and what follows |
/// |---|---|
/// | the leader's last heartbeat was lost | the follower is awake; its timeout ends in a pre-vote, which wakes the leader |
/// | the leader's node died or was cut off | its beats stop: followers forget it, and the first in line campaigns |
/// | the leader's process was restarted | its beats tell another incarnation: as if it had died |
/// | the leader's replica failed or was stopped, its node lives | it resigns: it has the best follower campaign, and repeats that until a later term is heard of |
/// | a follower's node died | the leader ignores it, as long as those that are left are a majority |
/// | so many died that no majority is left | the leader wakes, and check-quorum makes it step down |
/// | the leader is heard, but hears nobody | beats say what they answer: unanswered, it wakes and steps down |
/// | a node came back | leaders of groups it belongs to wake, and bring it what it missed |
/// | a follower was restarted | it is awake and has no leader: its pre-vote wakes the leader |
/// | one was restarted that must not campaign | it asks every voter, and its leader wakes and speaks |
/// | a stranger woke a follower, whose leader is silent and does not know | the follower asks the leader, which wakes and speaks |
/// | a last heartbeat arrives from a node that is not heard any more | the follower stays awake |
/// | frames to a peer were lost without its beats stopping | the transport says so: as if it had come back |
/// | a client asks something of a quiescent replica | the core wakes it |
enum ElectionPlace: Equatable {
    case outside
    /// Waits until fewer elections are under way.
    case queued
    /// May campaign; gives its place up at a tick.
    case running(until: UInt64)
}

extension PartitionReplica {
    /// Whether time must pass for it.
    var needsTicks: Bool {
        if isAlone || isStopped || hasFailed { return !reads.isEmpty }
        return !node.isQuiescent || !reads.isEmpty
    }

    /// A tick of the clock has passed.
    package func tick() {
        guard !isStopped && !hasFailed else { return }
        if !reads.isEmpty { tickReads(manager.ticks) }
        guard !node.isQuiescent else { return }
        if node.role == .leader { tickLeader() } else { tickFollower() }
        if node.hasReady { manager.markDirty(self) }
    }

    private func tickLeader() {
        idleTicks += 1
        let config = manager.config
        if config.promotesLearners && hasLearners { promoteLearners() }
        if config.quiesceTicks > 0, idleTicks >= config.quiesceTicks, fallSilent() { return }
        node.tick()
    }

    private func fallSilent() -> Bool {
        let membership = node.membership
        guard !isAlone, isMajorityLinked(of: membership.voters) else { return false }
        let dead = membership.members.filter { $0 != id && !manager.peers.isLinked($0) }
        return node.quiesce(ignoring: dead)
    }

    /// Whether it is an answer to a heartbeat that left before this leader fell silent: it says
    /// nothing that anybody would have to be woken for.
    func isEcho(_ message: Message) -> Bool {
        guard node.isQuiescent, node.role == .leader, message.term == node.term,
            case .heartbeatResponse = message.body
        else { return false }
        return true
    }

    /// Whether enough voters hear this node and are heard.
    private func isMajorityLinked(of voters: [ReplicaID]) -> Bool {
        var count = 0
        for voter in voters where voter == id || manager.peers.isLinked(voter) { count += 1 }
        return count > voters.count / 2
    }

    private func tickFollower() {
        let config = manager.config
        silentTicks += 1
        // The core's timeouts are not shorter: before that it needs nobody's leave.
        if silentTicks >= config.electionTicks && mayCampaign {
            guard manager.mayHoldElection(self) else { return }
            if isFirstInLine && node.role == .preCandidate && silentTicks % 3 == 0 {
                // Those that were asked may not have known yet that the leader is gone.
                node.campaign()
            }
        }
        node.tick()
        if silentTicks % 3 == 0 { askForLeader() }
    }

    /// Who knows no leader and cannot campaign would not be heard of by one that is quiescent.
    private func askForLeader() {
        let asked: [ReplicaID]
        if let leader = node.leader {
            asked = [leader]
        } else {
            asked = mayCampaign ? [] : node.membership.voters
        }
        for peer in asked where peer != id && manager.peers.isHeard(peer) {
            manager.post(wakeUp(peer), of: group)
        }
    }

    private var mayCampaign: Bool {
        node.membership.isVoter(id) && !node.isAbstaining && !node.isCatchingUp
    }

    /// Asks a replica to speak if it leads; promises nothing, in no term.
    func wakeUp(_ peer: ReplicaID) -> Message {
        Message(from: id, to: peer, term: .zero, body: .propose([]))
    }

    /// Its turn to hold an election has come.
    func electionMayBegin() {
        guard !isStopped && !hasFailed, node.leader == nil else {
            manager.electionEnded(self)
            return
        }
        if isFirstInLine { node.campaign() }
        manager.markDirty(self)
    }

    // MARK: Nodes come and go

    /// The node of its leader is gone, or was restarted and leads nothing any more.
    func leaderIsGone(_ peer: ReplicaID) {
        guard node.leader == peer, node.role == .follower, !isStopped, !hasFailed else { return }
        guard !manager.config.usesLeases else {
            // What was promised to the leader runs out with the election timeout, and not before.
            wake()
            return
        }
        node.forgetLeader()
        let candidates = node.membership.voters.filter {
            $0 != peer && ($0 == id || manager.peers.isHeard($0))
        }
        isFirstInLine =
            !candidates.isEmpty && candidates[Int(group % UInt64(candidates.count))] == id
        let config = manager.config
        silentTicks = isFirstInLine ? config.electionTicks : config.electionTicks / 2
        if isFirstInLine && mayCampaign && manager.mayHoldElection(self) { node.campaign() }
        manager.markDirty(self)
    }

    /// A peer that may have missed something is there again.
    func peerIsBack(_ peer: ReplicaID) {
        guard node.role == .leader, node.isQuiescent, node.membership.contains(peer) else { return }
        wake()
    }

    /// A peer is gone: those that are left may be too few.
    func peerIsGone(_ peer: ReplicaID) {
        guard node.role == .leader, node.isQuiescent, node.membership.isVoter(peer),
            !isMajorityLinked(of: node.membership.voters)
        else { return }
        wake()
    }

    /// What was sent to a peer may be lost.
    func peerIsUnreachable(_ peer: ReplicaID) {
        guard node.role == .leader, node.membership.contains(peer) else { return }
        node.reportUnreachable(peer)
    }

    private func wake() {
        node.wake()
        idleTicks = 0
        manager.markDirty(self)
    }

    /// Whether it may be left without ticks; wakes it where that would be for ever.
    func mayRest() -> Bool {
        if isStopped || hasFailed || isAlone { return reads.isEmpty || isStopped || hasFailed }
        guard node.isQuiescent, reads.isEmpty else { return false }
        if node.role == .leader { return true }
        if let leader = node.leader, manager.peers.isHeard(leader) { return true }
        node.wake()
        return false
    }
}
