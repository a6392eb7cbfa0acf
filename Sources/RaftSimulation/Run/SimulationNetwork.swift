internal import Raft

/// What the network does to messages.
extension Simulation {
    private func link(_ from: Int, _ to: Int) -> Int { from * replicas.count + to }

    private func place(of id: ReplicaID) -> Int? {
        let place = Int(truncatingIfNeeded: id.rawValue) - 1
        return replicas.indices.contains(place) ? place : nil
    }

    func send(_ message: Message) {
        var message = message
        guard let from = place(of: message.from), let to = place(of: message.to) else { return }
        if plan.plant == .commitBeyondMatch, case .heartbeat(var heartbeat) = message.body,
            let node = replicas[from].node
        {
            heartbeat.commit = node.commit
            message.body = .heartbeat(heartbeat)
        }
        if blocked[link(from, to)] || random.chance(conditions.loss) {
            lose(message, from: from)
            return
        }
        schedule(message, from: from, to: to)
        if random.chance(conditions.duplication) { schedule(message, from: from, to: to) }
    }

    private func schedule(_ message: Message, from: Int, to: Int) {
        var arrival = time + random.number(in: 1...conditions.latency)
        if random.chance(conditions.delay) { arrival += random.below(3_000) }
        if random.chance(conditions.reordering) {
            arrival += random.below(4 * conditions.latency)
        } else {
            // In order, as a connection keeps them.
            arrival = max(arrival, lastArrival[link(from, to)])
            lastArrival[link(from, to)] = arrival
        }
        let slot = freeSlots.popLast() ?? inFlight.count
        if slot == inFlight.count { inFlight.append(message) } else { inFlight[slot] = message }
        queue.add(.deliver(slot: slot), at: arrival)
    }

    /// Transports often know that a message was lost, and then say so.
    private func lose(_ message: Message, from: Int) {
        tell?("\(time) lost: \(words(message))")
        guard random.oneIn(4), replicas[from].isUp, checker.violations.isEmpty else { return }
        lossReports.append((from, message))
    }

    /// Tells senders about losses; not while they are in the middle of something.
    func reportLosses() {
        while let (from, message) = lossReports.popLast() {
            with(replicas[from]) { node in
                if case .snapshot = message.body {
                    node.reportSnapshot(message.to, success: false)
                } else {
                    node.reportUnreachable(message.to)
                }
            }
        }
    }

    func deliver(_ slot: Int) {
        guard let message = inFlight[slot] else { return }
        guard let from = place(of: message.from), let to = place(of: message.to) else { return }
        let replica = replicas[to]
        if replica.isUp && replica.pausedUntil > time {
            queue.add(.deliver(slot: slot), at: replica.pausedUntil)
            return
        }
        inFlight[slot] = nil
        freeSlots.append(slot)
        guard replica.isUp, !blocked[link(from, to)] else { return }
        tell?("\(time) \(words(message))")
        let couldLack = replica.node?.isAbstaining == true
        with(replica) { node in
            do throws(RaftStepError) {
                try node.step(message)
            } catch {
                self.judge(error, of: replica.id, couldLack: couldLack)
            }
        }
        if case .snapshot = message.body, random.oneIn(2) {
            reportDelivery(of: message, from: from)
        }
    }

    private func reportDelivery(of message: Message, from: Int) {
        let isGood = !random.oneIn(4)
        with(replicas[from]) { $0.reportSnapshot(message.to, success: isGood) }
    }

    /// Some refusals are what a correct group never gives reason for.
    private func judge(_ error: RaftStepError, of id: ReplicaID, couldLack: Bool) {
        switch error {
        case .conflictsWithCommitted(let index, let commit):
            checker.violate(
                .committedNeverChanges,
                "replica \(id) is to replace \(index), committed through \(commit)"
            )
        case .commitBeyondLog(let commit, let last):
            if couldLack { break }
            checker.violate(.commitOnQuorum, "replica \(id) is to commit \(commit) of \(last)")
        case .malformed(let reason):
            checker.violate(.electionSafety, "replica \(id) refuses: \(reason)")
        case .notAddressedHere, .unknownPeer, .logUnavailable, .proposal:
            break
        }
    }

    private func words(_ message: Message) -> String {
        "\(message.from) -> \(message.to) term \(message.term) \(message.body)"
    }
}
