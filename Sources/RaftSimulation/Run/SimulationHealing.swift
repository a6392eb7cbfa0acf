internal import Raft

/// The end of every run: all that can be mended is, and a majority must agree and serve again.
extension Simulation {
    /// How many election timeouts that may take.
    ///
    /// With a window of one entry, a replica that has nothing takes a round trip for each: with the
    /// slowest network and disk about 270 units of time on average, where the shortest timeout has
    /// 400. Elections are won after a few draws of timeouts; a hundred of them lost in a row are no
    /// bad luck, but candidates that keep each other from winning.
    private var patience: Int {
        120 + (replicas.map { Int($0.disk.written.lastIndex.rawValue) }.max() ?? 0)
    }

    /// More events than any group needs to become whole.
    private static let eventLimit = 1_000_000

    func heal() {
        tell?("\(time) everything is mended")
        // But a process that stands still: it goes on by itself, and its clock with it.
        isHealed = true
        outcome.wasHealed = isHealable { self.isSound($0) }
        for place in blocked.indices { blocked[place] = false }
        conditions.calm()
        // What is late already does not hold up what is sent from now on.
        for link in lastArrival.indices { lastArrival[link] = min(lastArrival[link], time) }
        for replica in replicas {
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
        while time < end && checker.violations.isEmpty {
            playEvent()
            if outcome.events > plan.events + Self.eventLimit {
                checker.violate(.progressAfterHealing, "messages bring messages without end")
            }
        }
    }

    /// What those who run a group do: they keep it busy, see changes through, and stop replicas
    /// that are no members any more.
    private func operate() {
        guard let leader else {
            for replica in replicas { restart(replica) }
            return
        }
        let membership = leader.node.membership
        if !membership.isVoter(leader.id) {
            // One that abstains would not take over.
            let candidates = replicas.filter { replica in
                membership.isVoter(replica.id) && replica.isUp && !replica.node.isAbstaining
            }
            guard !candidates.isEmpty else { return }
            let voter = random.pick(candidates).id
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
        let lag = replicas.filter { !$0.isLost }.compactMap(\.disk.abstainUntil).map {
            leader.node.lastIndex.distance(to: $0)
        }
        for _ in 0...max(0, lag.max() ?? 0) { propose(at: leader) }
    }

    /// One leader, and every member that is there has what it has.
    private var isWhole: Bool {
        guard let leader else { return false }
        let node = leader.node
        guard node.commit == node.lastIndex,
            node.applied == node.commit, node.membership.isVoter(leader.id),
            !node.membership.isJoint
        else { return false }
        return replicas.allSatisfy { replica in
            guard !replica.isLost, node.membership.contains(replica.id) else { return true }
            let other = replica.node
            return replica.isUp && other.term == node.term && other.lastIndex == node.lastIndex
                && other.applied == node.applied && replica.machine == leader.machine
                && !other.isAbstaining
        }
    }

    /// Proposals and reads of the leader must get through now.
    ///
    /// Clients try again after each election timeout, since any single try may fail in a correct
    /// group: a leader refuses what is too much at once, and may have to hand over. A proposal
    /// stands behind those of earlier tries only, as a whole group owes nothing, so the slowest
    /// settings (a window of one entry, each a round trip and two syncs: two timeouts at most)
    /// leave time for several in a row.
    private func serve() {
        var contents: [Int] = []
        var contexts: [UInt64] = []
        for _ in 0..<25 {
            let end = time + electionTicks * Conditions.tick
            if let leader {
                contents.append(propose(at: leader))
                contexts.append(read(at: leader))
            } else {
                operate()
            }
            while time < end && checker.violations.isEmpty {
                if contents.contains(where: clients.isAcknowledged),
                    contexts.contains(where: clients.isAnswered)
                {
                    return
                }
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
