internal import Raft

/// What a replica's process does: it takes Readies, writes, sends, applies, and comes and goes.
extension Simulation {
    // MARK: - The Ready loop

    /// Does something to a node, then everything the node wants done.
    func with(_ replica: SimulatedReplica, _ body: (inout RaftNode) throws -> Void) rethrows {
        guard replica.isUp else { return }
        defer { settle(replica) }
        try body(&replica.node)
    }

    private func settle(_ replica: SimulatedReplica) {
        while replica.isUp && replica.node.hasReady {
            take(replica.node.ready(), of: replica)
        }
        let disk = replica.disk
        if disk.abstainUntil != nil, replica.isUp, !replica.node.isAbstaining {
            disk.mayForgetAbstention = true
        }
        reportUnsynced(replica)
        beginSync(replica)
        checker.check(replica, of: replicas)
        note(replica)
        if disk.owesReadable {
            disk.owesReadable = false
            let action = Action.readable(place: replica.place, life: replica.life)
            queue.add(action, at: time + random.number(in: 1...50))
        }
        if disk.hasMetDamage {
            outcome.repairs += 1
            crash(replica, keeping: disk.unsyncedCount, downFor: random.number(in: 10...300))
        }
    }

    private func note(_ replica: SimulatedReplica) {
        guard replica.isUp else { return }
        let node = replica.node
        var state = node.term.rawValue << 40 ^ node.commit.rawValue << 20 ^ node.lastIndex.rawValue
        state ^= (node.vote?.rawValue ?? 0) << 56 ^ UInt64(node.role.rawValue) << 62
        fold(state ^ UInt64(truncatingIfNeeded: time) << 8 ^ UInt64(replica.place))
    }

    private func fold(_ value: UInt64) {
        outcome.trace = (outcome.trace ^ value) &* 0x9E37_79B9_7F4A_7C15
        outcome.trace ^= outcome.trace >> 31
    }

    /// Takes into the trace what the run has come to, and how much chance it has used up.
    func foldEnd() {
        for replica in replicas {
            fold(replica.machine.hash)
            var random = replica.disk.random
            fold(random.next())
        }
        var random = random
        fold(random.next() ^ UInt64(queue.count))
    }

    private func take(_ ready: Ready, of replica: SimulatedReplica) {
        checker.check(ready, of: replica, role: replica.node.role)
        let appliesLater = replica.configuration.appliesWithinReady
        if ready.hasWrites || !ready.persistedMessages.isEmpty
            || (appliesLater && !ready.committedEntries.isEmpty)
        {
            var write = DiskWrite(ready: ready.number)
            write.entries = ready.entries
            write.hardState = ready.hardState
            write.snapshot = ready.snapshot
            write.mustSync = ready.mustSync
            write.messages = ready.persistedMessages
            if appliesLater { write.committed = ready.committedEntries }
            replica.disk.write(write)
        }
        if !appliesLater { apply(ready.committedEntries, by: replica) }
        for state in ready.readStates {
            guard let committed = clients.answered(state.context) else { continue }
            checker.checkRead(index: state.index, committed: committed, by: replica.id)
        }
        for message in ready.messages { send(message) }
    }

    // MARK: - The disk

    private func reportUnsynced(_ replica: SimulatedReplica) {
        let isEarly = plan.plant == .acknowledgementBeforeSync
        let news = isEarly ? replica.disk.reportRest() : replica.disk.reportUnsynced()
        if !news.isEmpty { report(news, to: replica) }
    }

    private func beginSync(_ replica: SimulatedReplica) {
        let disk = replica.disk
        guard replica.isUp, disk.syncing == 0, !disk.isFull,
            disk.hasUnreported || disk.writes.contains(where: \.mustSync)
        else { return }
        disk.beginSync()
        let duration = random.number(in: 1...(conditions.syncTime * disk.slowness))
        queue.add(.synced(place: replica.place, life: replica.life), at: time + duration)
    }

    func finishSync(_ replica: SimulatedReplica) {
        let disk = replica.disk
        guard disk.syncing > 0 else { return }
        let news: [DiskWrite]
        if disk.failsNextSync {
            disk.failsNextSync = false
            tell?("\(time) sync of \(replica.id) fails")
            guard plan.plant == .syncRetried else {
                // Poisoned: nothing of it is acknowledged, and the process ends.
                crashAnywhere(replica, downFor: random.number(in: 50...1_000))
                return
            }
            news = disk.dropSynced()
        } else {
            news = disk.finishSync()
            if news.contains(where: { $0.snapshot != nil }) { checker.checkDisk(of: replica) }
        }
        report(news, to: replica)
        with(replica) { _ in }
    }

    /// Tells a replica that its writes are done.
    private func report(_ writes: [DiskWrite], to replica: SimulatedReplica) {
        var number: UInt64?
        for write in writes {
            checker.check(released: write.messages, of: replica)
            for message in write.messages { send(message) }
            if let snapshot = write.snapshot {
                replica.machine = HistoryMachine(snapshot)
                replica.applies.removeAll()
                outcome.snapshots += 1
                checker.checkState(of: replica, changed: true)
            }
            apply(write.committed, by: replica)
            if let ready = write.ready { number = ready }
        }
        if let number { with(replica) { $0.onPersisted(number) } }
    }

    /// Keeps a snapshot, and drops the log but for so many entries.
    func compact(_ replica: SimulatedReplica, keeping count: Int) {
        let machine = replica.machine
        let start = replica.disk.written.startIndex
        guard replica.isUp, machine.index > start + count, machine.index > LogIndex(1),
            machine.index <= replica.disk.written.lastIndex
        else { return }
        var write = DiskWrite()
        write.compaction = (machine.snapshot, machine.index - count)
        replica.disk.write(write)
        tell?("\(time) \(replica.id) compacts through \(machine.index - count)")
        with(replica) { _ in }
    }

    func recoverDisk(_ replica: SimulatedReplica) {
        replica.disk.isFull = false
        replica.disk.slowness = 1
        with(replica) { _ in }
    }

    // MARK: - The state machine

    private func apply(_ entries: [RaftEntry], by replica: SimulatedReplica) {
        guard !entries.isEmpty else { return }
        replica.applies.append(entries)
        scheduleApply(replica)
    }

    private func scheduleApply(_ replica: SimulatedReplica) {
        guard !replica.isApplying, !replica.applies.isEmpty else { return }
        replica.isApplying = true
        let duration = random.number(in: 1...conditions.applyTime)
        queue.add(.apply(place: replica.place, life: replica.life), at: time + duration)
    }

    func apply(_ replica: SimulatedReplica) {
        replica.isApplying = false
        guard !replica.applies.isEmpty else { return }
        for entry in replica.applies.removeFirst() {
            let before = replica.machine
            checker.checkApplied(entry, after: before.index, by: replica.id)
            replica.machine.apply(entry, hash: entry.contentHash)
            let isChange = entry.kind == .configuration
            if isChange {
                checker.checkChange(
                    from: before.membership,
                    to: replica.machine.membership,
                    at: entry.index
                )
            }
            checker.checkState(of: replica, changed: isChange)
            if let wrong = clients.applied(entry) {
                checker.violate(.acknowledgedExactlyOnce, "replica \(replica.id): \(wrong)")
            }
        }
        // A machine that a violation has led astray must not mislead the core.
        guard checker.violations.isEmpty else { return }
        let index = replica.machine.index
        with(replica) { $0.onApplied(index) }
        scheduleApply(replica)
    }

    // MARK: - Coming and going

    func start(_ replica: SimulatedReplica) {
        do throws(RaftConfigurationError) {
            try replica.start()
        } catch {
            checker.violate(.orderedIndexes, "replica \(replica.id) cannot start: \(error)")
            return
        }
        checker.restarted(replica)
        let first = time + random.number(in: 1...replica.tickPeriod)
        queue.add(.tick(place: replica.place, life: replica.life), at: first)
        tell?("\(time) \(replica.id) starts: \(describe(replica))")
        with(replica) { _ in }
    }

    func restart(_ replica: SimulatedReplica) {
        if !replica.isUp && !replica.isLost { start(replica) }
    }

    /// The process ends; of what was not durable, any part may have been written.
    func crashAnywhere(_ replica: SimulatedReplica, downFor duration: Int) {
        crash(
            replica,
            keeping: random.number(in: 0...replica.disk.unsyncedCount),
            downFor: duration
        )
    }

    func crash(_ replica: SimulatedReplica, keeping count: Int, downFor duration: Int) {
        guard replica.isUp else { return }
        let torn = conditions.hasAtomicWrites ? nil : random.below(5)
        replica.crash(keeping: count, torn: torn)
        outcome.crashes += 1
        tell?("\(time) \(replica.id) goes down for \(duration)")
        queue.add(.restart(place: replica.place), at: time + duration)
    }

    func describe(_ replica: SimulatedReplica) -> String {
        guard replica.isUp else { return "\(replica.id) down" }
        let node = replica.node
        let image = replica.disk.written
        return
            "\(replica.id) \(node.role) term \(node.term) vote \(node.vote?.rawValue ?? 0) leader "
            + "\(node.leader?.rawValue ?? 0) log \(image.firstIndex)...\(node.lastIndex) of term "
            + "\(image.lastTerm) commit \(node.commit) applied \(node.applied) voters "
            + "\(node.membership.voters)&\(node.membership.outgoingVoters) learners "
            + "\(node.membership.learners)"
            + (replica.disk.abstainUntil.map { " abstains until \($0)" } ?? "")
            + (node.isQuiescent ? " quiescent" : "")
            + (node.role == .leader ? " uncommitted \(node.status.uncommittedBytes)" : "")
    }
}
