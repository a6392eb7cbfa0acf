import Testing

@testable import Raft

/// Scenarios 23–30: nothing is said before the disk holds what it promises.
@Suite struct DurabilityScenarios {
    func plain(_ voters: Int) throws -> SimulatedCluster {
        try SimulatedCluster(voters: voters) { configuration in
            configuration.preVote = false
            configuration.checkQuorum = false
        }
    }

    func append(
        _ terms: [UInt64],
        after previous: (index: UInt64, term: UInt64),
        in term: UInt64,
        from leader: UInt64
    ) -> Message {
        let entries = terms.enumerated().map { place, term in
            RaftEntry(
                index: LogIndex(previous.index + UInt64(place) + 1),
                term: Term(term),
                payload: RaftPayload(copying: [UInt8(term)])
            )
        }
        let body = Message.Append(
            previousIndex: LogIndex(previous.index),
            previousTerm: Term(previous.term),
            entries: entries,
            commit: LogIndex(1)
        )
        return Message(
            from: ReplicaID(leader),
            to: ReplicaID(1),
            term: Term(term),
            body: .append(body)
        )
    }

    @Test func `23 the late end of an overwritten write makes nothing stable`() throws {
        let log = MemoryLog()
        let ids = [1, 2, 3].map { ReplicaID($0) }
        let start = SnapshotMetadata(
            index: LogIndex(1),
            term: Term(1),
            membership: Membership(voters: ids)
        )
        log.install(Snapshot(metadata: start, payload: .empty))
        var node = try RaftNode(
            configuration: RaftNode.Configuration(id: ReplicaID(1), randomSeed: 1),
            log: log,
            hardState: HardState(term: Term(1), commit: LogIndex(1)),
            membership: start.membership,
            applied: LogIndex(1)
        )
        // Term 2 at 2 and 3; overwritten by term 3 at 2; overwritten by term 2's leader come back
        // in term 4, with the very same index again.
        try node.step(append([2, 2], after: (1, 1), in: 2, from: 2))
        let first = node.ready()
        try node.step(append([3], after: (1, 1), in: 3, from: 3))
        let second = node.ready()
        try node.step(append([4, 4], after: (1, 1), in: 4, from: 2))
        let third = node.ready()
        #expect([first, second, third].map(\.entries.count) == [2, 1, 2])
        node.onPersisted(first.number)
        #expect(node.status.stableIndex == LogIndex(1))
        node.onPersisted(second.number)
        #expect(node.status.stableIndex == LogIndex(1))
        log.write(first)
        log.write(second)
        log.write(third)
        node.onPersisted(third.number)
        #expect(node.status.stableIndex == LogIndex(3))
        // Each acknowledgement went with its own write.
        #expect(first.messages.isEmpty && second.messages.isEmpty && third.messages.isEmpty)
        #expect(third.persistedMessages.count == 1)
    }

    @Test(arguments: [1, 3])
    func `24 power fails between append and sync, at every point`(voters: Int) throws {
        for point in 0..<40 {
            for keep in 0..<3 {
                let cluster = try plain(voters)
                cluster.elect(1)
                var steps = 0
                // The same steps each time, cut off at one more.
                for _ in 0..<4 { cluster.propose(1) }
                crash: for _ in 0..<50 {
                    for id in 1...voters {
                        if steps >= point { break crash }
                        steps += 1
                        if !cluster[id].writes.isEmpty { cluster.persist(id) }
                        if !cluster.network.isEmpty { cluster.deliver(at: 0) }
                        if !cluster[id].applies.isEmpty { cluster.apply(id) }
                    }
                }
                for id in 1...voters { cluster.crash(id, keeping: keep) }
                cluster.network.removeAll()
                for id in 1...voters { try cluster.restart(id) }
                cluster.run(ticks: 60)
                let leader = try #require(cluster.leader)
                let content = try #require(cluster.propose(Int(leader.id.rawValue)))
                cluster.run(ticks: 3)
                #expect(cluster.acknowledged[content] != nil)
                cluster.checkClients()
                #expect(cluster.invariants.violations == [], "point \(point) keeping \(keep)")
            }
        }
    }

    @Test func `25 a term is durable before its entries, in one write`() throws {
        let cluster = try plain(3)
        cluster.with(1) { node in
            try? node.step(append([3], after: (1, 1), in: 3, from: 2))
        }
        let ready = try #require(cluster[1].writes.first)
        #expect(ready.hardState?.term == Term(3))
        #expect(ready.entries.map(\.term) == [Term(3)])
        #expect(ready.mustSync)
        cluster.crash(1)
        try cluster.restart(1)
        #expect(cluster.node(1).term == Term(1))
        #expect(cluster.node(1).lastIndex == LogIndex(1))
        // A disk that has the entries and not the term: no vote in it was ever promised.
        let log = MemoryLog()
        log.append([RaftEntry(index: LogIndex(1), term: Term(3), payload: .empty)])
        let node = try RaftNode(
            configuration: RaftNode.Configuration(id: ReplicaID(1), randomSeed: 1),
            log: log,
            hardState: HardState(term: Term(2), vote: ReplicaID(2)),
            membership: Membership(voters: [ReplicaID(1)])
        )
        #expect(node.term == Term(3))
        #expect(node.vote == nil)
    }

    @Test func `26 without word from the disk nothing is ever acknowledged`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        let content = try #require(cluster.propose(1))
        // The disks of 1 and 2 fail for good: their writes never end.
        for _ in 0..<50 {
            for id in 1...3 { cluster.tick(id) }
            while !cluster.network.isEmpty { cluster.deliver(at: 0) }
            if !cluster[3].writes.isEmpty { cluster.persist(3) }
            if !cluster[3].applies.isEmpty { cluster.apply(3) }
        }
        #expect(cluster.acknowledged[content] == nil)
        #expect(cluster.invariants.highestCommit == LogIndex(2))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `27 a replica that lost entries abstains until they are committed again`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(3)
        let content = try #require(cluster.propose(1))
        cluster.stabilize()
        #expect(cluster.acknowledged[content] == LogIndex(3))
        // 2 loses the entry it has acknowledged. With 3, which never had it, it must not elect
        // anybody.
        cluster.crash(1)
        cluster.crash(2)
        cluster.heal()
        cluster[2].disk.lose(from: LogIndex(3))
        try cluster[2].start(abstainUntil: LogIndex(3))
        cluster.invariants.forget(cluster[2])
        #expect(cluster.node(2).isAbstaining)
        cluster.run(ticks: 100)
        #expect(cluster.leader == nil)
        try cluster.restart(1)
        cluster.run(ticks: 100)
        #expect(cluster.leader?.id == ReplicaID(1))
        #expect(!cluster.node(2).isAbstaining)
        #expect(cluster.terms(2) == cluster.terms(1))
        cluster.checkClients()
        #expect(cluster.invariants.violations == [])
    }

    @Test func `27b a leader that counts on lost entries sends them again`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        for _ in 0..<3 { cluster.propose(1) }
        cluster.stabilize()
        cluster.crash(2)
        cluster[2].disk.lose(from: LogIndex(3))
        try cluster[2].start(abstainUntil: LogIndex(5))
        cluster.invariants.forget(cluster[2])
        cluster.run(ticks: 5)
        #expect(cluster.node(1).role == .leader)
        #expect(cluster.terms(2) == cluster.terms(1))
        #expect(!cluster.node(2).isAbstaining)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `27c a replica that knows only its terms abstains until a later one commits`() throws
    {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(3)
        let content = try #require(cluster.propose(1))
        cluster.stabilize()
        #expect(cluster.acknowledged[content] == LogIndex(3))
        let fence = cluster.node(1).term.next
        cluster.crash(1)
        cluster.crash(2)
        cluster.heal()
        cluster[2].disk.lose(from: LogIndex(3))
        try cluster[2].start(abstainUntilTerm: fence)
        cluster.invariants.forget(cluster[2])
        cluster.run(ticks: 100)
        #expect(cluster.leader == nil && cluster.node(2).isAbstaining)
        try cluster.restart(1)
        cluster.run(ticks: 200)
        #expect(cluster.leader?.id == ReplicaID(1))
        #expect(cluster.node(1).term >= fence)
        #expect(!cluster.node(2).isAbstaining)
        #expect(cluster.terms(2) == cluster.terms(1))
        cluster.checkClients()
        #expect(cluster.invariants.violations == [])
    }

    @Test func `28 a restart goes on from snapshot and log`() throws {
        let cluster = try plain(1)
        cluster.elect(1)
        for _ in 0..<6 { cluster.propose(1) }
        cluster.stabilize()
        cluster[1].compact(keeping: 2)
        let index = cluster[1].machine.index
        cluster.propose(1)
        cluster.persist(1)
        cluster.crash(1)
        try cluster.restart(1)
        #expect(cluster.node(1).applied == index)
        #expect(cluster.node(1).firstIndex == index - 1)
        #expect(cluster.node(1).membership == Membership(voters: [ReplicaID(1)]))
        #expect(cluster.node(1).term == Term(2))
        cluster.elect(1)
        #expect(cluster.node(1).applied == cluster.node(1).lastIndex)
        cluster.checkClients()
        #expect(cluster.invariants.violations == [])
    }

    @Test func `29 a leader whose disk hangs hands over`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        let content = try #require(cluster.propose(1))
        // Its disk takes nothing any more, but it replicates all the same.
        for _ in 0..<20 {
            while !cluster.network.isEmpty { cluster.deliver(at: 0) }
            for id in 2...3 where !cluster[id].writes.isEmpty { cluster.persist(id) }
        }
        #expect(cluster.node(1).commit == LogIndex(3), "the others are a majority")
        cluster.with(1) { try? $0.transferLeadership(to: ReplicaID(2)) }
        cluster.stabilize([2, 3])
        #expect(cluster.node(2).role == .leader)
        cluster.run(ticks: 3)
        #expect(cluster[2].machine.index >= LogIndex(3))
        #expect(cluster[2].machine == cluster[3].machine)
        #expect(cluster.proposed[content] != nil)
        cluster.checkClients()
        #expect(cluster.invariants.violations == [])
    }

    @Test func `30 a wiped replica neither votes nor acknowledges what it lost`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(3)
        let content = try #require(cluster.propose(1))
        cluster.stabilize()
        #expect(cluster.acknowledged[content] != nil)
        // 2 comes back with an empty disk under its old id, and the caller knows.
        cluster.crash(2)
        let empty = try SimulatedReplica(
            configuration: cluster[2].configuration,
            membership: Membership()
        )
        try empty.start(abstainUntil: LogIndex(3))
        cluster.replace(2, with: empty)
        cluster.crash(1)
        cluster.heal()
        cluster.run(ticks: 100)
        #expect(cluster.leader == nil, "3 alone must not lead with a wiped 2")
        try cluster.restart(1)
        cluster[1].compact()
        cluster.run(ticks: 100)
        #expect(cluster.leader?.id == ReplicaID(1))
        #expect(cluster[2].machine == cluster[1].machine)
        cluster.checkClients()
        #expect(cluster.invariants.violations == [])
    }
}
