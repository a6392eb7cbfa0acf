internal import Raft

/// What goes wrong, and is put right again, while a run lasts.
extension Simulation {
    private enum Trouble {
        case cut
        case cutOneWay
        case mend
        case pause
        case crash
        case crashAll
        case damage
        case failSync
        case fillDisk
        case slowDisk
        case loseDisk
        case change
        case compact
        case shiftClock
        case campaign
        case transfer
        case forgetLeader
        case quiesce
        case wake
        case report
    }

    func makeTrouble() {
        let interval = 2 * conditions.troubleInterval
        queue.add(.trouble, at: time + random.number(in: 1...interval))
        let troubles = possibleTroubles
        guard !troubles.isEmpty else { return }
        perform(random.pick(troubles))
    }

    /// Each as often as it is to be likely.
    private var possibleTroubles: [Trouble] {
        let faults = conditions.faults
        var troubles: [Trouble] = []
        if faults.contains(.partitions) { troubles += [.cut, .cut, .mend, .mend] }
        if faults.contains(.oneWayPartitions) { troubles += [.cutOneWay, .mend] }
        if faults.contains(.pauses) { troubles += [.pause] }
        if faults.contains(.crashes) { troubles += [.crash, .crash, .crash] }
        if faults.contains(.crashes) && random.oneIn(4) { troubles += [.crashAll] }
        if faults.contains(.damage) { troubles += [.damage] }
        if faults.contains(.syncErrors) { troubles += [.failSync] }
        if faults.contains(.fullDisks) { troubles += [.fillDisk] }
        if faults.contains(.slowDisks) { troubles += [.slowDisk] }
        if faults.contains(.lostDisks) && random.oneIn(8) { troubles += [.loseDisk] }
        if faults.contains(.membership) { troubles += [.change, .change, .change] }
        if faults.contains(.snapshots) { troubles += [.compact, .compact, .report] }
        if faults.contains(.clocks) { troubles += [.shiftClock] }
        if faults.contains(.leadership) {
            troubles += [.transfer, .quiesce, .wake, .report]
            // Both say that a leader's lease does not count.
            if !usesLeases { troubles += [.campaign, .forgetLeader] }
        }
        return troubles
    }

    private func perform(_ trouble: Trouble) {
        let replica = random.oneIn(3) ? leader ?? random.pick(replicas) : random.pick(replicas)
        tell?("\(time) trouble: \(trouble) \(replica.id)")
        switch trouble {
        case .cut: cut(around: replica)
        case .cutOneWay: cutOneWay()
        case .mend: for place in blocked.indices { blocked[place] = false }
        case .pause: pause(replica)
        case .crash: crashAnywhere(replica, downFor: random.pick([5, 200, 3_000]))
        case .crashAll:
            for replica in replicas { crashAnywhere(replica, downFor: random.number(in: 1...900)) }
        case .damage: damage(replica)
        case .failSync: replica.disk.failsNextSync = replica.isUp
        case .fillDisk: fillDisk(of: replica)
        case .slowDisk:
            replica.disk.slowness = 10
            queue.add(.diskRecovered(place: replica.place), at: time + random.below(3_000) + 1)
        case .loseDisk: loseDisk(of: replica)
        case .change: proposeChange()
        case .compact: compact(replica, keeping: random.pick([0, 0, 1, 5]))
        case .shiftClock: replica.tickPeriod = drawTickPeriod()
        case .campaign, .transfer, .forgetLeader, .quiesce, .wake, .report:
            meddle(trouble, with: replica)
        }
    }

    private func meddle(_ trouble: Trouble, with replica: SimulatedReplica) {
        let other = random.pick(replicas).id
        let isGood = random.oneIn(2)
        with(replica) { node in
            switch trouble {
            case .campaign: node.campaign()
            case .transfer: try? node.transferLeadership(to: other)
            case .forgetLeader: node.forgetLeader()
            case .quiesce: node.quiesce()
            case .wake: node.wake()
            case .report where isGood: node.reportUnreachable(other)
            default: node.reportSnapshot(other, success: isGood)
            }
        }
        // Whoever fell silent with a leader that then died is woken, sooner or later.
        if random.oneIn(2) { for other in replicas { with(other) { $0.wake() } } }
    }

    // MARK: - Network

    private func cut(around replica: SimulatedReplica) {
        let count = replicas.count
        var side = [Bool](repeating: false, count: count)
        side[replica.place] = true
        if random.oneIn(2) {
            for place in 0..<count where random.oneIn(2) { side[place].toggle() }
        }
        for from in 0..<count {
            for to in 0..<count where side[from] != side[to] { blocked[from * count + to] = true }
        }
    }

    private func cutOneWay() {
        for place in blocked.indices where random.oneIn(5) { blocked[place] = true }
    }

    // MARK: - Processes

    private func pause(_ replica: SimulatedReplica) {
        guard replica.isUp else { return }
        // What it had to do waits for the end of the pause it is in, its ticks among it: a shorter
        // one must not wake it before.
        replica.pausedUntil = max(replica.pausedUntil, time + random.pick([50, 500, 3_000]))
        // Its clock stood still with it, and it knows that when it wakes.
        if usesLeases { with(replica) { $0.onClockStall() } }
    }

    // MARK: - Disks

    /// Whether a majority stays whole if this replica is not: of every configuration in force.
    func canSpare(_ replica: SimulatedReplica) -> Bool {
        isHealable { $0 !== replica && self.isSound($0) }
    }

    func isSound(_ replica: SimulatedReplica) -> Bool {
        !replica.isLost && !replica.disk.isDamaged && replica.disk.abstainUntil == nil
            && !(replica.isUp && replica.node.isAbstaining)
    }

    /// Whether these replicas are a majority of every configuration some replica goes by, or will
    /// once it has applied what is in its log.
    func isHealable(_ isSound: (SimulatedReplica) -> Bool) -> Bool {
        func decides(_ membership: Membership) -> Bool {
            membership.isDecided { id in replicas.contains { $0.id == id && isSound($0) } }
        }
        for replica in replicas where !replica.isLost {
            let image = replica.disk.written
            guard let metadata = image.snapshot?.metadata else { continue }
            let applied = replica.isUp ? replica.machine.index : metadata.index
            var membership = metadata.membership
            for entry in image.entries
            where entry.kind == .configuration && entry.index > metadata.index {
                guard let change = try? ConfigurationChange(decoding: entry.payload),
                    let next = try? membership.applying(change)
                else { continue }
                if entry.index > applied && !decides(membership) { return false }
                membership = next
            }
            if !decides(membership) { return false }
        }
        return true
    }

    private func damage(_ replica: SimulatedReplica) {
        guard !replica.isLost, canSpare(replica) else { return }
        if random.oneIn(6) {
            replica.disk.damageSnapshot()
        } else {
            // A misdirected write spoils two entries: the one it hit and the one it missed.
            replica.disk.damageEntries(random.number(in: 1...2))
        }
        if random.oneIn(2) { crashAnywhere(replica, downFor: random.number(in: 1...500)) }
    }

    private func fillDisk(of replica: SimulatedReplica) {
        guard replica.isUp else { return }
        replica.disk.isFull = true
        queue.add(.diskRecovered(place: replica.place), at: time + random.below(3_000) + 1)
        // A leader that cannot write hands over.
        let other = random.pick(replicas).id
        with(replica) { node in
            if node.role == .leader { try? node.transferLeadership(to: other) }
        }
    }

    private func loseDisk(of replica: SimulatedReplica) {
        guard !replica.isLost, canSpare(replica) else { return }
        crashAnywhere(replica, downFor: 1)
        replica.isLost = true
    }

    // MARK: - Membership

    private func proposeChange() {
        guard let leader else { return }
        let node = leader.node
        if node.membership.isJoint && !random.oneIn(4) {
            with(leader) { _ = try? $0.propose(.leaveJoint) }
            return
        }
        let kinds: [ConfigurationChange.Step.Kind] = [.addVoter, .addVoter, .addLearner]
        var steps: [ConfigurationChange.Step] = []
        for _ in 0..<random.pick([1, 1, 2, 3]) {
            let kind = random.oneIn(3) ? .removeReplica : random.pick(kinds)
            let candidates = replicas.filter { !$0.isLost || kind == .removeReplica }
            steps.append(ConfigurationChange.Step(kind, random.pick(candidates).id))
        }
        let change = ConfigurationChange(
            steps,
            transition: random.pick([.automatic, .automatic, .jointImplicit, .jointExplicit])
        )
        guard let next = try? node.membership.applying(change),
            next.isDecided(by: { id in self.replicas.contains { $0.id == id && self.isSound($0) } })
        else { return }
        with(leader) { node in
            _ = try? node.propose(change)
            // A second one at once, which is to be refused.
            if self.random.oneIn(3) { _ = try? node.propose(change) }
        }
    }
}
