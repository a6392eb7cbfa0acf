import Bytes
import Platform
import Raft
import Simulator
import WriteAheadLog

@testable import RaftRuntime

/// One seeded run of a group under faults, with clients that write and read meanwhile.
///
/// Every operation ends with the index at which it took effect, so that one order of all of them is
/// known, and only has to be held against the times they began and ended.
final class Chaos: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private struct Operation {
        let began: Int64
        var ended: Int64?
        var index: LogIndex?
        let value: String?
        var isRefused = false
    }

    let cluster: Cluster
    private var generator: SeededGenerator
    private var operations: [Operation] = []
    private var problems: [String] = []
    private(set) var acknowledged = 0
    private(set) var reads = 0
    private(set) var crashes = 0

    init(seed: UInt64) throws {
        var config = RaftConfig()
        config.snapshotChunkBytes = 64
        config.quiesceTicks = 4
        cluster = try Cluster(3, seed: seed, config: config)
        generator = SeededGenerator(seed: seed &* 31)
        try cluster.createGroup()
    }

    // MARK: Clients

    private func write() {
        let place = operations.count
        let value = "\(place)"
        let node = cluster.nodes[generator.below(cluster.nodes.count)]
        guard let target = generator.chance(3, in: 4) ? cluster.readyLeader() : node, target.isOn
        else { return }
        let now = cluster.simulation.clock.now
        operations.append(Operation(began: now, value: value))
        target.propose(1, "register", value) { [self] result in
            switch result {
            case .success:
                operations[place].ended = cluster.simulation.clock.now
                acknowledged += 1
            case .failure(.notLeader), .failure(.overloaded), .failure(.storageFailed),
                .failure(.unknownGroup):
                operations[place].isRefused = true
            case .failure: break
            }
        }
    }

    private func read() {
        let node = cluster.nodes[generator.below(cluster.nodes.count)]
        guard node.isOn, node.replica() != nil else { return }
        let place = operations.count
        operations.append(Operation(began: cluster.simulation.clock.now, value: nil))
        let loop = node.manager(of: 1).loop
        loop.execute { [self] in
            node.replica()?.readIndex { [self] result in
                guard case .success = result, let machine = node.machines[1] else { return }
                operations[place].ended = cluster.simulation.clock.now
                operations[place].index = machine.lastApplied
                reads += 1
            }
        }
    }

    // MARK: Faults

    private func trouble() throws {
        let node = cluster.nodes[generator.below(cluster.nodes.count)]
        switch generator.below(12) {
        case 0:
            crashes += 1
            if node.isOn { node.cutPower() }
        case 1, 2, 3:
            for node in cluster.nodes where !node.isOn { try revive(node) }
        case 4: cluster.wire.isolate(node.id, from: cluster.members)
        case 5:
            let other = cluster.nodes[generator.below(cluster.nodes.count)]
            cluster.wire.cut(node.id, other.id)
        case 6, 7: cluster.wire.heal()
        case 8:
            cluster.wire.lossPercent = generator.below(20)
            cluster.wire.duplicationPercent = generator.below(20)
            cluster.wire.reorders = generator.chance(1, in: 2)
            cluster.wire.maxDelay = .microseconds(Int64(50 + generator.below(20_000)))
        case 9: if node.isOn { try node.compact() }
        case 10:
            let heir = cluster.nodes[generator.below(cluster.nodes.count)]
            try cluster.readyLeader()?.on { try? $0?.transferLeadership(to: heir.id) }
        default:
            if generator.chance(1, in: 3) {
                node.disk.failure = { operation, _ in operation == .sync ? .inputOutput : nil }
            }
        }
    }

    private func revive(_ node: SimulatedNode) throws {
        node.disk.failure = nil
        if node.isOn { node.cutPower() }
        try node.start()
    }

    // MARK: The run

    /// - Returns: What was wrong.
    func run(steps: Int) throws -> [String] {
        for _ in 0..<steps {
            for _ in 0..<1 + generator.below(3) { generator.chance(2, in: 3) ? write() : read() }
            if generator.chance(1, in: 6) { try trouble() }
            cluster.run(Int64(1 + generator.below(60)))
        }
        cluster.wire.heal()
        (cluster.wire.lossPercent, cluster.wire.duplicationPercent) = (0, 0)
        cluster.wire.reorders = false
        cluster.wire.maxDelay = 300_000
        for node in cluster.nodes { node.disk.failure = nil }
        for node in cluster.nodes where !node.lostEnds.isEmpty {
            problems.append("\(node.id) has lost the end of its log")
        }
        // What failed before may still be on its way to those whom it ends.
        cluster.run(1_000)
        for node in cluster.nodes where !node.isOn || node.isSilenced || !node.failures.isEmpty {
            for failure in node.failures.values {
                if case RaftError.logConflict = failure {
                    problems.append("\(node.id): \(failure)")
                }
            }
            try revive(node)
        }
        if !cluster.run(20_000, until: { cluster.isWhole() }) {
            problems.append("did not heal: \(state)")
        }
        problems += cluster.ledger.disagreements
        check()
        return problems
    }

    private var state: String {
        cluster.nodes.map { node in
            let info = node.replica()?.info
            return "\(node.id): \(String(describing: info)) failed \(node.failures) "
                + "silenced \(node.isSilenced) peers \(node.managers.map(\.peers)) "
                + "\(String(describing: node.replica()?.status.peers)) wal \(String(describing: node.wal?.state))"
        }.joined(separator: "\n")
    }

    private func check() {
        let indices = cluster.ledger.indices(of: "register")
        for place in operations.indices {
            guard let value = operations[place].value else { continue }
            let found = indices[value] ?? []
            if found.count > 1 { problems.append("write \(value) is there \(found.count) times") }
            if operations[place].isRefused && !found.isEmpty {
                problems.append("write \(value) was refused and is there")
            }
            if operations[place].ended != nil && found.isEmpty {
                problems.append("write \(value) was acknowledged and is lost")
            }
            operations[place].index = found.first
        }
        checkOrder()
    }

    /// What ended before another began came before it.
    private func checkOrder() {
        let began = operations.filter { $0.index != nil && ($0.ended != nil || $0.value != nil) }
            .sorted { $0.began < $1.began }
        let ended = began.filter { $0.ended != nil }
            .sorted { ($0.ended ?? 0) < ($1.ended ?? 0) }
        var done = 0
        var highest = LogIndex.zero
        for operation in began {
            while done < ended.count, (ended[done].ended ?? .max) < operation.began {
                highest = max(highest, ended[done].index ?? .zero)
                done += 1
            }
            if let index = operation.index, index < highest {
                let what = operation.value.map { "write \($0)" } ?? "a read"
                problems.append("\(what) at \(index) began after \(highest) was known")
            }
        }
    }
}
