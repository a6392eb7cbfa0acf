import Foundation
import Testing

@testable import Raft

/// Groups under everything a network and a power supply can do, checked at every step.
@Suite struct ChaosTests {
    /// One run: `events` random events, then peace until the group must be whole again.
    static func run(voters: Int, seed: UInt64, events: Int) throws -> SimulatedCluster {
        let cluster = try SimulatedCluster(voters: voters, spare: 2, seed: seed) { configuration in
            configuration.electionTicks = 5
            configuration.batchesAppends = seed % 2 == 0
            configuration.preVote = seed % 3 != 0
            configuration.checkQuorum = seed % 5 != 0
            configuration.maxInflightMessages = 4
            configuration.snapshotTicks = 20
            configuration.maxMessageBytes = seed % 4 == 0 ? 60 : 1_000
            configuration.maxCommittedBytesPerReady = 200
            configuration.maxUncommittedBytes = 400
        }
        for _ in 0..<events {
            try event(cluster)
            if !cluster.invariants.violations.isEmpty { return cluster }
        }
        try heal(cluster)
        return cluster
    }

    private static func event(_ cluster: SimulatedCluster) throws {
        let count = cluster.replicas.count
        let id = Int.random(in: 1...count, using: &cluster.generator)
        let replica = cluster[id]
        if replica.node == nil && Int.random(in: 0..<8, using: &cluster.generator) == 0 {
            try cluster.restart(id)
        }
        switch Int.random(in: 0..<200, using: &cluster.generator) {
        case 0..<16: cluster.tick(id)
        case 16..<105: for _ in 0..<2 { try network(cluster) }
        case 105..<135: if !replica.writes.isEmpty { cluster.persist(id) }
        case 135..<155: cluster.apply(id)
        case 155..<170:
            if let leader = cluster.leader { cluster.propose(Int(leader.id.rawValue)) }
        case 170..<172: cluster.propose(id)
        case 172..<178: cluster.read(id)
        case 178..<180: try power(cluster, id)
        case 180..<182: cluster.stabilize()
        case 182..<185: partition(cluster)
        case 185..<188: change(cluster)
        case 188..<191: if replica.node != nil { replica.compact(keeping: id % 3) }
        case 191..<193: cluster.with(id) { try? $0.transferLeadership(to: ReplicaID(1)) }
        case 193..<195: cluster.with(id) { $0.reportUnreachable(ReplicaID(UInt64(count))) }
        case 195..<197: cluster.with(id) { $0.reportSnapshot(ReplicaID(2), success: id % 2 == 0) }
        case 197: cluster.with(id) { $0.forgetLeader() }
        case 198: cluster.with(id) { $0.quiesce() }
        default: cluster.campaign(id)
        }
        cluster.invariants.checkChanges(replica)
    }

    private static func network(_ cluster: SimulatedCluster) throws {
        guard !cluster.network.isEmpty else { return }
        // Mostly in order, sometimes any message.
        let isOrdered = Int.random(in: 0..<4, using: &cluster.generator) > 0
        let place =
            isOrdered ? 0 : Int.random(in: 0..<cluster.network.count, using: &cluster.generator)
        switch Int.random(in: 0..<20, using: &cluster.generator) {
        case 0: cluster.network.remove(at: place)
        case 1: cluster.network.append(cluster.network[place])
        default: cluster.deliver(at: place)
        }
        if cluster.network.count > 500 { cluster.network.removeFirst(250) }
    }

    private static func power(_ cluster: SimulatedCluster, _ id: Int) throws {
        let replica = cluster[id]
        if replica.node == nil {
            try cluster.restart(id)
        } else {
            let count = Int.random(in: 0...replica.writes.count, using: &cluster.generator)
            cluster.crash(id, keeping: count)
        }
    }

    private static func partition(_ cluster: SimulatedCluster) {
        if Int.random(in: 0..<3, using: &cluster.generator) > 0 {
            cluster.heal()
            return
        }
        for from in cluster.replicas {
            for to in cluster.replicas where from.id != to.id {
                if Int.random(in: 0..<5, using: &cluster.generator) == 0 {
                    cluster.cut.insert(SimulatedCluster.Link(from: from.id, to: to.id))
                }
            }
        }
    }

    private static func change(_ cluster: SimulatedCluster) {
        guard let leader = cluster.leader, let node = leader.node else { return }
        let all = cluster.replicas.map(\.id)
        if node.membership.isJoint {
            cluster.propose(.leaveJoint, at: Int(leader.id.rawValue))
            return
        }
        let kinds: [ConfigurationChange.Step.Kind] = [.addVoter, .addLearner, .removeReplica]
        let steps = (0..<Int.random(in: 1...2, using: &cluster.generator)).map { _ in
            ConfigurationChange.Step(
                kinds[Int.random(in: 0..<3, using: &cluster.generator)],
                all[Int.random(in: 0..<all.count, using: &cluster.generator)]
            )
        }
        let change = ConfigurationChange(
            steps,
            transition: Bool.random(using: &cluster.generator) ? .automatic : .jointImplicit
        )
        // Keep enough voters that the end of the run can be waited for.
        guard let next = try? node.membership.applying(change), next.voters.count >= 2 else {
            return
        }
        cluster.propose(change, at: Int(leader.id.rawValue))
    }

    /// I16: with everybody up and connected, one leader, equal logs, and proposals get through.
    private static func heal(_ cluster: SimulatedCluster) throws {
        cluster.heal()
        for id in cluster.replicas.indices where cluster.replicas[id].node == nil {
            try cluster.restart(id + 1)
        }
        for id in cluster.replicas.indices { cluster.with(id + 1) { $0.wake() } }
        for _ in 0..<100 {
            cluster.run(ticks: 5)
            if isWhole(cluster) { break }
        }
        if !isWhole(cluster) { cluster.invariants.report("I16", "not whole: \(describe(cluster))") }
        guard let leader = cluster.leader else { return }
        let content = cluster.propose(Int(leader.id.rawValue))
        cluster.run(ticks: 10)
        if let content, cluster.acknowledged[content] == nil {
            cluster.invariants.report("I16", "no progress: \(describe(cluster))")
        }
        cluster.checkClients()
    }

    private static func isWhole(_ cluster: SimulatedCluster) -> Bool {
        guard let leader = cluster.leader, let node = leader.node,
            node.commit == node.lastIndex, node.applied == node.commit
        else { return false }
        return cluster.replicas.allSatisfy { replica in
            guard node.membership.contains(replica.id), let other = replica.node else {
                return true
            }
            return other.term == node.term && other.lastIndex == node.lastIndex
                && other.applied == node.applied && replica.machine == leader.machine
        }
    }

    private static func describe(_ cluster: SimulatedCluster) -> String {
        cluster.replicas.map { replica in
            guard let status = replica.node?.status else { return "\(replica.id) down" }
            return
                "\(status.id) \(status.role) term \(status.term) leader \(status.leader?.rawValue ?? 0) "
                + "log \(status.firstIndex)...\(status.lastIndex) commit \(status.commit) "
                + "applied \(status.applied) \(status.membership.voters)&\(status.membership.outgoingVoters)"
        }.joined(separator: "; ")
    }

    @Test(arguments: 1...5)
    func `no seed breaks an invariant`(voters: Int) throws {
        var broken: [UInt64] = []
        var commits = 0
        var reads = 0
        let seeds = Self.seeds
        for seed in seeds {
            let cluster = try Self.run(voters: voters, seed: seed, events: 2_000)
            if !cluster.invariants.violations.isEmpty {
                broken.append(seed)
                #expect(cluster.invariants.violations == [], "voters \(voters), seed \(seed)")
            }
            commits += Int(cluster.invariants.highestCommit.rawValue)
            reads += cluster.answeredReads
        }
        #expect(broken == [], "\(broken.count) of \(seeds.count) seeds, \(voters) voters")
        // The runs are worth something only if the group gets work done in them.
        #expect(commits > 15 * seeds.count)
        #expect(reads > 2 * seeds.count)
    }

    @Test(arguments: [(1, UInt64(1_074)), (2, 1_726)])
    func `a removed replica with the longest log does not hold up the others`(
        voters: Int,
        seed: UInt64
    ) throws {
        let cluster = try Self.run(voters: voters, seed: seed, events: 2_000)
        #expect(cluster.invariants.violations == [])
    }

    /// A hundred seeds, or the range in RAFT_SEEDS, as in 0-10000.
    static let seeds: Range<UInt64> = {
        let bounds = (ProcessInfo.processInfo.environment["RAFT_SEEDS"] ?? "0-100")
            .split(separator: "-").compactMap { UInt64($0) }
        return bounds.count == 2 ? bounds[0]..<bounds[1] : 0..<100
    }()
}
