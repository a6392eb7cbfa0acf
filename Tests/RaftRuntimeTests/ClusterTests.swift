import Bytes
import Platform
import Raft
import Simulator
import Testing

@testable import RaftRuntime

/// Several nodes in one process and virtual time.
@Suite(.timeLimit(.minutes(10))) struct ClusterTests {
    @Test func `three replicas elect a leader and replicate`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        for number in 0..<20 { try cluster.write(1, "key \(number)", "\(number)") }
        #expect(cluster.run(2_000) { cluster.isWhole() })
        for node in cluster.nodes { #expect(node.values().count == 20) }
        #expect(cluster.followers().count == 2)
        for node in cluster.followers() {
            #expect(node.replica()?.info.leader == leader.id)
        }
        #expect(cluster.ledger.disagreements.isEmpty)
    }

    @Test(arguments: [0, 2])
    func `a commit is told at once, or with the next entries and soon when none follow`(
        delay: Int
    ) throws {
        var config = RaftConfig()
        config.commitDelayMilliseconds = delay
        let cluster = try Cluster(config: config)
        try cluster.createGroup()
        let leader = try cluster.leader()
        cluster.run(100)
        cluster.wire.resetCounts()
        let count = 200
        var done = 0
        for number in 0..<count {
            leader.propose(1, "\(number)", "") { if case .success = $0 { done += 1 } }
            cluster.run(100) { done > number }
        }
        // An append and its answer for each of two followers, and hardly anything else; or twice
        // as much.
        let expected = (delay == 0 ? 8 : 4) * count
        #expect((expected - 80...expected + 80).contains(cluster.wire.groupMessages))
        #expect(cluster.run(20) { cluster.isWhole() })
        #expect(done == count)
        let followers = cluster.followers()
        #expect(followers.count == 2)
        for node in followers { #expect(node.values().count == count) }
    }

    @Test func `a leader whose power fails is replaced within a second`() throws {
        for seed in 1...8 {
            let cluster = try Cluster(seed: UInt64(seed))
            try cluster.createGroup()
            let leader = try cluster.leader()
            try cluster.write(1, "before", "1")
            leader.cutPower()
            let start = cluster.simulation.clock.now
            _ = try cluster.leader()
            #expect(cluster.simulation.clock.now - start < .milliseconds(1_000), "seed \(seed)")
            try cluster.write(1, "after", "2")
            try leader.start()
            #expect(cluster.run(5_000) { cluster.isWhole() }, "seed \(seed)")
            #expect(leader.values() == ["before": "1", "after": "2"])
            #expect(cluster.ledger.disagreements.isEmpty)
        }
    }

    @Test func `nothing acknowledged is lost when all machines lose power at once`() throws {
        for seed in 1...8 {
            let cluster = try Cluster(seed: UInt64(seed))
            try cluster.createGroup()
            _ = try cluster.leader()
            var acknowledged: [String: String] = [:]
            for round in 0..<3 {
                for number in 0..<30 {
                    let (key, value) = ("\(round)-\(number)", "\(seed)")
                    cluster.readyLeader()?.propose(1, key, value) {
                        if case .success = $0 { acknowledged[key] = value }
                    }
                    cluster.run(1)
                }
                for node in cluster.nodes { node.cutPower() }
                for node in cluster.nodes { try node.start() }
                _ = try cluster.leader()
                #expect(cluster.run(5_000) { cluster.isWhole() })
                for (key, value) in acknowledged {
                    for node in cluster.nodes { #expect(node.values()[key] == value) }
                }
            }
            #expect(!acknowledged.isEmpty && cluster.ledger.disagreements.isEmpty)
        }
    }

    @Test func `a follower that was away catches up from the log`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        let away = try #require(cluster.followers().first)
        away.cutPower()
        for number in 0..<50 { try cluster.write(1, "\(number)", "v") }
        try away.start()
        #expect(cluster.run(5_000) { cluster.isWhole() })
        #expect(away.values().count == 50 && cluster.wire.snapshotBytes == 0)
        #expect(cluster.readyLeader() === leader)
    }

    @Test func `leadership goes where it is sent`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        let heir = try #require(cluster.followers().first)
        try leader.on { try $0?.transferLeadership(to: heir.id) }
        #expect(cluster.run(500) { heir.replica()?.isReadyLeader == true })
        try cluster.write(1, "a", "1")
        #expect(cluster.run(2_000) { cluster.isWhole() })
        #expect(throws: RaftError.rejected(.notAVoter(ReplicaID(9)))) {
            try heir.on { try $0?.transferLeadership(to: ReplicaID(9)) }
        }
    }

    @Test func `a leader that cannot sync ends, and another leads at once`() throws {
        let cluster = try Cluster()
        try cluster.createGroup(1)
        try cluster.createGroup(2)
        let leader = try cluster.leader()
        _ = try cluster.leader(2)
        try cluster.write(1, "a", "1")
        leader.disk.failure = { operation, _ in operation == .sync ? .inputOutput : nil }
        var answer: Result<ByteSlice, RaftError>?
        leader.propose(1, "b", "2") { answer = $0 }
        #expect(cluster.run(300) { answer != nil })
        if case .success = answer { Issue.record("acknowledged without a sync") }
        let start = cluster.simulation.clock.now
        #expect(cluster.run(1_000) { cluster.readyLeader().map { $0 !== leader } ?? false })
        // Its successor was told, and waits for no timeout.
        #expect(cluster.simulation.clock.now - start < .milliseconds(200))
        #expect(leader.failures.keys.sorted() == [1, 2] && leader.isSilenced)
        #expect(cluster.run(2_000) { cluster.readyLeader(2).map { $0 !== leader } ?? false })
        try cluster.write(1, "c", "3")
        leader.disk.failure = nil
        leader.cutPower()
        try leader.start()
        #expect(cluster.run(5_000) { cluster.isWhole() && cluster.isWhole(2) })
        #expect(cluster.ledger.disagreements.isEmpty)
    }

    // MARK: Reads

    @Test func `a read on any replica shows what was acknowledged before`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        _ = try cluster.leader()
        for number in 0..<20 {
            try cluster.write(1, "a", "\(number)")
            for node in cluster.nodes {
                var seen: String?
                try node.on { replica in
                    replica?.readIndex { result in
                        if case .success = result { seen = node.values()["a"] ?? "" }
                    }
                }
                #expect(cluster.run(1_000) { seen != nil })
                #expect(seen == "\(number)")
            }
        }
    }

    @Test func `reads by lease need no majority, and end with the lease`() throws {
        var config = RaftConfig()
        config.usesLeases = true
        config.quiesceTicks = 0
        let cluster = try Cluster(config: config)
        try cluster.createGroup()
        let leader = try cluster.leader()
        cluster.run(500)
        cluster.wire.isolate(leader.id, from: cluster.members)
        var answers: [Result<LogIndex, RaftError>] = []
        try leader.on { $0?.readIndex { answers.append($0) } }
        #expect(answers.count == 1)
        #expect(cluster.run(3_000) { cluster.readyLeader().map { $0 !== leader } ?? false })
        try cluster.write(1, "a", "1")
        try leader.on { $0?.readIndex { answers.append($0) } }
        cluster.run(7_000)
        #expect(answers.count == 2)
        if case .success = answers.last { Issue.record("a stale read") }
    }

    @Test func `a leader that was cut off answers no reads`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        cluster.wire.isolate(leader.id, from: cluster.members)
        var answer: Result<LogIndex, RaftError>?
        try leader.on { $0?.readIndex { answer = $0 } }
        #expect(cluster.run(3_000) { cluster.readyLeader().map { $0 !== leader } ?? false })
        #expect(answer == nil)
        #expect(cluster.run(1_000) { leader.replica()?.info.isLeader == false })
        #expect(cluster.run(6_000) { answer != nil })
        #expect(answer == .failure(.timedOut))
    }

    // MARK: Snapshots

    @Test func `a follower behind the log's start gets a snapshot, in pieces`() throws {
        var config = RaftConfig()
        config.snapshotChunkBytes = 100
        let cluster = try Cluster(config: config)
        try cluster.createGroup()
        let leader = try cluster.leader()
        let away = try #require(cluster.followers().first)
        away.cutPower()
        for number in 0..<50 { try cluster.write(1, "\(number)", "value") }
        try leader.compact()
        try cluster.write(1, "later", "value")
        try away.start()
        #expect(cluster.run(10_000) { cluster.isWhole() })
        #expect(away.values().count == 51)
        #expect(cluster.wire.snapshotBytes > 500)
        #expect((away.replica()?.storage.base.index ?? .zero) > LogIndex(50))
        // And it is there after the next power cut.
        away.cutPower()
        try away.start()
        #expect(cluster.run(5_000) { cluster.isWhole() })
        #expect(away.values().count == 51 && cluster.ledger.disagreements.isEmpty)
    }

    /// A cluster in which a snapshot is on its way to `away` that the other two could send.
    private static func sending() throws -> (
        Cluster, leader: SimulatedNode, away: SimulatedNode
    ) {
        var config = RaftConfig()
        config.snapshotChunkBytes = 1_000
        config.snapshotBytesPerSecond = 100_000
        let cluster = try Cluster(config: config)
        try cluster.createGroup()
        let leader = try cluster.leader()
        let away = try #require(cluster.followers().first)
        away.cutPower()
        for number in 0..<10 {
            try cluster.write(1, "\(number)", String(repeating: "v", count: 10_000))
        }
        let other = try #require(cluster.followers().first { $0 !== away })
        #expect(cluster.run(1_000) { other.values().count == 10 })
        for node in [leader, other] { try node.compact() }
        cluster.wire.resetCounts()
        try away.start()
        // A second's worth at the rate that is allowed.
        cluster.run(500)
        #expect(cluster.wire.snapshotBytes > 10_000 && cluster.wire.snapshotBytes < 70_000)
        return (cluster, leader, away)
    }

    @Test func `a snapshot goes on where a break left it`() throws {
        let (cluster, _, away) = try Self.sending()
        cluster.wire.isolate(away.id, from: cluster.members)
        cluster.run(800)
        cluster.wire.heal()
        #expect(cluster.run(10_000) { cluster.isWhole() })
        #expect(cluster.wire.snapshotBytes < 130_000)
        #expect(away.values().count == 10)
    }

    @Test func `a snapshot is not put together from those of two leaders`() throws {
        let (cluster, leader, away) = try Self.sending()
        leader.cutPower()
        #expect(cluster.run(10_000) { away.values().count == 10 })
        try leader.start()
        #expect(cluster.run(10_000) { cluster.isWhole() })
        #expect(away.failures.isEmpty && cluster.ledger.disagreements.isEmpty)
    }

    // MARK: Membership

    @Test func `a learner catches up and becomes a voter by itself`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        for number in 0..<20 { try cluster.write(1, "\(number)", "v") }
        let new = try cluster.addNode()
        try new.join(1)
        let change = ConfigurationChange([.init(.addLearner, new.id)])
        try leader.on { try $0?.proposeChange(change) }
        #expect(
            cluster.run(5_000) {
                cluster.nodes.allSatisfy { $0.replica()?.info.membership.voters.count == 4 }
            }
        )
        #expect(cluster.run(5_000) { cluster.isWhole() })
        #expect(new.values().count == 20)
    }

    @Test func `a leader that is removed steps down, and the others go on`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        let change = ConfigurationChange([.init(.removeReplica, leader.id)])
        try leader.on { try $0?.proposeChange(change) }
        #expect(cluster.run(3_000) { cluster.readyLeader().map { $0 !== leader } ?? false })
        #expect(leader.replica()?.info.isLeader == false)
        try cluster.write(1, "a", "1")
        let others = cluster.nodes.filter { $0 !== leader }
        #expect(cluster.run(2_000) { others.allSatisfy { $0.values() == ["a": "1"] } })
        for node in others { #expect(node.replica()?.info.membership.voters.count == 2) }
    }

    @Test func `one replica takes another's place in one joint change`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        for number in 0..<20 { try cluster.write(1, "\(number)", "v") }
        try leader.compact()
        let new = try cluster.addNode()
        try new.join(1)
        let old = try #require(cluster.followers().first { $0 !== new })
        let change = ConfigurationChange(
            [.init(.addVoter, new.id), .init(.removeReplica, old.id)],
            transition: .jointImplicit
        )
        try leader.on { try $0?.proposeChange(change) }
        let members = cluster.members.filter { $0 != old.id }
        #expect(
            cluster.run(5_000) {
                members.allSatisfy {
                    cluster.node($0).replica()?.info.membership == Membership(voters: members)
                }
            }
        )
        try old.on { $0?.stop() }
        #expect(cluster.run(5_000) { cluster.isWhole() })
        #expect(new.values().count == 20 && cluster.ledger.disagreements.isEmpty)
    }

    @Test func `memberships outlive a restart, and the log they came from`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        let gone = try #require(cluster.followers().first)
        let change = ConfigurationChange([.init(.removeReplica, gone.id)])
        try leader.on { try $0?.proposeChange(change) }
        #expect(cluster.run(2_000) { leader.replica()?.info.membership.voters.count == 2 })
        try cluster.write(1, "a", "1")
        for node in cluster.nodes where node !== gone { try node.compact() }
        cluster.run(100)
        try gone.on { $0?.stop() }
        for node in cluster.nodes { node.cutPower() }
        for node in cluster.nodes where node !== gone { try node.start() }
        _ = try cluster.leader()
        for node in cluster.nodes where node !== gone {
            #expect(node.replica()?.info.membership.voters.count == 2)
        }
        try cluster.write(1, "b", "2")
    }
}
