internal import Raft

/// The end of every run: all that can be mended is, and a majority must agree and serve again.
extension Simulation {
    /// How many election timeouts that may take: with a window of one entry, a replica that has
    /// nothing takes a round trip for each.
    private var patience: Int {
        120 + (replicas.map { Int($0.disk.written.lastIndex.rawValue) }.max() ?? 0)
    }

    func heal() {
        tell?("\(time) everything is mended")
        isHealed = true
        outcome.wasHealed = isHealable { self.isSound($0) }
        for place in blocked.indices { blocked[place] = false }
        conditions.calm()
        // What is late already does not hold up what is sent from now on.
        for link in lastArrival.indices { lastArrival[link] = min(lastArrival[link], time) }
        for replica in replicas {
            replica.pausedUntil = min(replica.pausedUntil, time)
            replica.disk.failsNextSync = false
            replica.disk.unavailability = 0
            recoverDisk(replica)
            restart(replica)
            with(replica) { $0.wake() }
        }
        guard checker.violations.isEmpty, outcome.wasHealed else { return }
        let timeout = electionTicks * Conditions.tick
        let start = time
        let patience = patience
        for round in 1...(patience * 4) {
            play(until: start + round * timeout / 4)
            guard checker.violations.isEmpty else { return }
            if isWhole {
                outcome.timeoutsToHeal = round / 4 + 1
                serve()
                return
            }
            if round % 8 == 0 { operate() }
        }
        checker.violate(
            .progressAfterHealing,
            "not whole after \(patience) election timeouts: "
                + replicas.map(describe).joined(separator: "; ")
        )
    }

    private func play(until end: Int) {
        while time < end && checker.violations.isEmpty { playEvent() }
    }

    /// What those who run a group do: they keep it busy, see changes through, and stop replicas
    /// that are no members any more.
    private func operate() {
        guard let leader, let node = leader.node else {
            for replica in replicas { restart(replica) }
            return
        }
        let membership = node.membership
        if !membership.isVoter(leader.id) {
            guard let voter = membership.voters.first(where: isUp) else { return }
            with(leader) { try? $0.transferLeadership(to: voter) }
            return
        }
        for replica in replicas {
            if membership.contains(replica.id) {
                restart(replica)
            } else {
                crashAnywhere(replica, downFor: .max / 2 - time)
            }
        }
        if membership.isJoint && !membership.autoLeave {
            with(leader) { _ = try? $0.propose(.leaveJoint) }
        }
        // A replica that lost entries votes again once the group has committed as many.
        let lag = replicas.compactMap(\.disk.abstainUntil).map { node.lastIndex.distance(to: $0) }
        for _ in 0...max(0, lag.max() ?? 0) { propose(at: leader) }
    }

    private func isUp(_ id: ReplicaID) -> Bool { replicas.contains { $0.id == id && $0.isUp } }

    /// One leader, and every member that is there has what it has.
    private var isWhole: Bool {
        guard let leader, let node = leader.node, node.commit == node.lastIndex,
            node.applied == node.commit, node.membership.isVoter(leader.id),
            !node.membership.isJoint
        else { return false }
        return replicas.allSatisfy { replica in
            guard !replica.isLost, node.membership.contains(replica.id) else { return true }
            guard let other = replica.node else { return false }
            return other.term == node.term && other.lastIndex == node.lastIndex
                && other.applied == node.applied && replica.machine == leader.machine
                && !other.isAbstaining
        }
    }

    /// Proposals and reads of the leader must get through now; clients try again after a while.
    private func serve() {
        for _ in 0..<5 {
            operate()
            let end = time + 5 * electionTicks * Conditions.tick
            guard let leader else {
                play(until: end)
                continue
            }
            let content = propose(at: leader)
            let context = read(at: leader)
            while time < end && checker.violations.isEmpty {
                if clients.isAcknowledged(content) && clients.isAnswered(context) { return }
                playEvent()
            }
        }
        guard checker.violations.isEmpty else { return }
        checker.violate(
            .progressAfterHealing,
            "a healed group does not serve: " + replicas.map(describe).joined(separator: "; ")
        )
    }
}
