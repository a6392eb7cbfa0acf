import Testing

@testable import Raft

/// Whatever the network brings, a node neither traps nor breaks a promise.
@Suite struct HostileMessageTests {
    private struct Source {
        var generator: SeededGenerator

        mutating func number(_ node: RaftNode) -> UInt64 {
            switch Int.random(in: 0..<8, using: &generator) {
            case 0: UInt64.max
            case 1: UInt64.max >> UInt64.random(in: 0..<6, using: &generator)
            case 2: node.lastIndex.rawValue + UInt64.random(in: 0..<3, using: &generator)
            default: UInt64.random(in: 0..<8, using: &generator)
            }
        }

        mutating func index(_ node: RaftNode) -> LogIndex { LogIndex(number(node)) }

        mutating func term(_ node: RaftNode) -> Term {
            Bool.random(using: &generator)
                ? node.term : Term(number(node) % (node.term.rawValue + 3))
        }

        mutating func id() -> ReplicaID { ReplicaID(UInt64.random(in: 0..<6, using: &generator)) }

        mutating func ids() -> [ReplicaID] {
            (0..<Int.random(in: 0..<4, using: &generator)).map { _ in id() }
        }

        mutating func payload() -> RaftPayload {
            let count = Int.random(in: 0..<20, using: &generator)
            return RaftPayload(
                copying: (0..<count).map { _ in UInt8.random(in: 0..<4, using: &generator) }
            )
        }

        mutating func entries(_ node: RaftNode, after previous: LogIndex) -> [RaftEntry] {
            (0..<Int.random(in: 0..<4, using: &generator)).map { place in
                let isRight = Int.random(in: 0..<10, using: &generator) > 0
                return RaftEntry(
                    index: isRight
                        ? LogIndex(previous.rawValue &+ UInt64(place) &+ 1) : index(node),
                    term: Bool.random(using: &generator) ? node.term : term(node),
                    kind: Bool.random(using: &generator) ? .normal : .configuration,
                    payload: payload()
                )
            }
        }

        mutating func body(_ node: RaftNode) -> Message.Body {
            switch Int.random(in: 0..<15, using: &generator) {
            case 0, 1, 2: append(node)
            case 3:
                .appendResponse(
                    Message.AppendResponse(
                        index: index(node),
                        rejection: Bool.random(using: &generator)
                            ? nil : Message.Rejection(index: index(node), term: term(node))
                    )
                )
            case 4: .vote(vote(node))
            case 5: .preVote(vote(node))
            case 6:
                .voteResponse(
                    granted: Bool.random(using: &generator),
                    commit: Message.CommitPoint(index: index(node), term: term(node))
                )
            case 7: .preVoteResponse(granted: Bool.random(using: &generator))
            case 8:
                .heartbeat(
                    Message.Heartbeat(
                        commit: index(node),
                        round: number(node),
                        quiesce: Bool.random(using: &generator)
                    )
                )
            case 9: .heartbeatResponse(round: number(node))
            case 10: snapshot(node)
            case 11: Bool.random(using: &generator) ? .timeoutNow : .transferLeader(to: id())
            case 12: .readIndex(context: number(node))
            case 13: .readIndexResponse(index: index(node), context: number(node))
            default:
                Bool.random(using: &generator)
                    ? .lostEntries(last: index(node))
                    : .propose([Message.Proposal(kind: .configuration, payload: payload())])
            }
        }

        private mutating func append(_ node: RaftNode) -> Message.Body {
            let previous = index(node)
            return .append(
                Message.Append(
                    previousIndex: previous,
                    previousTerm: term(node),
                    entries: entries(node, after: previous),
                    commit: index(node)
                )
            )
        }

        private mutating func vote(_ node: RaftNode) -> Message.VoteRequest {
            Message.VoteRequest(
                lastIndex: index(node),
                lastTerm: term(node),
                isTransfer: Bool.random(using: &generator)
            )
        }

        private mutating func snapshot(_ node: RaftNode) -> Message.Body {
            let metadata = SnapshotMetadata(
                index: index(node),
                term: term(node),
                membership: Membership(
                    voters: ids(),
                    outgoingVoters: Bool.random(using: &generator) ? [] : ids(),
                    learners: ids(),
                    learnersNext: ids(),
                    autoLeave: Bool.random(using: &generator)
                )
            )
            return .snapshot(Snapshot(metadata: metadata, payload: payload()))
        }
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `random messages trap nowhere`(seed: UInt64) throws {
        var source = Source(generator: SeededGenerator(seed: seed))
        let cluster = try SimulatedCluster(voters: 3, seed: seed) { configuration in
            configuration.disableProposalForwarding = seed % 2 == 0
            configuration.snapshotTicks = 5
        }
        let replica = cluster[1]
        for _ in 0..<3_000 {
            guard let node = replica.node else { return }
            let message = Message(
                from: source.id(),
                to: ReplicaID(1),
                term: source.term(node),
                body: source.body(node)
            )
            replica.node = nil
            var next = node
            try? next.step(message)
            if Int.random(in: 0..<10, using: &source.generator) == 0 { next.campaign() }
            if Int.random(in: 0..<4, using: &source.generator) == 0 { next.tick() }
            _ = try? next.propose(source.payload())
            replica.node = next
            while replica.node?.hasReady == true { _ = replica.takeReady() }
            _ = replica.takeOutbox()
            if Bool.random(using: &source.generator) { _ = replica.persist() }
            if Bool.random(using: &source.generator) { replica.apply() }
            guard let after = replica.node else { return }
            #expect(after.term >= node.term)
            #expect(after.commit >= node.commit)
            #expect(after.applied <= after.commit && after.commit <= after.lastIndex)
        }
    }

    @Test func `what no correct replica sends is refused by name`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        let term = cluster.node(2).term
        func step(_ body: Message.Body, from: UInt64 = 1, to: UInt64 = 2) throws {
            var node = cluster.node(2)
            try node.step(
                Message(from: ReplicaID(from), to: ReplicaID(to), term: term, body: body)
            )
        }
        #expect(throws: RaftStepError.notAddressedHere(ReplicaID(3))) {
            try step(.timeoutNow, to: 3)
        }
        let gap = RaftEntry(index: LogIndex(9), term: term, payload: .empty)
        let append = Message.Append(
            previousIndex: LogIndex(2),
            previousTerm: term,
            entries: [gap],
            commit: .zero
        )
        #expect(throws: RaftStepError.self) { try step(.append(append)) }
        // Another history below what is committed here.
        let other = RaftEntry(index: LogIndex(2), term: Term(1), payload: .empty)
        let conflict = Message.Append(
            previousIndex: LogIndex(1),
            previousTerm: Term(1),
            entries: [other],
            commit: .zero
        )
        var answers: [Message] = []
        var node = cluster.node(2)
        try node.step(
            Message(from: ReplicaID(1), to: ReplicaID(2), term: term, body: .append(conflict))
        )
        answers = node.ready().persistedMessages
        #expect(node.lastIndex == LogIndex(2), "old news: what is committed is not looked at")
        #expect(
            answers.map(\.body) == [.appendResponse(Message.AppendResponse(index: LogIndex(2)))]
        )
        var leader = cluster.node(1)
        #expect(throws: RaftStepError.unknownPeer(ReplicaID(7))) {
            try leader.step(
                Message(
                    from: ReplicaID(7),
                    to: ReplicaID(1),
                    term: term,
                    body: .heartbeatResponse(round: 0)
                )
            )
        }
    }
}
