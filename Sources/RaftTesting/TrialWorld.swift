import Bytes
import Platform
import Raft
import RaftRuntime
import Simulator

/// The cluster of a trial, its client and its misfortunes.
final class TrialWorld<Machine: StateMachine> {
    typealias Node = TrialNode<Machine>

    /// What is wrong with the cluster right now; one thing at a time, so that a majority is there.
    private enum Fault {
        case none
        case powerCut(Int, until: Int64)
        case partition(Int, Int, until: Int64)
    }

    private let trial: StateMachineTrial<Machine>
    private let simulation: Simulation
    private let ledger: TrialLedger
    private var generator: SeededGenerator
    private var nodes: [Node] = []
    private var fault = Fault.none
    private var report = TrialReport()

    init(_ trial: StateMachineTrial<Machine>, seed: UInt64) {
        self.trial = trial
        simulation = Simulation(seed: seed)
        generator = simulation.makeGenerator()
        ledger = TrialLedger(seed: seed)
        let ids = (1...trial.replicas).map { ReplicaID(UInt64($0)) }
        let addresses = Dictionary(
            uniqueKeysWithValues: ids.map { ($0, "\(Node.host($0)):\(Node.port)") }
        )
        let (make, ledger) = (trial.make, ledger)
        for id in ids {
            nodes.append(
                Node(id, simulation, addresses: addresses) { ObservedMachine(make(), ledger) }
            )
        }
    }

    deinit { for node in nodes { node.cutPower() } }

    func play() throws(TrialViolation) -> TrialReport {
        for node in nodes { node.powerOn() }
        for _ in 0..<trial.commands {
            meetFaults()
            try acknowledge(trial.command(generator.next()))
            report.acknowledged += 1
        }
        mend()
        try compare()
        report.entries = ledger.entries
        report.trace = simulation.trace.description
        return report
    }

    private func check() throws(TrialViolation) {
        if let violation = ledger.violation { throw violation }
        for node in nodes {
            if let failure = node.failure {
                throw .isStuck(seed: ledger.seed, reason: "node \(node.id): \(failure)")
            }
        }
    }

    // MARK: The client

    /// Proposes the command until the leader has acknowledged it.
    private func acknowledge(_ command: ByteSlice) throws(TrialViolation) {
        var next = generator.below(nodes.count)
        for _ in 0..<600 {
            let result = ask(nodes[next]) { group in await group.result(of: command) }
            try check()
            switch result {
            case .success: return
            case .failure(.notLeader(let leader?)): next = Int(leader.rawValue) - 1
            default: next = generator.below(nodes.count)
            }
            _ = simulation.run(for: .milliseconds(Int64(1 + generator.below(100))))
            endFault()
        }
        throw .isStuck(seed: ledger.seed, reason: "no command is acknowledged")
    }

    /// Asks a node something; `nil` when it is down or does not answer in time.
    private func ask<Value: Sendable>(
        _ node: Node,
        _ body: @escaping @Sendable (Node.Group) async -> Value
    ) -> Value? {
        guard let group = node.group, let loop = node.loop else { return nil }
        let answer = Answer<Value>()
        Task(executorPreference: loop) { answer.value = await body(group) }
        _ = simulation.run(for: .seconds(1)) { answer.value != nil }
        return answer.value
    }

    // MARK: Misfortunes

    private func meetFaults() {
        endFault()
        guard case .none = fault, trial.commandsPerFault > 0,
            generator.chance(1, in: trial.commandsPerFault)
        else { return }
        let until = simulation.clock.now + .milliseconds(Int64(1 + generator.below(3_000)))
        let victim = generator.below(nodes.count)
        switch generator.below(3) {
        case 0:
            if generator.chance(1, in: 2) { beginCompaction(nodes[victim]) }
            nodes[victim].cutPower()
            fault = .powerCut(victim, until: until)
            report.powerCuts += 1
        case 1 where nodes.count > 1:
            let other = (victim + 1 + generator.below(nodes.count - 1)) % nodes.count
            simulation.network.partition(Node.host(nodes[victim].id), Node.host(nodes[other].id))
            fault = .partition(victim, other, until: until)
            report.partitions += 1
        default:
            if ask(nodes[victim], { group in await group.isCompacted() }) == true {
                report.compactions += 1
            }
        }
    }

    /// Leaves it somewhere in the middle.
    private func beginCompaction(_ node: Node) {
        guard let group = node.group, let loop = node.loop else { return }
        Task(executorPreference: loop) { _ = await group.isCompacted() }
        _ = simulation.run(for: .microseconds(Int64(generator.below(4_000))))
    }

    private func endFault(now: Bool = false) {
        switch fault {
        case .none: return
        case .powerCut(let node, let until):
            guard now || simulation.clock.now >= until else { return }
            nodes[node].powerOn()
        case .partition(let one, let other, let until):
            guard now || simulation.clock.now >= until else { return }
            simulation.network.heal(Node.host(nodes[one].id), Node.host(nodes[other].id))
        }
        fault = .none
    }

    private func mend() { endFault(now: true) }

    // MARK: The end

    private func compare() throws(TrialViolation) {
        for _ in 0..<300 {
            _ = simulation.run(for: .milliseconds(100))
            try check()
            let states = nodes.compactMap { ask($0) { group in await group.state() } }
            guard states.count == nodes.count, let first = states.first,
                states.allSatisfy({ $0.index == first.index && $0.index == $0.last })
            else { continue }
            guard states.allSatisfy({ $0.content == first.content }) else {
                throw .statesDiffer(seed: ledger.seed, index: first.index)
            }
            try checkRestoring(first)
            return try check()
        }
        throw .isStuck(seed: ledger.seed, reason: "the replicas do not catch up")
    }

    private func checkRestoring(_ state: ReplicaState) throws(TrialViolation) {
        let again: ByteSlice
        do {
            let machine = trial.make()
            try machine.restore(state.content, lastIndex: state.index, lastTerm: state.term)
            again = try machine.snapshot(lastIndex: state.index, lastTerm: state.term)
        } catch {
            throw .snapshotFailed(seed: ledger.seed, reason: "\(error)")
        }
        guard again == state.content else {
            throw .snapshotIsIncomplete(seed: ledger.seed, index: state.index)
        }
    }
}

/// What a task of the simulation has found.
private final class Answer<Value>: @unchecked Sendable {
    // Unchecked: a simulation runs on one thread.
    var value: Value?
}

private struct ReplicaState: Sendable {
    let index: LogIndex
    let last: LogIndex
    let term: Term
    let content: ByteSlice
}

extension RaftGroup {
    fileprivate func result(of command: ByteSlice) async -> Result<ByteSlice, RaftError> {
        do throws(RaftError) {
            return .success(try await propose(command))
        } catch {
            return .failure(error)
        }
    }

    fileprivate func isCompacted() async -> Bool { (try? await compact()) != nil }

    fileprivate func state() async -> ReplicaState {
        let info = await info
        return await readLocally { machine in
            let index = machine.lastApplied
            let content = try? machine.snapshot(lastIndex: index, lastTerm: info.term)
            return ReplicaState(
                index: index,
                last: info.lastIndex,
                term: info.term,
                content: content ?? ByteSlice()
            )
        }
    }
}
