import Platform
import Raft
import Testing

@testable import RaftRuntime

/// A replica whose WAL is damaged neither votes nor counts until it is repaired.
@Suite(.timeLimit(.minutes(10))) struct DamagedClusterTests {
    private struct Outcome {
        var contradictions = 0
        var rivals = 0
        var abstained = 0
    }

    /// Plays how two replicas could outvote what is committed.
    ///
    /// One falls behind; the other acknowledges what the leader commits, and forgets part of it by
    /// damage to its disk. Then the leader is gone.
    private func play(_ seed: UInt64, _ plant: DamagedCluster.Plant) throws -> Outcome {
        var generator = SeededGenerator(seed: seed &+ 1)
        var outcome = Outcome()
        let cluster = try DamagedCluster(seed: seed, plant: plant)
        var roles = cluster.members
        for place in roles.indices.reversed() {
            roles.swapAt(place, generator.below(place + 1))
        }
        let (leader, victim, laggard) = (roles[0], roles[1], roles[2])
        cluster.campaign(leader)
        try #require(cluster.elect())
        for _ in 0..<1 + generator.below(4) { cluster.propose(1 + UInt64(generator.below(3))) }
        cluster.cutOff = [laggard]
        for _ in 0..<4 + generator.below(12) { cluster.propose(1 + UInt64(generator.below(3))) }
        if generator.chance(1, in: 2) { try cluster.start(victim) }
        cluster.run(2)
        let node = cluster.node(victim)
        node.damage(&generator)
        try cluster.start(victim)
        outcome.abstained = node.abstaining
        cluster.cutOff = [leader]
        for round in 0..<4 {
            cluster.campaign(round % 2 == 0 ? laggard : victim)
            cluster.run(25)
            for group: UInt64 in 1...3 { cluster.propose(group, 2) }
            // It stays careful however often it is started.
            if round == 1 { try cluster.start(victim) }
        }
        cluster.cutOff = []
        cluster.run(60)
        let isServing = cluster.elect()
        for group: UInt64 in 1...3 { cluster.propose(group, 2) }
        cluster.run(30)
        outcome.contradictions = cluster.contradictions
        outcome.rivals = cluster.rivals
        if plant == .none {
            #expect(isServing && cluster.isWhole, "seed \(seed)")
            #expect(node.abstaining == 0, "seed \(seed)")
            try cluster.start(victim)
            #expect(node.abstaining == 0, "seed \(seed)")
        }
        return outcome
    }

    @Test func `what was committed survives damage to a replica that acknowledged it`() throws {
        var abstained = 0
        for seed: UInt64 in 0..<40 {
            let outcome = try play(seed, .none)
            #expect(outcome.contradictions == 0 && outcome.rivals == 0, "seed \(seed)")
            if outcome.abstained > 0 { abstained += 1 }
        }
        #expect(abstained > 10)
    }

    @Test func `a replica that votes without what it acknowledged is caught`() throws {
        var caught = 0
        for seed: UInt64 in 0..<40 {
            let outcome = try play(seed, .votesWithoutItsEntries)
            if outcome.contradictions > 0 { caught += 1 }
        }
        print("votes without its entries: caught in \(caught) of 40 seeds")
        #expect(caught > 5)
    }

    @Test func `the other of two voters leads again after damage to the first`() throws {
        var damaged = 0
        for seed: UInt64 in 0..<20 {
            var generator = SeededGenerator(seed: seed)
            let cluster = try DamagedCluster(seed: seed, voters: 2)
            cluster.campaign(ReplicaID(1 + UInt64(generator.below(2))))
            try #require(cluster.elect())
            for group: UInt64 in 1...3 { cluster.propose(group, 1 + generator.below(9)) }
            cluster.run(2)
            let victim = cluster.nodes[generator.below(2)]
            victim.damage(&generator)
            try cluster.start(victim.id)
            if !victim.damage.isEmpty { damaged += 1 }
            cluster.run(60)
            #expect(cluster.elect(), "seed \(seed)")
            for group: UInt64 in 1...3 { cluster.propose(group, 2) }
            cluster.run(5)
            #expect(cluster.isWhole && cluster.contradictions == 0 && cluster.rivals == 0)
        }
        #expect(damaged > 5)
    }
}
