import Testing

@testable import Raft

/// Idle groups fall silent, and wake up when they must.
@Suite struct QuiescenceTests {
    private func silent(dead: [Int] = []) throws -> SimulatedCluster {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1)
        cluster.stabilize()
        for id in dead { cluster.crash(id) }
        cluster.with(1) { node in
            let isSilent = node.quiesce(ignoring: dead.map { ReplicaID(UInt64($0)) })
            #expect(isSilent)
        }
        cluster.stabilize()
        return cluster
    }

    @Test(arguments: [[], [3]])
    func `an idle group sends nothing and elects nobody`(dead: [Int]) throws {
        let cluster = try silent(dead: dead)
        for _ in 0..<500 { for id in 1...3 { cluster.tick(id) } }
        #expect(cluster.network.isEmpty)
        #expect(cluster.node(1).role == .leader)
        for id in 1...3 where !dead.contains(id) { #expect(cluster.node(id).isQuiescent) }
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a proposal wakes everybody`() throws {
        let cluster = try silent()
        let content = try #require(cluster.propose(1))
        cluster.stabilize()
        #expect(cluster.acknowledged[content] != nil)
        for id in 1...3 { #expect(!cluster.node(id).isQuiescent) }
        cluster.run(ticks: 40)
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a dead leader is replaced once its followers are woken`() throws {
        let cluster = try silent()
        cluster.crash(1)
        cluster.run(ticks: 100)
        #expect(cluster.leader == nil, "nobody counts ticks")
        for id in 2...3 { cluster.with(id) { $0.wake() } }
        cluster.run(ticks: 60)
        #expect(cluster.leader != nil)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a group with work left stays awake`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1)
        cluster.stabilize()
        cluster.with(1) { node in
            let isSilent = node.quiesce()
            #expect(!isSilent, "3 lags")
            let isSilentWithout = node.quiesce(ignoring: [ReplicaID(3)])
            #expect(isSilentWithout)
        }
    }

    @Test func `a replica the group left behind wakes it`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.crash(3)
        cluster.propose(1)
        cluster.stabilize()
        cluster.with(1) { node in
            let isSilent = node.quiesce(ignoring: [ReplicaID(3)])
            #expect(isSilent)
        }
        cluster.stabilize()
        try cluster.restart(3)
        cluster.run(ticks: 60)
        #expect(cluster.leader != nil)
        #expect(cluster.terms(3) == cluster.terms(1))
        #expect(cluster.invariants.violations == [])
    }
}
