import Testing

@testable import Raft

/// Scenarios 13–22: logs become equal, and only what may be committed is.
@Suite struct ReplicationScenarios {
    func plain(
        _ voters: Int,
        _ adjust: (inout RaftNode.Configuration) -> Void = { _ in }
    ) throws -> SimulatedCluster {
        try SimulatedCluster(voters: voters) { configuration in
            configuration.preVote = false
            configuration.checkQuorum = false
            adjust(&configuration)
        }
    }

    /// Appends entries of these terms to a log that nobody has committed.
    func write(_ terms: [UInt64], to replica: SimulatedReplica) throws {
        var entries: [RaftEntry] = []
        for (place, term) in terms.enumerated() {
            let payload = RaftPayload(copying: [UInt8(term), UInt8(place)])
            entries.append(
                RaftEntry(index: LogIndex(UInt64(place) + 2), term: Term(term), payload: payload)
            )
        }
        var ready = Ready(number: 1)
        ready.entries = entries
        ready.hardState = HardState(term: Term(terms.max() ?? 1), commit: LogIndex(1))
        replica.restore(from: ready)
        try replica.start()
    }

    /// Figure 7 of the paper; index 1 of the figure is index 2 here.
    @Test func `13 all logs of figure 7 converge, with one rejection each`() throws {
        let cluster = try plain(7)
        let logs: [[UInt64]] = [
            [2, 2, 2, 5, 5, 6, 6, 7, 7, 7],
            [2, 2, 2, 5, 5, 6, 6, 7, 7],
            [2, 2, 2, 5],
            [2, 2, 2, 5, 5, 6, 6, 7, 7, 7, 7],
            [2, 2, 2, 5, 5, 6, 6, 7, 7, 7, 8, 8],
            [2, 2, 2, 5, 5, 5, 5],
            [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4],
        ]
        for (place, terms) in logs.enumerated() { try write(terms, to: cluster[place + 1]) }
        cluster.invariants = Invariants()
        cluster.with(1) { node in
            // Past the terms of the others.
            try? node.step(
                Message(
                    from: ReplicaID(2),
                    to: ReplicaID(1),
                    term: Term(8),
                    body: .voteResponse(granted: false)
                )
            )
        }
        cluster.campaign(1)
        var rejections: [ReplicaID: Int] = [:]
        for _ in 0..<1_000 {
            for id in 1...7 {
                while !cluster[id].writes.isEmpty { cluster.persist(id) }
                while !cluster[id].applies.isEmpty { cluster.apply(id) }
            }
            guard let message = cluster.network.first else { break }
            if case .appendResponse(let response) = message.body, response.rejection != nil {
                rejections[message.from, default: 0] += 1
            }
            cluster.deliver(at: 0)
        }
        #expect(cluster.node(1).role == .leader)
        let expected = logs[0] + [9]
        for id in 1...7 { #expect(cluster.terms(id) == expected, "replica \(id)") }
        #expect(rejections.values.allSatisfy { $0 == 1 }, "\(rejections)")
        #expect(cluster.invariants.violations == [])
    }

    /// Figure 8 of the paper.
    @Test func `14 an entry of an old term is not committed by counting`() throws {
        let cluster = try plain(5)
        // (b): replica 1 has an entry of term 2 at 2, replicated to 2 but not further.
        for id in [1, 2] { try write([2], to: cluster[id]) }
        try write([3], to: cluster[5])
        cluster.invariants = Invariants()
        cluster.with(1) { node in
            try? node.step(
                Message(
                    from: ReplicaID(2),
                    to: ReplicaID(1),
                    term: Term(3),
                    body: .voteResponse(granted: false)
                )
            )
        }
        cluster.partition([5], from: [1, 2, 3, 4])
        // (c): it leads again, in term 4, and brings the old entry to a majority; its own no-op
        // gets nowhere.
        cluster.campaign(1)
        for _ in 0..<100 {
            for id in 1...5 { while !cluster[id].writes.isEmpty { cluster.persist(id) } }
            guard let message = cluster.network.first else { break }
            if case .append(var append) = message.body, !append.entries.isEmpty {
                append.entries.removeAll { $0.term == Term(4) }
                cluster.network[0].body = .append(append)
            }
            cluster.deliver(at: 0)
        }
        #expect(cluster.node(1).role == .leader)
        #expect([1, 2, 3].allSatisfy { cluster.terms($0).first == 2 })
        #expect([1, 2].allSatisfy { cluster.node(1).status.peers[$0].match == LogIndex(2) })
        #expect(cluster.node(1).commit == LogIndex(1), "a majority has it, and it is not committed")
        // (e): with an entry of its own term it is.
        cluster.run(ticks: 3)
        #expect(cluster.node(1).commit == LogIndex(3))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `15 an uncommitted tail is overwritten`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(1)
        let lost = (0..<3).compactMap { _ in cluster.propose(1) }
        cluster.stabilize([1])
        cluster.elect(2)
        let kept = try #require(cluster.propose(2))
        cluster.stabilize()
        cluster.heal()
        cluster.run(ticks: 5)
        #expect(cluster.terms(1) == cluster.terms(2))
        #expect(cluster.acknowledged[kept] != nil)
        #expect(lost.allSatisfy { cluster.acknowledged[$0] == nil })
        cluster.checkClients()
        #expect(cluster.invariants.violations == [])
    }

    @Test func `16 repeated and reordered appends change nothing`() throws {
        let cluster = try plain(2) { $0.batchesAppends = false }
        cluster.elect(1)
        for _ in 0..<4 { cluster.propose(1) }
        let appends = cluster.network
        #expect(appends.count == 4)
        cluster.stabilize()
        let terms = cluster.terms(2)
        let last = cluster.node(2).lastIndex
        for message in appends.reversed() + appends {
            cluster.with(2) { try? $0.step(message) }
            #expect(cluster.node(2).lastIndex == last, "the matching suffix stays")
        }
        var match = cluster.node(1).status.peers[1].match
        while !cluster.network.isEmpty || !cluster[2].writes.isEmpty {
            if !cluster[2].writes.isEmpty { cluster.persist(2) }
            if !cluster.network.isEmpty { cluster.deliver(at: cluster.network.count - 1) }
            let now = cluster.node(1).status.peers[1].match
            #expect(now >= match)
            match = now
        }
        #expect(cluster.terms(2) == terms)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `17 a heartbeat never lets a follower commit what it has not`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(3)
        for _ in 0..<3 { cluster.propose(1) }
        cluster.stabilize()
        #expect(cluster.node(1).commit == LogIndex(5))
        cluster.heal()
        cluster.tick(1)
        let commits = cluster.network.compactMap { message -> LogIndex? in
            guard case .heartbeat(let heartbeat) = message.body else { return nil }
            return message.to == ReplicaID(3) ? heartbeat.commit : nil
        }
        #expect(commits == [LogIndex(2)])
        let last = cluster.node(3).lastIndex
        let message = Message(
            from: ReplicaID(1),
            to: ReplicaID(3),
            term: cluster.node(1).term,
            body: .heartbeat(Message.Heartbeat(commit: LogIndex(99)))
        )
        cluster.with(3) { node in
            #expect(throws: RaftStepError.commitBeyondLog(commit: LogIndex(99), last: last)) {
                try node.step(message)
            }
        }
        #expect(cluster.node(3).commit == LogIndex(2))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `18 what a cut-off leader accepts stays uncommitted and is discarded`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(1)
        let content = try #require(cluster.propose(1))
        cluster.stabilize()
        #expect(cluster.node(1).commit == LogIndex(2))
        cluster.run(ticks: 60)
        #expect(cluster.node(1).role != .leader)
        let leader = try #require(cluster.leader)
        cluster.propose(Int(leader.id.rawValue))
        cluster.stabilize()
        cluster.heal()
        cluster.run(ticks: 40)
        #expect(cluster.acknowledged[content] == nil)
        #expect(cluster.terms(1) == cluster.terms(Int(leader.id.rawValue)))
        cluster.checkClients()
        #expect(cluster.invariants.violations == [])
    }

    @Test(arguments: [true, false])
    func `19 a silent follower gets no more than the window`(byCount: Bool) throws {
        let cluster = try plain(3) { configuration in
            configuration.batchesAppends = false
            configuration.maxInflightMessages = byCount ? 3 : 1_000
            configuration.maxInflightBytes = byCount ? 1 << 20 : 3 * 24
        }
        cluster.elect(1)
        cluster.isolate(3)
        for _ in 0..<10 {
            cluster.propose(1)
            cluster.stabilize([1, 2])
        }
        let silent = cluster.node(1).status.peers[2]
        #expect(silent.inflightMessages == 3)
        #expect(silent.isPaused)
        #expect(cluster.node(1).commit == LogIndex(12), "the others are not held up")
        cluster.heal()
        // The window was lost; a heartbeat's answer finds out.
        cluster.run(ticks: 3)
        #expect(cluster.terms(3) == cluster.terms(1))
        #expect(cluster.node(1).status.peers[2].inflightMessages == 0)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `20 proposals without a majority are bounded`() throws {
        let cluster = try plain(3) { $0.maxUncommittedBytes = 20 }
        cluster.elect(1)
        cluster.isolate(1)
        cluster.with(1) { node in
            // One that is larger than the limit must get through some time.
            #expect(throws: Never.self) {
                try node.propose(RaftPayload(copying: Array(repeating: 0, count: 100)))
            }
            #expect(throws: RaftProposalError.tooManyUncommittedBytes(100)) {
                try node.propose(RaftPayload(copying: [1]))
            }
            #expect(throws: Never.self) { try node.propose(.empty) }
        }
        cluster.heal()
        cluster.run(ticks: 3)
        #expect(cluster.node(1).status.uncommittedBytes == 0)
        #expect(cluster.propose(1) != nil)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `21 a backlog is handed out in bounded pages without a gap`() throws {
        for restarts in [false, true] {
            let cluster = try plain(1) { $0.maxCommittedBytesPerReady = 3 * 24 }
            cluster.elect(1)
            for _ in 0..<20 { cluster.propose(1) }
            while !cluster[1].writes.isEmpty { cluster.persist(1) }
            if restarts {
                cluster.crash(1)
                try cluster.restart(1)
                cluster.campaign(1)
                while !cluster[1].writes.isEmpty { cluster.persist(1) }
            }
            var applied: [LogIndex] = []
            while let page = cluster[1].applies.first {
                // All that is out and not applied counts; the last may go over by one entry.
                let out = cluster[1].applies.joined().reduce(0) { $0 + $1.byteCount }
                #expect(out < 4 * 24)
                applied += page.map(\.index)
                cluster.apply(1)
            }
            let first = restarts ? UInt64(2) : 3
            let expected = (first...cluster.node(1).lastIndex.rawValue).map(LogIndex.init)
            #expect(applied == expected)
            #expect(cluster.invariants.violations == [])
        }
    }

    @Test func `22 probing ends with a heartbeat, without a new proposal`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.with(1) { $0.reportUnreachable(ReplicaID(2)) }
        #expect(cluster.node(1).status.peers[1].state == .probe)
        cluster.tick(1)
        cluster.stabilize()
        #expect(cluster.node(1).status.peers[1].state == .replicate)
        #expect(cluster.invariants.violations == [])
    }
}
