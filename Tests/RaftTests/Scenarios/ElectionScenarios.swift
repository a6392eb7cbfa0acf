import Testing

@testable import Raft

/// Scenarios 1–12: who may lead, and who may not be disturbed.
@Suite struct ElectionScenarios {
    /// The plain algorithm of the paper, without pre-vote and check-quorum.
    func plain(_ voters: Int, learners: Int = 0) throws -> SimulatedCluster {
        try SimulatedCluster(voters: voters, learners: learners) { configuration in
            configuration.preVote = false
            configuration.checkQuorum = false
        }
    }

    @Test func `1 a single voter leads without a network`() throws {
        let cluster = try SimulatedCluster(voters: 1)
        cluster.elect(1)
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.node(1).term == Term(2))
        #expect(cluster.node(1).applied == LogIndex(2))
        #expect(cluster.network.isEmpty)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `2 one of three voters is elected and its no-op is committed everywhere`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        for id in 1...3 {
            #expect(cluster.node(id).leader == ReplicaID(1))
            #expect(cluster.node(id).term == Term(2))
            #expect(cluster.node(id).applied == LogIndex(2))
        }
        #expect(cluster.invariants.violations == [])
    }

    @Test func `3 of duelling candidates the one with the newer log wins once healed`() throws {
        let cluster = try plain(3)
        cluster.partition([1], from: [3])
        cluster.campaign(1)
        cluster.campaign(3)
        cluster.stabilize()
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.node(3).role == .candidate)
        cluster.heal()
        // Its term is higher, its log is shorter: the leader steps down, and nobody votes for it.
        cluster.campaign(3)
        cluster.stabilize()
        #expect(cluster.node(1).role == .follower)
        #expect(cluster.node(3).role == .follower)
        cluster.elect(1)
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.node(3).lastIndex == cluster.node(1).lastIndex)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `4 a duelling pre-candidate raises no term`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.partition([1], from: [3])
        cluster.campaign(1)
        cluster.campaign(3)
        cluster.stabilize()
        #expect(cluster.node(1).role == .leader)
        let term = cluster.node(1).term
        cluster.heal()
        cluster.campaign(3)
        cluster.stabilize()
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.node(1).term == term)
        #expect(cluster.node(3).term <= term)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a campaign that asks nobody first spends a term and disturbs no leader`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.with(1) { $0.campaign(asksFirst: false) }
        #expect(cluster.node(1).role == .candidate && cluster.node(1).term == Term(2))
        cluster.stabilize()
        #expect(cluster.node(1).role == .leader && cluster.node(1).term == Term(2))
        cluster.with(3) { $0.campaign(asksFirst: false) }
        cluster.stabilize([2, 3])
        #expect(cluster.node(2).leader == ReplicaID(1) && cluster.node(2).term == Term(2))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `5 a voter votes once a term, over a restart too`() throws {
        let cluster = try plain(3)
        func request(from id: UInt64) -> Message {
            let body = Message.VoteRequest(lastIndex: LogIndex(9), lastTerm: Term(1))
            return Message(from: ReplicaID(id), to: ReplicaID(2), term: Term(5), body: .vote(body))
        }
        cluster.with(2) { try? $0.step(request(from: 1)) }
        cluster.persist(2)
        #expect(cluster.network.map(\.body) == [.voteResponse(granted: true)])
        cluster.network.removeAll()
        cluster.crash(2)
        try cluster.restart(2)
        cluster.with(2) { try? $0.step(request(from: 3)) }
        cluster.stabilize([2])
        #expect(cluster.network.map(\.grants) == [false])
        cluster.network.removeAll()
        cluster.with(2) { try? $0.step(request(from: 1)) }
        cluster.stabilize([2])
        #expect(cluster.network.map(\.body) == [.voteResponse(granted: true)])
        #expect(cluster.invariants.violations == [])
    }

    @Test(
        arguments: [
            (UInt64(1), UInt64(9), false), (2, 1, false), (2, 2, true), (2, 3, true), (3, 1, true),
        ]
    )
    func `6 only a log at least as new gets a vote`(
        lastTerm: UInt64,
        lastIndex: UInt64,
        granted: Bool
    ) throws {
        let cluster = try plain(3)
        cluster.elect(1)
        #expect(cluster.terms(2) == [2], "its log ends at 2 in term 2")
        let body = Message.VoteRequest(lastIndex: LogIndex(lastIndex), lastTerm: Term(lastTerm))
        cluster.with(2) { node in
            try? node.step(
                Message(from: ReplicaID(3), to: ReplicaID(2), term: Term(7), body: .vote(body))
            )
        }
        cluster.stabilize([2])
        #expect(cluster.network.map(\.grants) == [granted])
        #expect(cluster.invariants.violations == [])
    }

    @Test func `7 a stale replica that comes back does not disturb the leader`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1)
        cluster.run(ticks: 60)
        let term = cluster.node(1).term
        #expect(cluster.node(3).role != .leader)
        #expect(cluster.node(3).term == term, "pre-vote keeps the term")
        cluster.heal()
        cluster.run(ticks: 30)
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.node(1).term == term)
        #expect(cluster.node(3).lastIndex == cluster.node(1).lastIndex)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `8 a leader without a majority steps down and refuses proposals`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        let term = cluster.node(1).term
        cluster.isolate(1)
        for _ in 0..<(2 * cluster[1].configuration.electionTicks) { cluster.tick(1) }
        #expect(cluster.node(1).role == .follower)
        #expect(cluster.node(1).term == term)
        #expect(cluster.propose(1) == nil)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `9 a candidate is ignored while there is a leader, and heard after silence`() throws
    {
        let cluster = try SimulatedCluster(voters: 3) { $0.preVote = false }
        cluster.elect(1)
        let term = cluster.node(1).term
        cluster.campaign(3)
        cluster.stabilize()
        #expect(cluster.node(2).term == term, "no new term")
        cluster.isolate(1)
        for _ in 0..<cluster[2].configuration.electionTicks {
            cluster.with(2) { $0.setElectionTimeout(ticks: 1_000) }
            cluster.tick(2)
        }
        cluster.campaign(3)
        cluster.stabilize()
        #expect(cluster.node(3).role == .leader)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `10 a stuck candidate of a higher term is freed`() throws {
        let cluster = try SimulatedCluster(voters: 3) { $0.preVote = false }
        cluster.elect(1)
        cluster.isolate(3)
        for _ in 0..<3 { cluster.campaign(3) }
        cluster.stabilize()
        cluster.heal()
        #expect(cluster.node(3).term > cluster.node(1).term)
        // It ignores the leader's heartbeat, but answers it; the leader steps down, and with the
        // new term everybody moves on.
        cluster.run(ticks: 80)
        let leader = try #require(cluster.leader)
        #expect(leader.node?.term ?? .zero > Term(4))
        #expect(Set((1...3).map { cluster.node($0).term }).count == 1)
        let content = try #require(cluster.propose(Int(leader.id.rawValue)))
        cluster.stabilize()
        #expect(cluster.acknowledged[content] != nil)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `11 a group of which one has no pre-vote yet is never stuck`() throws {
        for without in 1...3 as ClosedRange<UInt64> {
            let cluster = try SimulatedCluster(voters: 3) { configuration in
                configuration.preVote = configuration.id.rawValue != without
            }
            cluster.elect(1)
            cluster.isolate(3)
            cluster.run(ticks: 50)
            cluster.heal()
            cluster.run(ticks: 80)
            let leader = try #require(cluster.leader)
            cluster.crash(Int(leader.id.rawValue))
            cluster.run(ticks: 80)
            #expect(cluster.leader != nil, "without pre-vote: \(without)")
            #expect(cluster.invariants.violations == [])
        }
    }

    @Test func `12 a learner never campaigns but votes when asked`() throws {
        let cluster = try plain(2, learners: 1)
        cluster.elect(1)
        for _ in 0..<100 { cluster.tick(3) }
        cluster.campaign(3)
        #expect(cluster.node(3).role == .follower)
        #expect(cluster.node(3).term == cluster.node(1).term)
        // To the candidate, whose membership is newer, it is a voter already.
        let last = cluster.node(2).lastIndex
        let request = Message.VoteRequest(lastIndex: last, lastTerm: Term(2))
        cluster.with(3) { node in
            try? node.step(
                Message(from: ReplicaID(2), to: ReplicaID(3), term: Term(3), body: .vote(request))
            )
        }
        cluster.stabilize([3])
        #expect(cluster.network.last?.body == .voteResponse(granted: true))
        #expect(cluster.invariants.violations == [])
    }
}

extension Message {
    /// What an answer to a request for a vote says.
    var grants: Bool? {
        switch body {
        case .voteResponse(let granted, _), .preVoteResponse(let granted, _): granted
        default: nil
        }
    }
}
