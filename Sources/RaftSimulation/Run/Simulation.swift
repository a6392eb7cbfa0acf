internal import Raft

/// A whole group in virtual time: replicas, network, disks, clients and trouble, moved by a seed.
///
/// An event is one message arriving, one sync done, one batch applied, one tick of a clock, one
/// client or one piece of trouble. The invariants are checked after each.
package final class Simulation {
    let plan: SimulationPlan
    var random: RandomSource
    var conditions: Conditions
    var queue = EventQueue()
    var replicas: [SimulatedReplica] = []
    var checker: InvariantChecker
    var clients = Clients()
    var outcome = SimulationOutcome()
    var time = 0

    /// Messages on their way, and the slots that are free.
    var inFlight: [Message?] = []
    var freeSlots: [Int] = []
    /// Whether nothing passes from one place to another, row by row.
    var blocked: [Bool]
    /// When the last message in order arrives, by link.
    var lastArrival: [Int]
    /// Messages whose senders are about to be told that they were lost.
    var lossReports: [(from: Int, message: Message)] = []
    let electionTicks: Int
    let usesLeases: Bool
    var isHealed = false
    /// Told what happens, in words, if somebody listens.
    var tell: ((String) -> Void)?

    package init(_ plan: SimulationPlan, tell: ((String) -> Void)? = nil) {
        self.plan = plan
        self.tell = tell
        var random = RandomSource(seed: plan.seed)
        let voters = plan.replicas ?? random.pick([1, 2, 3, 3, 3, 4, 5, 5, 6, 7])
        // Half of the kinds in most runs: trouble of all kinds at once hides as much as it shows.
        let some = Faults(rawValue: UInt32(truncatingIfNeeded: random.next()))
        let drawn = random.oneIn(4) ? .all : some.intersection(.all)
        let faults = plan.faults ?? drawn
        var conditions = Conditions(faults: faults, random: &random)
        let isLenient = plan.plant == .changeDuringPending
        let settings = Conditions.configuration(isLenient: isLenient, random: &random)
        electionTicks = settings.electionTicks
        usesLeases = settings.readMode == .lease
        // Leases are safe only among clocks of nearly the same speed.
        if usesLeases { conditions.drift = min(conditions.drift, 10) }
        self.conditions = conditions
        self.random = random
        let count = voters + (faults.contains(.membership) ? 2 : 0)
        blocked = Array(repeating: false, count: count * count)
        lastArrival = Array(repeating: 0, count: count * count)
        checker = InvariantChecker(start: LogIndex(1), term: Term(1))
        outcome.replicas = voters
        outcome.faults = faults
        makeReplicas(voters: voters, count: count, settings: settings)
    }

    private func makeReplicas(voters: Int, count: Int, settings: RaftNode.Configuration) {
        var first = HistoryMachine()
        first.index = LogIndex(1)
        first.term = Term(1)
        first.membership = Membership(voters: (1...voters).map { ReplicaID(UInt64($0)) })
        for place in 0..<count {
            var configuration = settings
            configuration.id = ReplicaID(UInt64(place + 1))
            configuration.randomSeed = random.next()
            if random.oneIn(8) { configuration.priority = random.pick([0, 2]) }
            let disk = SimulatedDisk(random: RandomSource(seed: random.next()), plant: plan.plant)
            disk.unavailability = conditions.lateReads
            if place < voters { disk.format(with: first.snapshot) }
            do throws(RaftConfigurationError) {
                replicas.append(
                    try SimulatedReplica(
                        place: place,
                        configuration: configuration,
                        disk: disk,
                        tickPeriod: drawTickPeriod()
                    )
                )
            } catch {
                preconditionFailure("the settings drawn are refused: \(error)")
            }
        }
    }

    func drawTickPeriod() -> Int {
        let drift = conditions.drift * Conditions.tick / 1000
        return random.number(in: (Conditions.tick - drift)...(Conditions.tick + drift))
    }

    // MARK: - Running

    /// Plays the whole run.
    package func run() -> SimulationOutcome {
        PlantedBug.plant(plan.plant)
        for replica in replicas { start(replica) }
        queue.add(.client, at: conditions.clientInterval)
        queue.add(.trouble, at: conditions.troubleInterval)
        while outcome.events < plan.events && checker.violations.isEmpty { playEvent() }
        if checker.violations.isEmpty { heal() }
        outcome.violations = checker.violations
        outcome.commits = LogIndex(1).distance(to: checker.highestCommit)
        outcome.acknowledged = clients.acknowledged
        outcome.reads = clients.answeredReads
        outcome.elections = checker.elections
        outcome.membershipChanges = checker.changes
        foldEnd()
        return outcome
    }

    func playEvent() {
        guard let (time, action) = queue.removeFirst() else { return }
        precondition(time >= self.time, "time \(time) after \(self.time)")
        self.time = time
        outcome.events += 1
        checker.event = outcome.events
        perform(action)
        reportLosses()
    }

    private func perform(_ action: Action) {
        switch action {
        case .deliver(let slot): deliver(slot)
        case .synced(let place, let life): whenAwake(place, life, action) { self.finishSync($0) }
        case .apply(let place, let life): whenAwake(place, life, action) { self.apply($0) }
        case .tick(let place, let life): whenAwake(place, life, action) { self.tick($0) }
        case .readable(let place, let life):
            whenAwake(place, life, action) { self.with($0) { $0.onLogReadable() } }
        case .restart(let place): restart(replicas[place])
        case .diskRecovered(let place): recoverDisk(replicas[place])
        case .client: playClient()
        case .trouble:
            if !isHealed { makeTrouble() }
        }
    }

    /// Does it now, or later if the process stands still, or never if it has ended since.
    private func whenAwake(
        _ place: Int,
        _ life: Int,
        _ action: Action,
        _ body: (SimulatedReplica) -> Void
    ) {
        let replica = replicas[place]
        guard replica.life == life, replica.isUp else { return }
        if replica.pausedUntil > time {
            queue.add(action, at: replica.pausedUntil)
        } else {
            body(replica)
        }
    }

    private func tick(_ replica: SimulatedReplica) {
        queue.add(.tick(place: replica.place, life: replica.life), at: time + replica.tickPeriod)
        with(replica) { $0.tick() }
        checkMemory(of: replica)
    }

    /// I16: nothing grows without bound.
    private func checkMemory(of replica: SimulatedReplica) {
        guard outcome.events % 64 == 0, replica.isUp else { return }
        let status = replica.node.status
        let limit = replica.configuration.maxUncommittedBytes + 300
        if status.uncommittedBytes > limit {
            checker.violate(
                .progressAfterHealing,
                "replica \(replica.id) holds \(status.uncommittedBytes) uncommitted bytes"
            )
        }
        for peer in status.peers
        where peer.inflightMessages > replica.configuration.maxInflightMessages {
            checker.violate(
                .progressAfterHealing,
                "replica \(replica.id) has \(peer.inflightMessages) messages to \(peer.id) out"
            )
        }
    }

    // MARK: - Clients

    private func playClient() {
        queue.add(.client, at: time + random.number(in: 1...(2 * conditions.clientInterval)))
        if isHealed { return }
        let replica = random.oneIn(4) ? random.pick(replicas) : leader ?? random.pick(replicas)
        guard replica.isUp, replica.pausedUntil <= time else { return }
        if random.oneIn(4) {
            read(at: replica)
        } else {
            for _ in 0...(random.oneIn(6) ? random.below(12) : 0) { propose(at: replica) }
        }
    }

    @discardableResult
    func propose(at replica: SimulatedReplica) -> Int {
        let padding = random.oneIn(10) ? random.below(250) : 0
        let (content, payload) = clients.newContent(padding: padding)
        with(replica) { node in
            do throws(RaftProposalError) {
                self.clients.proposed(content, try node.propose(payload))
            } catch .notLeader {
                guard (try? node.forwardProposal([payload])) != nil else { return }
                self.clients.forwarded(content)
            } catch {
                // Refused: it must never be seen.
            }
        }
        return content
    }

    @discardableResult
    func read(at replica: SimulatedReplica) -> UInt64 {
        let context = clients.newRead(committed: checker.highestCommit)
        with(replica) { try? $0.readIndex(context: context) }
        return context
    }

    /// The leader of the highest term among those that run.
    var leader: SimulatedReplica? {
        var best: SimulatedReplica?
        var bestTerm = Term.zero
        for replica in replicas {
            guard replica.isUp, replica.node.role == .leader, replica.node.term > bestTerm else {
                continue
            }
            best = replica
            bestTerm = replica.node.term
        }
        return best
    }
}
