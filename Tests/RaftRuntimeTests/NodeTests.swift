import Bytes
import Platform
import Raft
import Simulator
import Testing
import WriteAheadLog

@testable import RaftRuntime

/// What belongs to a node rather than to one group.
@Suite(.timeLimit(.minutes(10))) struct NodeTests {
    @Test func `each setting that cannot be is refused by its name`() throws {
        try RaftConfig().validate()
        func key(_ change: (inout RaftConfig) -> Void) -> String? {
            var config = RaftConfig()
            change(&config)
            do {
                try config.validate()
                return nil
            } catch {
                return error.key
            }
        }
        #expect(key { $0.tickMilliseconds = 0 } == "tickMilliseconds")
        #expect(key { $0.electionTicks = 1 } == "electionTicks")
        #expect(key { $0.heartbeatTicks = 4 } == "electionTicks")
        #expect(key { $0.quiesceTicks = -1 } == "quiesceTicks")
        #expect(key { $0.maxConcurrentElections = 0 } == "maxConcurrentElections")
        #expect(key { $0.snapshotBytesPerSecond = 0 } == "snapshotBytesPerSecond")
        #expect(key { $0.maxSnapshotsSent = 0 } == "maxSnapshotsSent")
        let error = RaftConfigError(key: "quiesceTicks", reason: "-1 is not within 0 and 9")
        #expect("\(error)" == "raft setting quiesceTicks: -1 is not within 0 and 9")
    }

    @Test func `groups of several loops share the node's beats, and frames find their loop`() throws
    {
        let cluster = try Cluster(loops: 3)
        for group: UInt64 in 1...6 { try cluster.createGroup(group) }
        for group: UInt64 in 1...6 {
            try cluster.write(group, "a", "\(group)")
            #expect(cluster.run(2_000) { cluster.isWhole(group) })
        }
        cluster.run(3_000)
        cluster.wire.resetCounts()
        cluster.run(1_000)
        #expect((110...126).contains(cluster.wire.frames[.liveness] ?? 0))
        #expect(cluster.wire.frames[.messages] == nil)
        let dead = cluster.nodes[0]
        dead.cutPower()
        for group: UInt64 in 1...6 {
            try cluster.write(group, "b", "1")
            #expect(cluster.readyLeader(group) !== dead)
        }
    }

    @Test func `an entry that is let go while it is being read is no error`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        try cluster.write(1, "a", "1")
        let node = try cluster.leader()
        let storage = try #require(node.replica()?.storage)
        let index = storage.lastIndex
        let position = try #require(storage.window[index].position)
        for _ in 0..<100 where node.wal?.oldestFile == position.file {
            try cluster.write(1, "b", String(repeating: "x", count: 20_000))
            try node.compact()
            try node.on { [wal = node.wal] _ in
                node.manager(of: 1).relieve(below: position.file + 1) { wal?.release(before: $0) }
            }
            cluster.run(100)
        }
        #expect(node.wal?.oldestFile != position.file)
        try node.on { replica in
            guard let replica else { return }
            node.manager(of: 1).fetch(index...index, [position], for: replica)
        }
        cluster.run(100)
        #expect(node.failures.isEmpty && node.replica()?.hasFailed == false)
        try cluster.write(1, "a", "2")
    }

    @Test func `a message for a group that is not here goes to whoever may make it`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        let node = try #require(cluster.followers().first)
        var strays: [UInt64] = []
        node.managers[0].onUnknownGroup = { group, _ in strays.append(group) }
        try node.on { $0?.stop() }
        try leader.on { $0?.readIndex { _ in } }
        cluster.run(200)
        #expect(!strays.isEmpty && strays.allSatisfy { $0 == 1 })
        #expect(node.managers[0].metrics.strayMessages.current == UInt64(strays.count))
    }

    @Test(arguments: [true, false])
    func `a founder that starts late still hears who asked for its vote`(asksFirst: Bool) throws {
        let cluster = try Cluster()
        let membership = Membership(voters: cluster.nodes.map(\.id))
        let first = cluster.nodes[0]
        try first.create(1, membership)
        try first.on { $0?.campaign(asksFirst: asksFirst) }
        let late = cluster.nodes.dropFirst()
        #expect(
            cluster.run(50) {
                late.allSatisfy { $0.managers[0].metrics.strayMessages.current > 0 }
            }
        )
        for node in late { try node.create(1, membership) }
        // Long before anybody would ask again.
        _ = try cluster.leader(within: 40)
        #expect(cluster.readyLeader(1) === first)
        #expect(first.replica()?.info.term == Term(2))
    }

    @Test func `what was asked too long ago, or too much, is forgotten`() {
        var early = EarlyVotes(patience: 100)
        func vote(from id: UInt64) -> Message {
            let request = Message.VoteRequest(lastIndex: LogIndex(1), lastTerm: Term(1))
            return Message(
                from: ReplicaID(id),
                to: ReplicaID(1),
                term: Term(2),
                body: .vote(request)
            )
        }
        early.keep(vote(from: 2), of: 7, now: 0)
        early.keep(vote(from: 3), of: 7, now: 60)
        early.keep(vote(from: 3), of: 7, now: 70)
        #expect(early.take(8, now: 70).isEmpty)
        #expect(early.take(7, now: 101).map(\.from) == [ReplicaID(3)])
        #expect(early.take(7, now: 101).isEmpty)
        for group in 0..<10_000 { early.keep(vote(from: 2), of: UInt64(group), now: 200) }
        #expect(early.take(1, now: 200).isEmpty && early.take(9_999, now: 200).count == 1)
        let beat = Message.Heartbeat(commit: LogIndex(1))
        early.keep(
            Message(from: ReplicaID(2), to: ReplicaID(1), term: Term(2), body: .heartbeat(beat)),
            of: 5,
            now: 200
        )
        #expect(early.take(5, now: 200).isEmpty)
    }

    @Test(arguments: [2, 3])
    func `a replica that lost the end of its log abstains until it has it again`(
        voters: Int
    ) throws {
        let cluster = try Cluster()
        try cluster.createGroup(on: voters)
        let leader = try cluster.leader()
        for value in 0..<5 { try cluster.write(1, "a", "\(value)") }
        let node = try #require(cluster.followers().first)
        let before = try #require(node.replica()?.info)
        node.cutPower()
        node.loseEndOfLog()
        try node.start()
        #expect(try node.on { $0?.info.lastIndex ?? .zero } < before.lastIndex)
        #expect(cluster.run(5_000) { !node.lostEnds.isEmpty })
        leader.cutPower()
        #expect(!cluster.run(20_000) { cluster.readyLeader() != nil })
        #expect(try node.on { $0?.storage.abstention != nil } == (voters == 3))
        try node.restart()
        #expect(!cluster.run(20_000) { cluster.readyLeader() != nil })
        try leader.start()
        #expect(cluster.run(20_000) { cluster.isWhole() })
        #expect(node.values() == ["a": "4"] && node.failures.isEmpty)
        #expect(try node.on { $0?.storage.abstention == nil })
        #expect(try #require(node.replica()?.info.term) > before.term)
        try cluster.write(1, "a", "5")
    }

    @Test(arguments: [true, false])
    func `a replica that loses the end of its log while it abstains goes on abstaining`(
        isForGood: Bool
    ) throws {
        let cluster = try Cluster()
        let node = cluster.nodes[0]
        let membership = Membership(voters: cluster.nodes.map(\.id))
        let storage = WALRaftStorage.bootstrapped(group: 1, membership: membership)
        let first = Term(20)
        storage.abstain(
            until: isForGood ? .unreachable : first,
            isForGood ? .missingLog : .damagedLog
        )
        storage.setHardState(HardState(term: first, vote: nil, commit: LogIndex(1)))
        try node.create(1, membership, from: storage)
        let beat = Message(
            from: ReplicaID(2),
            to: node.id,
            term: Term(25),
            body: .heartbeat(.init(commit: LogIndex(9)))
        )
        let until = try node.on { replica in
            replica?.step(beat)
            return replica?.storage.abstention?.until
        }
        #expect(until == (isForGood ? .unreachable : Term(41)))
        #expect(node.replica()?.info.term == (isForGood ? Term(25) : Term(41)))
        #expect(node.lostEnds.isEmpty == isForGood)
    }

    @Test func `messages that make no sense are counted and change nothing`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        let before = leader.replica()?.status
        try leader.on { replica in
            for body: Message.Body in [
                .appendResponse(.init(index: LogIndex(1 << 50))), .heartbeat(.init(commit: .zero)),
                .append(
                    .init(previousIndex: .max, previousTerm: .zero, entries: [], commit: .zero)
                ),
            ] {
                let term = replica?.info.term ?? .zero
                replica?.step(
                    Message(from: ReplicaID(2), to: leader.id, term: term, body: body)
                )
            }
        }
        #expect((leader.replica()?.refusedMessages ?? 0) >= 2)
        #expect(leader.replica()?.info.term == before?.term && leader.replica()?.hasFailed == false)
    }

    @Test func `no more snapshots travel at the same time than are allowed`() throws {
        var config = RaftConfig()
        config.snapshotChunkBytes = 500
        config.maxSnapshotsSent = 1
        config.maxSnapshotsReceived = 1
        let cluster = try Cluster(config: config)
        let away = cluster.nodes[2]
        for group: UInt64 in 1...4 {
            try cluster.createGroup(group)
            try cluster.nodes[0].on(group) { $0?.campaign() }
            _ = try cluster.leader(group)
        }
        away.cutPower()
        for group: UInt64 in 1...4 {
            try cluster.write(group, "a", String(repeating: "v", count: 5_000))
            for node in cluster.nodes.prefix(2) { try node.compact(group) }
        }
        try away.start()
        let groups: ClosedRange<UInt64> = 1...4
        #expect(cluster.run(30_000) { groups.allSatisfy { cluster.isWhole($0) } })
        #expect(away.managers[0].metrics.snapshotsReceived.current == 4)
        #expect(cluster.wire.snapshotBytes < 4 * 5_500)
    }

    @Test func `what is sent is held to its rate`() {
        var config = RaftConfig()
        config.snapshotBytesPerSecond = 1_000_000
        let limits = SnapshotLimits(config)
        #expect(limits.delay(500_000, now: 0) == 0)
        #expect(limits.delay(500_000, now: 0) == .milliseconds(500))
        #expect(limits.delay(1, now: .milliseconds(400)) == .milliseconds(600))
        #expect(limits.delay(1, now: .seconds(5)) == 0)
        #expect(limits.takeSending() && limits.takeSending() && !limits.takeSending())
        limits.giveSending()
        #expect(limits.takeSending())
    }

    @Test func `a removed replica keeps its vote and nothing else`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        let gone = try #require(cluster.followers().first)
        let change = ConfigurationChange([.init(.removeReplica, gone.id)])
        try leader.on { try $0?.proposeChange(change) }
        #expect(cluster.run(2_000) { leader.replica()?.info.membership.voters.count == 2 })
        let term = try #require(gone.replica()?.info.term)
        try gone.on { $0?.remove() }
        cluster.run(100)
        let kept = try #require(gone.managers[0].takeRemoved(1))
        #expect(kept.isRemoved && kept.hardState.term == term && kept.lastIndex == .zero)
        #expect(gone.replica() == nil)
    }
}
