import Testing

@testable import Raft

/// What simulated runs have found, each as the shortest story that shows it.
@Suite struct SimulationFindings {
    private func plain(
        _ voters: Int,
        _ adjust: (inout RaftNode.Configuration) -> Void = { _ in }
    ) throws -> SimulatedCluster {
        try SimulatedCluster(voters: voters) { configuration in
            configuration.preVote = false
            configuration.checkQuorum = false
            adjust(&configuration)
        }
    }

    @Test func `a replica that lost entries says so only in a term it cannot forget`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        for _ in 0..<3 { cluster.propose(1) }
        cluster.stabilize()
        cluster.crash(2)
        cluster[2].disk.lose(from: LogIndex(3))
        try cluster[2].start(abstainUntil: LogIndex(5))
        cluster.invariants.forget(cluster[2])
        // The first it hears of a term is an append that does not match.
        let term = cluster.node(1).term
        let append = Message.Append(
            previousIndex: LogIndex(4),
            previousTerm: Term(2),
            entries: [],
            commit: LogIndex(4)
        )
        let message = Message(
            from: ReplicaID(3),
            to: ReplicaID(2),
            term: term.next,
            body: .append(append)
        )
        var node = cluster.node(2)
        try node.step(message)
        let ready = node.ready()
        #expect(ready.hardState?.term == term.next)
        #expect(ready.messages == [])
        #expect(ready.persistedMessages.contains { $0.body == .lostEntries(last: node.lastIndex) })
    }

    @Test func `candidates that cannot win do not put off the one that can`() throws {
        // 3 has the longest log and is in no hurry; 1 campaigns again and again.
        let cluster = try plain(3)
        cluster.elect(3)
        cluster.crash(2)
        cluster.isolate(1)
        for _ in 0..<3 { cluster.propose(3) }
        cluster.persist(3)
        cluster.crash(3)
        try cluster.restart(3)
        cluster.heal()
        cluster.with(1) { $0.setElectionTimeout(ticks: 10) }
        cluster.with(3) { $0.setElectionTimeout(ticks: 25) }
        for _ in 0..<40 where cluster.leader == nil {
            cluster.with(1) { $0.setElectionTimeout(ticks: 10) }
            cluster.with(3) { $0.setElectionTimeout(ticks: 25) }
            cluster.run(ticks: 1)
        }
        #expect(cluster.leader?.id == ReplicaID(3))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a replica comes back from entries whose hard state was not written`() throws {
        // The power failed between the entries of a Ready and its hard state.
        let log = MemoryLog()
        log.append([
            RaftEntry(index: LogIndex(1), term: Term(1), payload: .empty),
            RaftEntry(index: LogIndex(2), term: Term(3), payload: .empty),
        ])
        var node = try RaftNode(
            configuration: RaftNode.Configuration(id: ReplicaID(1), randomSeed: 1),
            log: log,
            hardState: HardState(term: Term(1), vote: ReplicaID(2), commit: LogIndex(1)),
            membership: Membership(voters: [ReplicaID(1), ReplicaID(2)])
        )
        #expect(node.term == Term(3))
        #expect(node.vote == nil)
        #expect(node.ready().hardState == HardState(term: Term(3), commit: LogIndex(1)))
    }

    @Test func `what a state machine has applied is committed, whatever the hard state says`()
        throws
    {
        let log = MemoryLog()
        for index in 1...3 {
            let index = LogIndex(UInt64(index))
            log.append([RaftEntry(index: index, term: Term(1), payload: .empty)])
        }
        func start(applied: UInt64) throws -> RaftNode {
            try RaftNode(
                configuration: RaftNode.Configuration(id: ReplicaID(1), randomSeed: 1),
                log: log,
                hardState: HardState(term: Term(1), commit: LogIndex(1)),
                membership: Membership(voters: [ReplicaID(1)]),
                applied: LogIndex(applied)
            )
        }
        #expect(try start(applied: 2).commit == LogIndex(2))
        #expect(throws: RaftConfigurationError.self) { try start(applied: 4) }
    }

    @Test func `reads are answered once their leader is the only voter left`() throws {
        let cluster = try plain(2)
        cluster.elect(1)
        // 2 agrees to its own removal, and is not heard from any more.
        cluster.propose(ConfigurationChange([.init(.removeReplica, ReplicaID(2))]), at: 1)
        cluster.persist(1)
        while let place = cluster.network.firstIndex(where: { $0.to == ReplicaID(2) }) {
            cluster.deliver(at: place)
            cluster.persist(2)
        }
        cluster.read(1)
        cluster.crash(2)
        cluster.stabilize()
        #expect(cluster.node(1).membership.voters == [ReplicaID(1)])
        #expect(cluster.answeredReads == 1)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a single voter answers reads while its configuration is joint`() throws {
        let cluster = try plain(1)
        cluster.elect(1)
        let change = ConfigurationChange(
            [.init(.addLearner, ReplicaID(2))],
            transition: .jointExplicit
        )
        cluster.propose(change, at: 1)
        cluster.stabilize()
        #expect(cluster.node(1).membership.isJoint)
        cluster.read(1)
        cluster.stabilize()
        #expect(cluster.answeredReads == 1)
    }

    /// Replica 2 of 1 and 2, a candidate that learns from a refusal that its own removal, in its
    /// log, is committed.
    private func candidateToBeRemoved() throws -> (cluster: SimulatedCluster, term: Term) {
        let cluster = try plain(2)
        cluster.elect(1)
        cluster.propose(ConfigurationChange([.init(.removeReplica, ReplicaID(2))]), at: 1)
        while !cluster.network.isEmpty { cluster.deliver(at: 0) }
        cluster.persist(2)
        cluster.crash(1)
        cluster.network.removeAll()
        cluster.campaign(2)
        cluster.persist(2)
        let term = cluster.node(2).term
        #expect(cluster.node(2).role == .candidate)
        let removal = Message.CommitPoint(index: cluster.node(2).lastIndex, term: Term(2))
        let refusal = Message(
            from: ReplicaID(3),
            to: ReplicaID(2),
            term: term,
            body: .voteResponse(granted: false, commit: removal)
        )
        cluster.with(2) { try? $0.step(refusal) }
        #expect(cluster.node(2).commit == removal.index)
        return (cluster, term)
    }

    private func grant(in term: Term) -> Message {
        Message(
            from: ReplicaID(1),
            to: ReplicaID(2),
            term: term,
            body: .voteResponse(granted: true, commit: nil)
        )
    }

    @Test func `a candidate that applies its own removal gives up`() throws {
        let (cluster, term) = try candidateToBeRemoved()
        while !cluster[2].applies.isEmpty { cluster.apply(2) }
        #expect(!cluster.node(2).membership.contains(ReplicaID(2)))
        cluster.with(2) { try? $0.step(grant(in: term)) }
        #expect(cluster.node(2).role == .follower)
    }

    @Test func `a candidate with a committed change to apply does not count the old majority`()
        throws
    {
        let (cluster, term) = try candidateToBeRemoved()
        cluster.with(2) { try? $0.step(grant(in: term)) }
        #expect(cluster.node(2).role == .follower)
    }

    @Test func `a change of membership in the log shows that the one before is committed`() throws {
        // The commit index was lost. Going by the voters of two changes ago, 1 would lead alone.
        let log = MemoryLog()
        let change = ConfigurationChange(
            [.init(.addVoter, ReplicaID(3)), .init(.removeReplica, ReplicaID(1))]
        )
        let payloads: [RaftPayload] = [
            .empty, change.encoded(), RaftPayload(copying: [7]),
            ConfigurationChange.leaveJoint.encoded(), RaftPayload(copying: [8]),
        ]
        for (place, payload) in payloads.enumerated() {
            log.append([
                RaftEntry(
                    index: LogIndex(UInt64(place + 1)),
                    term: Term(2),
                    kind: place % 2 == 1 ? .configuration : .normal,
                    payload: payload
                )
            ])
        }
        var configuration = RaftNode.Configuration(id: ReplicaID(1), randomSeed: 1)
        configuration.preVote = false
        func start() throws -> RaftNode {
            try RaftNode(
                configuration: configuration,
                log: log,
                hardState: HardState(term: Term(2), commit: LogIndex(1)),
                membership: Membership(voters: [ReplicaID(1)])
            )
        }
        var node = try start()
        #expect(node.commit == LogIndex(2))
        node.campaign()
        #expect(node.role == .follower, "it has a change to apply")
        let committed = node.ready().committedEntries
        node.onApplied(try #require(committed.last).index)
        #expect(node.membership.isJoint)
        node.campaign()
        let ready = node.ready()
        node.onPersisted(ready.number)
        #expect(node.role == .candidate, "it needs the vote of 3")
        // Whoever lets changes overlap draws no such conclusion.
        configuration.disableChangeValidation = true
        #expect(try start().commit == LogIndex(1))
    }

    @Test func `a leader of an earlier term hears of it from those that cannot campaign`() throws {
        let cluster = try SimulatedCluster(voters: 1, learners: 1) { configuration in
            configuration.preVote = false
            configuration.checkQuorum = false
        }
        cluster.elect(1)
        // A candidate that is gone by now has asked the learner for its vote.
        let request = Message.VoteRequest(lastIndex: LogIndex(9), lastTerm: Term(5))
        let vote = Message(
            from: ReplicaID(3),
            to: ReplicaID(2),
            term: Term(6),
            body: .vote(request)
        )
        cluster.with(2) { try? $0.step(vote) }
        #expect(cluster.node(2).term == Term(6))
        cluster.run(ticks: 60)
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.node(2).leader == ReplicaID(1))
        #expect(cluster.node(2).lastIndex == cluster.node(1).lastIndex)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a promise to a leader's lease outlives a restart`() throws {
        let cluster = try SimulatedCluster(voters: 3) { $0.readMode = .lease }
        cluster.run(ticks: 12)
        cluster.elect(1)
        cluster.run(ticks: 2)
        // 2 has just answered a heartbeat; it restarts, and 1 is cut off.
        cluster.crash(2)
        try cluster.restart(2)
        cluster.isolate(1)
        for _ in 0..<9 {
            cluster.campaign(3)
            cluster.tick(2)
            cluster.stabilize([2, 3])
        }
        #expect(cluster.node(3).role != .leader, "1 still answers reads alone")
        for _ in 0..<3 { cluster.tick(2) }
        cluster.elect(3)
        #expect(cluster.node(3).role == .leader)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `word of lost entries does not undo the search for where logs match`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(2)
        for _ in 0..<5 { cluster.propose(1) }
        cluster.stabilize()
        cluster.elect(1)
        cluster.heal()
        let term = cluster.node(1).term
        func hear(_ body: Message.Body) -> Int {
            let message = Message(from: ReplicaID(2), to: ReplicaID(1), term: term, body: body)
            cluster.network.removeAll()
            cluster.with(1) { try? $0.step(message) }
            return cluster.network.count { $0.to == ReplicaID(2) }
        }
        // It counts on three entries of 2, which has lost one of them: it looks again, once.
        #expect(hear(.appendResponse(Message.AppendResponse(index: LogIndex(3)))) >= 0)
        #expect(hear(.lostEntries(last: LogIndex(2))) == 1)
        // It counts on none now. Were it to look again with every answer, each of which brings
        // two more, the messages would double without end.
        #expect(hear(.lostEntries(last: LogIndex(2))) == 0)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `a replica that comes back does not act on the memberships of its past`() throws {
        // 3 led alone once, left, and is added again: the leader brings it its log piece by piece.
        let own = ReplicaID(3)
        func entry(
            _ index: UInt64,
            _ term: UInt64,
            _ step: ConfigurationChange.Step? = nil
        ) -> RaftEntry {
            RaftEntry(
                index: LogIndex(index),
                term: Term(term),
                kind: step == nil ? .normal : .configuration,
                payload: step.map { ConfigurationChange([$0]).encoded() } ?? .empty
            )
        }
        var node = try RaftNode(
            configuration: RaftNode.Configuration(id: own, randomSeed: 3),
            log: MemoryLog(),
            hardState: HardState(term: Term(5)),
            membership: Membership(),
            earlierEnd: LogPosition(term: Term(4), index: LogIndex(4))
        )
        @discardableResult
        func settle() -> [Message] {
            var messages: [Message] = []
            while node.hasReady {
                let ready = node.ready()
                messages += ready.messages + ready.persistedMessages
                node.onPersisted(ready.number)
                for entry in ready.committedEntries { node.onApplied(entry.index) }
            }
            return messages
        }
        func tell(_ entries: [RaftEntry], after index: UInt64, _ term: UInt64) throws {
            let last = LogIndex(index) + entries.count
            let append = Message.Append(
                previousIndex: LogIndex(index),
                previousTerm: Term(term),
                entries: entries,
                commit: last
            )
            try node.step(
                Message(from: ReplicaID(2), to: own, term: node.term, body: .append(append))
            )
            settle()
        }
        func vote(of last: UInt64, _ lastTerm: UInt64, in term: UInt64) throws -> Bool {
            let request = Message.VoteRequest(
                lastIndex: LogIndex(last),
                lastTerm: Term(lastTerm),
                isTransfer: true
            )
            try node.step(
                Message(from: ReplicaID(4), to: own, term: Term(term), body: .vote(request))
            )
            return settle().contains { $0.body == .voteResponse(granted: true, commit: nil) }
        }
        try tell([entry(1, 2, .init(.addVoter, own)), entry(2, 2)], after: 0, 0)
        #expect(node.membership.voters == [own] && node.applied == LogIndex(2))
        node.campaign()
        for _ in 0..<100 {
            node.tick()
            settle()
        }
        #expect(node.role == .follower && node.term == Term(5) && node.isCatchingUp)
        // Nor for another whose log ends where its own does now.
        #expect(try !vote(of: 2, 2, in: 6))
        #expect(try !vote(of: 3, 4, in: 7))
        #expect(try vote(of: 4, 4, in: 8))
        let left = [
            entry(3, 4, .init(.addVoter, ReplicaID(2))), entry(4, 4, .init(.removeReplica, own)),
        ]
        try tell(left, after: 2, 2)
        #expect(!node.isCatchingUp && node.membership.voters == [ReplicaID(2)])
    }

    @Test func `a candidate of an earlier term hears of the term it has missed`() throws {
        // 2 still goes by voters without 4: it campaigns in vain, and 4 hears nothing of that. But
        // 4 needs its vote, and always asks for it in a term that has passed.
        func start(_ id: UInt64, voters: [UInt64], term: UInt64, last: UInt64) throws -> RaftNode {
            let log = MemoryLog()
            for index in 1...last {
                log.append([RaftEntry(index: LogIndex(index), term: Term(1), payload: .empty)])
            }
            var configuration = RaftNode.Configuration(id: ReplicaID(id), randomSeed: id)
            configuration.preVote = false
            configuration.checkQuorum = false
            return try RaftNode(
                configuration: configuration,
                log: log,
                hardState: HardState(term: Term(term), commit: LogIndex(1)),
                membership: Membership(voters: voters.map { ReplicaID($0) }),
                applied: LogIndex(1)
            )
        }
        func settle(_ node: inout RaftNode) -> [Message] {
            var messages: [Message] = []
            while node.hasReady {
                let ready = node.ready()
                messages += ready.messages + ready.persistedMessages
                node.onPersisted(ready.number)
            }
            return messages
        }
        var old = try start(2, voters: [1, 2, 3], term: 9, last: 2)
        var new = try start(4, voters: [2, 4], term: 4, last: 5)
        for _ in 0..<2 {
            new.campaign()
            for request in settle(&new) {
                try old.step(request)
                for answer in settle(&old) { try new.step(answer) }
            }
        }
        #expect(new.role == .leader)
        #expect(new.term == Term(10))
    }
}
