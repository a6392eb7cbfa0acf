import Bytes
import Platform
import Raft
import Simulator
import Testing

@testable import RaftRuntime

/// Idle groups cost nothing, and nobody stays silent who must not: the table in `ReplicaTime`, row
/// by row.
@Suite(.timeLimit(.minutes(10))) struct QuiescenceTests {
    private static let groups: ClosedRange<UInt64> = 1...8

    /// A cluster of several groups that have fallen silent, all led by one node.
    private func silentCluster(seed: UInt64 = 1) throws -> (Cluster, SimulatedNode) {
        let cluster = try Cluster(seed: seed)
        for group in Self.groups {
            try cluster.createGroup(group)
            try cluster.nodes[0].on(group) { $0?.campaign() }
            #expect(try cluster.leader(group) === cluster.nodes[0])
            try cluster.write(group, "a", "1")
        }
        try expectSilence(cluster)
        return (cluster, cluster.nodes[0])
    }

    private func expectSilence(_ cluster: Cluster) throws {
        #expect(cluster.run(5_000) { self.isSilent(cluster) })
    }

    private func isSilent(_ cluster: Cluster) -> Bool {
        cluster.nodes.filter(\.isOn).allSatisfy { node in
            node.managers.allSatisfy { $0.awakeCount == 0 }
        }
    }

    private func expectLeaders(
        _ cluster: Cluster,
        within milliseconds: Int64,
        _ accept: @escaping (SimulatedNode) -> Bool
    ) {
        let done = cluster.run(milliseconds) {
            Self.groups.allSatisfy { cluster.readyLeader($0).map(accept) ?? false }
        }
        #expect(done)
    }

    @Test func `idle groups send nothing; nodes send one beat a peer and tick`() throws {
        let (cluster, _) = try silentCluster()
        cluster.wire.resetCounts()
        cluster.run(10_000)
        #expect(cluster.wire.groupMessages == 0)
        #expect(cluster.wire.frames[.messages] == nil)
        // 200 ticks, three nodes, two peers each.
        let beats = try #require(cluster.wire.frames[.liveness])
        #expect((1_150...1_206).contains(beats))
        #expect(isSilent(cluster))
        // And everything works as before.
        for group in Self.groups { try cluster.write(group, "b", "2") }
    }

    @Test func `heartbeats of all groups in use share a frame`() throws {
        var config = RaftConfig()
        config.quiesceTicks = 0
        let cluster = try Cluster(config: config)
        for group in Self.groups {
            try cluster.createGroup(group)
            try cluster.nodes[0].on(group) { $0?.campaign() }
            _ = try cluster.leader(group)
        }
        cluster.run(1_000)
        cluster.wire.resetCounts()
        cluster.run(5_000)
        // 100 ticks, two followers, a heartbeat and its answer.
        let frames = try #require(cluster.wire.frames[.messages])
        #expect(cluster.wire.groupMessages > 95 * 4 * Self.groups.count)
        #expect(frames < 110 * 4)
    }

    @Test func `a last heartbeat that was lost wakes the leader, and silence comes again`() throws {
        for seed: UInt64 in 1...10 {
            let cluster = try Cluster(seed: seed)
            var lost = 0
            cluster.wire.passes = { message, _ in
                guard case .heartbeat(let heartbeat) = message.message.body, heartbeat.quiesce,
                    lost < 3
                else { return true }
                lost += 1
                return false
            }
            try cluster.createGroup()
            let leader = try cluster.leader()
            #expect(cluster.run(5_000) { lost == 3 && self.isSilent(cluster) })
            #expect(cluster.readyLeader() === leader)
            #expect(leader.replica()?.info.term == cluster.nodes[1].replica()?.info.term)
        }
    }

    @Test func `a dead leader's silent groups have new ones within a second`() throws {
        for seed: UInt64 in 1...5 {
            let (cluster, leader) = try silentCluster(seed: seed)
            leader.cutPower()
            expectLeaders(cluster, within: 1_000) { $0 !== leader }
            for group in Self.groups { try cluster.write(group, "b", "2") }
        }
    }

    @Test func `a leader whose process restarts is replaced or leads again, and is not waited for`()
        throws
    {
        for seed: UInt64 in 1...5 {
            let (cluster, leader) = try silentCluster(seed: seed)
            try leader.restart()
            expectLeaders(cluster, within: 1_500) { _ in true }
            for group in Self.groups { try cluster.write(group, "b", "2") }
            try expectSilence(cluster)
        }
    }

    @Test func `a replica that is stopped while its node lives hands over`() throws {
        let (cluster, leader) = try silentCluster()
        for group in Self.groups { try leader.on(group) { $0?.stop() } }
        expectLeaders(cluster, within: 500) { $0 !== leader }
    }

    @Test func `a resignation that is lost is repeated`() throws {
        let (cluster, leader) = try silentCluster()
        var lost = 0
        cluster.wire.passes = { message, _ in
            guard case .timeoutNow = message.message.body, lost < 2 * Self.groups.count else {
                return true
            }
            lost += 1
            return false
        }
        for group in Self.groups { try leader.on(group) { $0?.stop() } }
        expectLeaders(cluster, within: 3_000) { $0 !== leader }
        #expect(lost == 2 * Self.groups.count)
    }

    @Test func `a group that is deleted is handed over to nobody`() throws {
        let (cluster, leader) = try silentCluster()
        var sent = 0
        cluster.wire.passes = { _, _ in
            sent += 1
            return true
        }
        for group in Self.groups { try leader.on(group) { $0?.stop(handsOver: false) } }
        cluster.run(3_000)
        #expect(sent == 0)
    }

    @Test func `silence survives a dead follower, which catches up when it is back`() throws {
        let (cluster, leader) = try silentCluster()
        let dead = cluster.nodes[2]
        dead.cutPower()
        cluster.run(2_000)
        try expectSilence(cluster)
        for group in Self.groups { try cluster.write(group, "b", "2") }
        try expectSilence(cluster)
        #expect(cluster.readyLeader() === leader)
        try dead.start()
        #expect(cluster.run(5_000) { Self.groups.allSatisfy { cluster.isWhole($0) } })
        for group in Self.groups { #expect(dead.values(group) == ["a": "1", "b": "2"]) }
        try expectSilence(cluster)
    }

    @Test func `a silent leader left without a majority stops leading`() throws {
        let (cluster, leader) = try silentCluster()
        cluster.nodes[1].cutPower()
        cluster.nodes[2].cutPower()
        let ended = cluster.run(2_000) {
            Self.groups.allSatisfy { leader.replica($0)?.isReadyLeader == false }
        }
        #expect(ended)
    }

    @Test func `a silent leader that is heard and hears nobody stops leading`() throws {
        let (cluster, leader) = try silentCluster()
        for node in cluster.nodes where node !== leader { cluster.wire.cut(leader.id, node.id) }
        // They hear nothing of it, and it hears them well.
        expectLeaders(cluster, within: 1_500) { $0 !== leader }
        cluster.wire.heal()
        #expect(cluster.run(5_000) { Self.groups.allSatisfy { cluster.isWhole($0) } })
    }

    @Test func `a silent leader nobody answers, whom they hear, is not followed for ever`() throws {
        let (cluster, leader) = try silentCluster()
        for node in cluster.nodes where node !== leader { cluster.wire.cut(node.id, leader.id) }
        let ended = cluster.run(2_000) {
            Self.groups.allSatisfy { leader.replica($0)?.isReadyLeader == false }
        }
        #expect(ended)
        expectLeaders(cluster, within: 3_000) { $0 !== leader }
    }

    @Test func `one follower cut off from the leader does not unseat it`() throws {
        let (cluster, leader) = try silentCluster()
        let terms = Self.groups.map { leader.replica($0)?.info.term }
        cluster.wire.cut(leader.id, cluster.nodes[1].id)
        cluster.wire.cut(cluster.nodes[1].id, leader.id)
        cluster.run(5_000)
        #expect(Self.groups.map { leader.replica($0)?.info.term } == terms)
        for group in Self.groups { #expect(leader.replica(group)?.isReadyLeader == true) }
        cluster.wire.heal()
        #expect(cluster.run(5_000) { Self.groups.allSatisfy { cluster.isWhole($0) } })
        #expect(Self.groups.map { leader.replica($0)?.info.term } == terms)
        try expectSilence(cluster)
    }

    @Test func `a follower that restarts is taken up again`() throws {
        let (cluster, leader) = try silentCluster()
        let terms = Self.groups.map { leader.replica($0)?.info.term }
        try cluster.nodes[1].restart()
        #expect(cluster.run(5_000) { Self.groups.allSatisfy { cluster.isWhole($0) } })
        #expect(Self.groups.map { leader.replica($0)?.info.term } == terms)
        try expectSilence(cluster)
    }

    @Test func `frames that were lost without a sign are asked after when the transport says so`()
        throws
    {
        let (cluster, leader) = try silentCluster()
        let woken = cluster.wire.groupMessages
        leader.dispatcher?.peerIsUnreachable(cluster.nodes[1].id)
        cluster.run(1_000)
        #expect(cluster.wire.groupMessages > woken)
        try expectSilence(cluster)
    }

    @Test func `a last heartbeat of a node that is not heard silences nobody`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        // No beats of the leader arrive, its messages do.
        for node in cluster.nodes { node.dispatcher?.follow([]) }
        cluster.run(100)
        for node in cluster.followers() {
            try node.on { replica in
                let info = replica?.info
                let heartbeat = Message.Heartbeat(commit: info?.commit ?? .zero, quiesce: true)
                replica?.step(
                    Message(
                        from: leader.id,
                        to: node.id,
                        term: info?.term ?? .zero,
                        body: .heartbeat(heartbeat)
                    )
                )
            }
        }
        cluster.run(200)
        for node in cluster.followers() { #expect(node.managers[0].awakeCount == 1) }
    }

    @Test func `a thousand groups elect anew in three seconds, few at a time`() throws {
        var config = RaftConfig()
        config.maxConcurrentElections = 16
        let cluster = try Cluster(config: config)
        let groups: ClosedRange<UInt64> = 1...1_000
        for group in groups {
            try cluster.createGroup(group)
            try cluster.nodes[0].on(group) { $0?.campaign() }
        }
        #expect(
            cluster.run(5_000) {
                cluster.simulation.steps % 256 == 0
                    && groups.allSatisfy { cluster.readyLeader($0) != nil }
            }
        )
        cluster.run(1_000)
        cluster.nodes[0].cutPower()
        var most = 0
        let done = cluster.run(3_000) {
            for node in cluster.nodes.dropFirst() {
                most = max(most, node.managers[0].runningElections)
            }
            return cluster.simulation.steps % 256 == 0
                && groups.allSatisfy { cluster.readyLeader($0) != nil }
        }
        #expect(done && most > 0 && most <= 16)
    }
}
