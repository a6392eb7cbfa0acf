import Testing

@testable import Raft

/// Scenarios 31–35: the state instead of the log.
@Suite struct SnapshotScenarios {
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

    /// Three voters of which the last is far behind, and the leader's log is gone from there.
    func lagging(
        _ adjust: (inout RaftNode.Configuration) -> Void = { _ in }
    ) throws -> SimulatedCluster {
        let cluster = try plain(3, adjust)
        cluster.elect(1)
        cluster.isolate(3)
        for _ in 0..<5 { cluster.propose(1) }
        cluster.stabilize()
        cluster[1].compact()
        cluster.heal()
        return cluster
    }

    /// Runs until the leader, which is the first, has sent a snapshot, and takes it off the network.
    func heldSnapshot(_ cluster: SimulatedCluster) -> Message? {
        var held: Message?
        cluster.tick(1)
        for _ in 0..<100 where !cluster.network.isEmpty || !cluster[3].writes.isEmpty {
            for id in 1...3 { while !cluster[id].writes.isEmpty { cluster.persist(id) } }
            guard let message = cluster.network.first else { break }
            if case .snapshot = message.body {
                held = held ?? message
                cluster.network.removeFirst()
            } else {
                cluster.deliver(at: 0)
            }
        }
        return held
    }

    @Test func `31 a follower behind the log gets a snapshot, then entries`() throws {
        let cluster = try lagging()
        cluster.run(ticks: 2)
        // Nobody reported how the snapshot went.
        let peer = cluster.node(1).status.peers[2]
        #expect(peer.state == .replicate)
        #expect(peer.match == cluster.node(1).lastIndex)
        #expect(cluster[3].machine == cluster[1].machine)
        cluster.propose(1)
        cluster.stabilize()
        #expect(cluster[3].machine == cluster[1].machine)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `32 a snapshot older than expected still connects to the log`() throws {
        let cluster = try lagging()
        let message = try #require(heldSnapshot(cluster))
        guard case .snapshot(let snapshot) = message.body else { return }
        #expect(cluster.node(1).status.peers[2].state == .snapshot(snapshot.metadata.index))
        // Another replica's older snapshot arrives instead.
        var older = snapshot
        older.metadata.index = snapshot.metadata.index - 1
        cluster.invariants = Invariants()
        cluster[1].disk.keep(snapshot)
        var message2 = message
        message2.body = .snapshot(older)
        cluster.network.append(message2)
        // The log of the leader still begins after the newer one: it does not connect yet.
        cluster.stabilize([1, 3])
        #expect(cluster.node(1).status.peers[2].match == older.metadata.index)
        #expect(cluster.node(1).status.peers[2].state != .replicate)
        cluster.network.append(message)
        cluster.stabilize([1, 3])
        #expect(cluster.node(1).status.peers[2].state == .replicate)
    }

    @Test func `32b a snapshot that the log no longer connects to is followed by another`() throws {
        let cluster = try lagging()
        let message = try #require(heldSnapshot(cluster))
        for _ in 0..<3 { cluster.propose(1) }
        cluster.stabilize([1, 2])
        cluster[1].compact()
        cluster.network.append(message)
        // Nobody reports on it: that the follower has it all is told by its answer.
        cluster.stabilize([1, 3])
        #expect(cluster.node(1).status.peers[2].state == .replicate)
        #expect(cluster[3].machine == cluster[1].machine)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `33 a snapshot discards a conflicting tail, whole`() throws {
        let cluster = try plain(3)
        cluster.elect(3)
        cluster.isolate(3)
        // Around and beyond where the snapshot will stand.
        for _ in 0..<10 { cluster.propose(3) }
        cluster.stabilize()
        cluster.elect(1)
        for _ in 0..<4 { cluster.propose(1) }
        cluster.stabilize()
        cluster[1].compact()
        #expect(cluster.node(3).lastIndex > cluster.node(1).lastIndex)
        cluster.heal()
        var snapshots = 0
        for _ in 0..<5 {
            for id in 1...3 { cluster.tick(id) }
            while !cluster.network.isEmpty {
                if case .snapshot = cluster.network[0].body { snapshots += 1 }
                cluster.deliver(at: 0)
                for id in 1...3 {
                    while !cluster[id].writes.isEmpty { cluster.persist(id) }
                    while !cluster[id].applies.isEmpty { cluster.apply(id) }
                }
            }
        }
        #expect(snapshots == 1, "no livelock")
        #expect(cluster.node(3).lastIndex == cluster.node(1).lastIndex)
        #expect(cluster[3].machine == cluster[1].machine)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `34 failed snapshots are tried again at growing intervals`() throws {
        let cluster = try lagging()
        var sent: [Int] = []
        for tick in 0..<200 {
            cluster.tick(1)
            while !cluster.network.isEmpty
                || cluster.replicas.contains(where: { !$0.writes.isEmpty })
            {
                if let place = cluster.network.firstIndex(where: { message in
                    if case .snapshot = message.body { return true }
                    return false
                }) {
                    cluster.network.remove(at: place)
                    sent.append(tick)
                    cluster.with(1) { $0.reportSnapshot(ReplicaID(3), success: false) }
                }
                if !cluster.network.isEmpty { cluster.deliver(at: 0) }
                for id in 1...3 { while !cluster[id].writes.isEmpty { cluster.persist(id) } }
            }
        }
        let pauses = zip(sent, sent.dropFirst()).map { $1 - $0 }
        #expect(sent.count >= 5 && sent.count <= 12, "\(sent)")
        #expect(pauses == pauses.sorted(), "\(pauses)")
        cluster.run(ticks: 300)
        #expect(cluster[3].machine == cluster[1].machine)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `34b a snapshot nobody reports on counts as lost in the end`() throws {
        let cluster = try lagging { $0.snapshotTicks = 20 }
        var snapshots = 0
        for _ in 0..<60 {
            cluster.tick(1)
            while !cluster.network.isEmpty {
                if case .snapshot = cluster.network[0].body {
                    snapshots += 1
                    if snapshots == 1 {
                        cluster.network.removeFirst()
                        continue
                    }
                }
                cluster.deliver(at: 0)
                for id in 1...3 {
                    while !cluster[id].writes.isEmpty { cluster.persist(id) }
                    while !cluster[id].applies.isEmpty { cluster.apply(id) }
                }
            }
        }
        #expect(snapshots == 2)
        #expect(cluster[3].machine == cluster[1].machine)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `34c a new leader's append ends the wait for a snapshot`() throws {
        let cluster = try lagging()
        cluster.tick(1)
        for _ in 0..<20 where !cluster.network.isEmpty { cluster.deliver(at: 0) }
        cluster.network.removeAll()
        cluster.crash(1)
        cluster.elect(2)
        cluster.run(ticks: 3)
        #expect(cluster.node(2).role == .leader)
        #expect(cluster[3].machine == cluster[2].machine)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `35 a stale snapshot is not installed`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        for _ in 0..<4 { cluster.propose(1) }
        cluster.stabilize()
        let node = cluster.node(2)
        func snapshot(at index: UInt64, term: UInt64) -> Message {
            let metadata = SnapshotMetadata(
                index: LogIndex(index),
                term: Term(term),
                membership: Membership(voters: [ReplicaID(9)])
            )
            return Message(
                from: ReplicaID(1),
                to: ReplicaID(2),
                term: node.term,
                body: .snapshot(Snapshot(metadata: metadata, payload: .empty))
            )
        }
        cluster.with(2) { try? $0.step(snapshot(at: 4, term: 2)) }
        #expect(cluster[2].writes.allSatisfy { $0.snapshot == nil })
        #expect(cluster.node(2).membership == node.membership)
        #expect(cluster.node(2).lastIndex == node.lastIndex)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `35b a snapshot of what the log holds only commits it`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(2)
        cluster.heal()
        cluster.propose(1)
        while let place = cluster.network.firstIndex(where: { $0.to == ReplicaID(2) }) {
            cluster.deliver(at: place)
        }
        let node = cluster.node(2)
        #expect(node.commit < node.lastIndex)
        let metadata = SnapshotMetadata(
            index: node.lastIndex,
            term: Term(2),
            membership: node.membership
        )
        cluster.with(2) { node in
            let body = Message.Body.snapshot(Snapshot(metadata: metadata, payload: .empty))
            try? node.step(
                Message(from: ReplicaID(1), to: ReplicaID(2), term: node.term, body: body)
            )
            #expect(node.commit == node.lastIndex)
            #expect(node.log.pendingSnapshot == nil)
        }
    }

    @Test func `35c the membership comes from the snapshot`() throws {
        let cluster = try plain(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.propose(ConfigurationChange([.init(.addLearner, ReplicaID(4))]), at: 1)
        cluster.stabilize()
        cluster[1].compact()
        cluster.heal()
        cluster.run(ticks: 3)
        #expect(cluster.node(3).membership.learners == [ReplicaID(4)])
        cluster.crash(3)
        try cluster.restart(3)
        #expect(cluster.node(3).membership.learners == [ReplicaID(4)])
        #expect(cluster.invariants.violations == [])
    }
}
