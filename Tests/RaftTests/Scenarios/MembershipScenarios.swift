import Testing

@testable import Raft

/// Scenarios 36–38: groups that change.
@Suite struct MembershipScenarios {
    func change(
        _ steps: [(ConfigurationChange.Step.Kind, UInt64)],
        _ transition: ConfigurationChange.Transition = .automatic
    ) -> ConfigurationChange {
        ConfigurationChange(
            steps.map { .init($0.0, ReplicaID($0.1)) },
            transition: transition
        )
    }

    @Test(arguments: [ConfigurationChange.Transition.automatic, .jointImplicit, .jointExplicit])
    func `36 two are added and the leader removed, jointly`(
        transition: ConfigurationChange.Transition
    ) throws {
        let cluster = try SimulatedCluster(voters: 3, spare: 2)
        cluster.elect(1)
        #expect(
            cluster.propose(
                change([(.addVoter, 4), (.addVoter, 5), (.removeReplica, 1)], transition),
                at: 1
            )
        )
        cluster.stabilize()
        if transition == .jointExplicit {
            #expect(cluster.node(1).membership.isJoint)
            #expect(!cluster.node(1).membership.autoLeave)
            #expect(cluster.node(1).role == .leader, "still a voter of the outgoing set")
            #expect(!cluster.propose(change([(.addVoter, 1)]), at: 1))
            #expect(cluster.propose(.leaveJoint, at: 1))
            cluster.stabilize()
        }
        cluster.run(ticks: 60)
        let leader = try #require(cluster.leader)
        #expect(leader.id != ReplicaID(1))
        let expected = Membership(voters: [2, 3, 4, 5].map { ReplicaID($0) })
        for id in 2...5 { #expect(cluster.node(id).membership == expected, "replica \(id)") }
        #expect(cluster.invariants.violations == [])
    }

    @Test func `36b a joint commit needs both majorities`() throws {
        let cluster = try SimulatedCluster(voters: 3, spare: 3)
        cluster.elect(1)
        let steps: [(ConfigurationChange.Step.Kind, UInt64)] = [
            (.addVoter, 4), (.addVoter, 5), (.addVoter, 6), (.removeReplica, 2),
            (.removeReplica, 3),
        ]
        #expect(cluster.propose(change(steps, .jointExplicit), at: 1))
        cluster.stabilize()
        let commit = cluster.node(1).commit
        // The new set has its majority, the old one has not.
        cluster.partition([1, 4, 5, 6], from: [2, 3])
        let content = try #require(cluster.propose(1))
        cluster.stabilize()
        #expect(cluster.node(1).commit == commit)
        cluster.heal()
        cluster.run(ticks: 5)
        #expect(cluster.acknowledged[content] != nil)
        // The old set has its majority, the new one has not.
        cluster.partition([1, 2, 3], from: [4, 5, 6])
        let second = try #require(cluster.propose(1))
        cluster.run(ticks: 3)
        #expect(cluster.acknowledged[second] == nil)
        cluster.heal()
        cluster.run(ticks: 5)
        #expect(cluster.acknowledged[second] != nil)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `36c a successor leaves the joint configuration of a dead leader`() throws {
        let cluster = try SimulatedCluster(voters: 3, spare: 2)
        cluster.elect(1)
        cluster.propose(change([(.addVoter, 4), (.addVoter, 5)], .jointImplicit), at: 1)
        // Until all have applied the change, and the leader only begins to leave.
        for _ in 0..<1_000 where !cluster.node(2).membership.isJoint {
            for id in 1...5 {
                if !cluster[id].writes.isEmpty { cluster.persist(id) }
                if !cluster[id].applies.isEmpty && id != 1 { cluster.apply(id) }
            }
            if !cluster.network.isEmpty { cluster.deliver(at: 0) }
            if cluster.network.isEmpty { cluster.tick(1) }
        }
        #expect(cluster.node(2).membership.isJoint)
        cluster.crash(1)
        cluster.run(ticks: 100)
        let leader = try #require(cluster.leader)
        #expect(leader.node?.membership.isJoint == false)
        #expect(leader.node?.membership.voters.count == 5)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `37 a second change is refused while one is pending`() throws {
        let cluster = try SimulatedCluster(voters: 3, spare: 2)
        cluster.elect(1)
        #expect(cluster.propose(change([(.addLearner, 4)]), at: 1))
        cluster.with(1) { node in
            let pending = RaftProposalError.changePending(through: node.lastIndex)
            #expect(throws: pending) { try node.propose(change([(.addLearner, 5)])) }
        }
        cluster.stabilize()
        #expect(cluster.propose(change([(.addLearner, 5)]), at: 1))
        cluster.stabilize()
        #expect(cluster.node(1).membership.learners == [ReplicaID(4), ReplicaID(5)])
        #expect(cluster.invariants.violations == [])
    }

    @Test func `37b a new leader refuses changes until it knows of none`() throws {
        let cluster = try SimulatedCluster(voters: 3, spare: 1)
        cluster.elect(1)
        cluster.partition([1, 2], from: [3])
        cluster.propose(change([(.addLearner, 4)]), at: 1)
        while let place = cluster.network.firstIndex(where: { $0.to == ReplicaID(2) }) {
            cluster.deliver(at: place)
        }
        cluster.persist(2)
        cluster.crash(1)
        cluster.heal()
        cluster.network.removeAll()
        cluster.with(3) { $0.forgetLeader() }
        cluster.campaign(2)
        for _ in 0..<50 where cluster.node(2).role != .leader {
            for id in 2...3 where !cluster[id].writes.isEmpty { cluster.persist(id) }
            if !cluster.network.isEmpty { cluster.deliver(at: 0) }
        }
        #expect(cluster.node(2).role == .leader)
        #expect(!cluster.propose(change([(.addLearner, 3)]), at: 2), "it has one in its log")
        cluster.stabilize()
        #expect(cluster.node(2).membership.learners == [ReplicaID(4)])
        #expect(cluster.propose(change([(.removeReplica, 4)]), at: 2))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `38 a leader commits its own removal and steps down`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        #expect(cluster.propose(change([(.removeReplica, 1)]), at: 1))
        cluster.stabilize()
        #expect(cluster.node(1).role == .follower)
        #expect(!cluster.node(1).membership.isVoter(ReplicaID(1)))
        #expect(cluster.propose(1) == nil)
        cluster.run(ticks: 60)
        let leader = try #require(cluster.leader)
        #expect(leader.id != ReplicaID(1))
        let term = leader.node?.term
        // It cannot disturb the others, even if it never learnt of its removal.
        let request = Message.VoteRequest(lastIndex: LogIndex(99), lastTerm: Term(2))
        for id in 2...3 {
            cluster.with(id) { node in
                try? node.step(
                    Message(
                        from: ReplicaID(1),
                        to: node.id,
                        term: Term(50),
                        body: .vote(request)
                    )
                )
            }
        }
        cluster.campaign(1)
        cluster.run(ticks: 30)
        #expect(cluster.leader?.id == leader.id)
        #expect(cluster.leader?.node?.term == term)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `38b a learner that caught up is named for promotion and becomes a voter`() throws {
        let cluster = try SimulatedCluster(voters: 1, spare: 1)
        cluster.elect(1)
        cluster.propose(change([(.addLearner, 2)]), at: 1)
        cluster.isolate(2)
        for _ in 0..<10 { cluster.propose(1) }
        cluster.stabilize()
        #expect(cluster.node(1).status.promotableLearners(maxLag: 2) == [])
        #expect(cluster.node(1).commit == cluster.node(1).lastIndex, "a learner does not count")
        cluster.heal()
        cluster.run(ticks: 3)
        #expect(cluster.node(1).status.promotableLearners(maxLag: 2) == [ReplicaID(2)])
        cluster.propose(change([(.addVoter, 2)]), at: 1)
        cluster.stabilize()
        #expect(cluster.node(2).membership.voters == [ReplicaID(1), ReplicaID(2)])
        #expect(cluster.invariants.violations == [])
    }
}
