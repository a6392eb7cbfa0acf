import Testing

@testable import Raft

/// Scenarios 39 and 40: leadership handed over, and reads that are never stale.
@Suite struct TransferAndReadScenarios {
    func transfer(_ cluster: SimulatedCluster, to id: UInt64, at leader: Int = 1) {
        cluster.with(leader) { node in
            #expect(throws: Never.self) { try node.transferLeadership(to: ReplicaID(id)) }
        }
    }

    @Test func `39 leadership goes to an up-to-date replica, through the lease`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        transfer(cluster, to: 2)
        cluster.stabilize()
        #expect(cluster.node(2).role == .leader)
        #expect(cluster.node(1).leader == ReplicaID(2))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `39b a slow replica catches up first`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(3)
        for _ in 0..<3 { cluster.propose(1) }
        cluster.stabilize()
        cluster.heal()
        transfer(cluster, to: 3)
        cluster.stabilize()
        cluster.run(ticks: 2)
        #expect(cluster.node(3).role == .leader)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `39c a dead replica does not get it, and proposals go on`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.crash(3)
        transfer(cluster, to: 3)
        cluster.with(1) { node in
            #expect(throws: RaftProposalError.transferInProgress(to: ReplicaID(3))) {
                try node.propose(.empty)
            }
        }
        cluster.run(ticks: cluster[1].configuration.electionTicks)
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.propose(1) != nil)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `39d a removed replica does not get it`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1)
        cluster.propose(ConfigurationChange([.init(.removeReplica, ReplicaID(3))]), at: 1)
        transfer(cluster, to: 3)
        cluster.stabilize()
        #expect(cluster.node(1).status.transferee == nil)
        #expect(cluster.propose(1) != nil)
        cluster.with(1) { node in
            #expect(throws: RaftProposalError.notAVoter(ReplicaID(3))) {
                try node.transferLeadership(to: ReplicaID(3))
            }
        }
        #expect(cluster.invariants.violations == [])
    }

    @Test func `39e a follower passes the wish on, and a second one replaces the first`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(1)
        transfer(cluster, to: 3)
        transfer(cluster, to: 2, at: 2)
        cluster.stabilize()
        #expect(cluster.node(2).role == .leader)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `39f a request to take over that is lost is made again`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.stabilize()
        transfer(cluster, to: 2)
        cluster.network.removeAll { message in
            if case .timeoutNow = message.body { return true }
            return false
        }
        cluster.stabilize()
        #expect(cluster.node(1).role == .leader)
        cluster.run(ticks: cluster[1].configuration.heartbeatTicks)
        #expect(cluster.node(2).role == .leader)
        #expect(cluster.invariants.violations == [])
    }

    // MARK: - Reads

    @Test func `40 a new leader answers no read before it has committed in its term`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1)
        cluster.stabilize()
        cluster.crash(1)
        for id in 2...3 { cluster.with(id) { $0.forgetLeader() } }
        cluster.campaign(2)
        for _ in 0..<50 where cluster.node(2).role != .leader {
            for id in 2...3 where !cluster[id].writes.isEmpty { cluster.persist(id) }
            if !cluster.network.isEmpty { cluster.deliver(at: 0) }
        }
        #expect(cluster.node(2).role == .leader)
        cluster.read(2)
        cluster.tick(2)
        // Heartbeats are answered, but the no-op's write hangs.
        while let place = cluster.network.firstIndex(where: { message in
            if case .append = message.body { return false }
            return true
        }) {
            cluster.deliver(at: place)
            if !cluster[3].writes.isEmpty { cluster.persist(3) }
        }
        #expect(cluster.answeredReads == 0)
        cluster.stabilize()
        #expect(cluster.answeredReads == 1)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `40b a cut-off leader never answers`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(1)
        cluster.read(1)
        cluster.stabilize()
        for id in 2...3 { cluster.with(id) { $0.forgetLeader() } }
        cluster.elect(2)
        cluster.propose(2)
        cluster.stabilize()
        cluster.read(1)
        cluster.run(ticks: 5)
        #expect(cluster.answeredReads == 0)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `40c late and repeated answers never confirm a later read`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.with(1) { try? $0.readIndex(context: 7) }
        let rounds = cluster.network
        #expect(rounds.count == 2)
        for _ in 0..<2 { cluster.deliver(at: 0) }
        let answers = cluster.network
        #expect(answers.count == 2)
        cluster.network.removeAll()
        // The same context again, as a client that retries: a round of its own.
        cluster.with(1) { node in
            try? node.readIndex(context: 7)
            for answer in answers { try? node.step(answer) }
            #expect(node.readStates.count == 1, "the first read only")
            for answer in answers + answers { try? node.step(answer) }
            #expect(node.readStates.count == 1)
        }
        cluster.stabilize()
        #expect(cluster.invariants.violations == [])
    }

    @Test func `40d reads of one turn share one round of heartbeats`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.with(1) { node in
            for context in 0..<100 as Range<UInt64> { try? node.readIndex(context: context) }
        }
        #expect(cluster.network.count == 2)
        let round = cluster.network
        cluster.network.removeAll()
        cluster.network = round
        for _ in 0..<2 { cluster.deliver(at: 0) }
        cluster.with(1) { node in
            for message in cluster.network { try? node.step(message) }
            #expect(node.readStates.count == 100)
        }
    }

    @Test func `40e a follower asks its leader`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1)
        cluster.stabilize()
        cluster.read(3)
        cluster.stabilize()
        #expect(cluster.answeredReads == 1)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `40f a lease answers alone, but not after the clock stood still`() throws {
        let cluster = try SimulatedCluster(voters: 3) { $0.readMode = .lease }
        // A replica that starts keeps what it may have promised before.
        cluster.run(ticks: 10)
        cluster.elect(1)
        cluster.run(ticks: 2)
        cluster.read(1)
        #expect(cluster.answeredReads == 1)
        #expect(cluster.network.isEmpty)
        cluster.with(1) { $0.onClockStall() }
        cluster.read(1)
        #expect(cluster.answeredReads == 1)
        cluster.stabilize()
        #expect(cluster.answeredReads == 2)
        // Without answers it runs out.
        cluster.run(ticks: 2)
        cluster.isolate(1)
        for _ in 0..<cluster[1].configuration.electionTicks - 1 { cluster.tick(1) }
        cluster.read(1)
        cluster.stabilize()
        #expect(cluster.answeredReads == 2)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `40g no lease while or after leadership is handed over`() throws {
        let cluster = try SimulatedCluster(voters: 3) { $0.readMode = .lease }
        // A replica that starts keeps what it may have promised before.
        cluster.run(ticks: 10)
        cluster.elect(1)
        cluster.run(ticks: 2)
        transfer(cluster, to: 2)
        cluster.partition([1], from: [2, 3])
        cluster.with(1) { $0.abortTransfer() }
        cluster.read(1)
        #expect(cluster.answeredReads == 0)
        cluster.heal()
        cluster.stabilize()
        #expect(cluster.invariants.violations == [])
    }
}
