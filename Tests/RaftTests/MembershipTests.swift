import Testing

@testable import Raft

/// Changes of membership against tables, and what must hold of any sequence of them.
@Suite struct MembershipTests {
    private func steps(_ text: String) -> [ConfigurationChange.Step] {
        text.split(separator: " ").compactMap { word in
            guard let id = UInt64(word.dropFirst()) else { return nil }
            switch word.first {
            case "v": return .init(.addVoter, ReplicaID(id))
            case "l": return .init(.addLearner, ReplicaID(id))
            case "r": return .init(.removeReplica, ReplicaID(id))
            default: return .init(.update, ReplicaID(id))
            }
        }
    }

    private func apply(_ row: Table.Row, to membership: Membership) throws -> Membership {
        switch row.command {
        case "simple": return try membership.applyingSimply(steps(row.input))
        case "enter-joint":
            let autoLeave = row.values("autoleave") == ["true"]
            return try membership.enteringJoint(steps(row.input), autoLeave: autoLeave)
        default: return try membership.leavingJoint()
        }
    }

    private func describe(_ error: MembershipError) -> String {
        switch error {
        case .alreadyJoint: "config is already joint"
        case .notJoint: "can't leave a non-joint config"
        case .noVoters: "can't make a zero-voter config joint"
        case .simpleChangeWhileJoint: "can't apply simple config change in joint config"
        case .removesAllVoters: "removed all voters"
        case .moreThanOneVoterChanged:
            "more than one voter changed without entering joint config"
        }
    }

    private func describe(_ membership: Membership, _ progress: ProgressTable) -> String {
        func list(_ ids: [ReplicaID]) -> String {
            "(\(ids.map(\.description).joined(separator: " ")))"
        }
        var text = "voters=\(list(membership.voters))"
        if membership.isJoint { text += "&&\(list(membership.outgoingVoters))" }
        if !membership.learners.isEmpty { text += " learners=\(list(membership.learners))" }
        if !membership.learnersNext.isEmpty {
            text += " learners_next=\(list(membership.learnersNext))"
        }
        if membership.autoLeave { text += " autoleave" }
        for peer in progress.replicas {
            text += "\n\(peer.id): StateProbe match=\(peer.match) next=\(peer.next)"
            if peer.isLearner { text += " learner" }
        }
        return text + "\n"
    }

    @Test(
        .enabled(if: Transcripts.folder != nil, "no transcripts are there"),
        arguments: [
            "joint_autoleave", "joint_idempotency", "joint_learners_next", "joint_safety",
            "simple_idempotency", "simple_promote_demote", "simple_safety", "update", "zero",
        ]
    )
    func `the table holds`(name: String) throws {
        let rows = Table(parsing: try Transcripts.text("confchange/\(name).txt")).rows
        #expect(!rows.isEmpty)
        var membership = Membership()
        var progress = ProgressTable()
        let window = InflightWindow(maxMessages: 1, maxBytes: 1)
        for (number, row) in rows.enumerated() {
            do {
                membership = try apply(row, to: membership)
                // The tables count their rows as the length of the log.
                let next = LogIndex(UInt64(max(number, 1)))
                progress.follow(membership, next: next, window: window)
                #expect(describe(membership, progress) == row.output, "\(name) line \(row.line)")
            } catch let error as MembershipError {
                #expect(describe(error) + "\n" == row.output, "\(name) line \(row.line)")
            }
            #expect(membership.isConsistent, "\(name) line \(row.line)")
        }
    }

    @Test func `any majority before a change meets any majority after it`() throws {
        var generator = SeededGenerator(seed: 3)
        var membership = Membership(voters: [ReplicaID(1)])
        var changes = 0
        for _ in 0..<20_000 {
            let change = randomChange(&generator, isJoint: membership.isJoint)
            guard let next = try? membership.applying(change) else { continue }
            #expect(next.isConsistent, "\(membership) \(change)")
            #expect(!next.voters.isEmpty)
            #expect(meet(membership, next), "\(membership) to \(next) by \(change)")
            membership = next
            changes += 1
        }
        #expect(changes > 5_000)
    }

    private func randomChange(
        _ generator: inout SeededGenerator,
        isJoint: Bool
    ) -> ConfigurationChange {
        if isJoint && Bool.random(using: &generator) { return .leaveJoint }
        let kinds: [ConfigurationChange.Step.Kind] = [
            .addVoter, .addLearner, .removeReplica, .update,
        ]
        let steps = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
            ConfigurationChange.Step(
                kinds[Int.random(in: 0..<4, using: &generator)],
                ReplicaID(UInt64.random(in: 1...6, using: &generator))
            )
        }
        let transitions: [ConfigurationChange.Transition] = [
            .automatic, .jointImplicit, .jointExplicit, .simple,
        ]
        return ConfigurationChange(
            steps,
            transition: transitions[Int.random(in: 0..<4, using: &generator)]
        )
    }

    /// No two disjoint sets of replicas are quorums, one of each membership.
    private func meet(_ left: Membership, _ right: Membership) -> Bool {
        let all = (left.members + right.members).sortedUnique()
        for pattern in 0..<(1 << all.count) {
            let yes = all.indices.filter { pattern >> $0 & 1 == 1 }.map { all[$0] }
            let isLeft = left.voteResult { yes.contains($0) } == .won
            let isRight = right.voteResult { !yes.contains($0) } == .won
            if isLeft && isRight { return false }
        }
        return true
    }

    @Test func `a change survives its encoding`() throws {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<1_000 {
            let change = randomChange(&generator, isJoint: Bool.random(using: &generator))
            #expect(try ConfigurationChange(decoding: change.encoded()) == change)
        }
    }

    @Test func `bytes that are no change are refused, whatever they are`() {
        var generator = SeededGenerator(seed: 5)
        let good = ConfigurationChange([.init(.addVoter, ReplicaID(7))]).encoded().bytes
        for length in 1..<good.count {
            let cut = RaftPayload(copying: Array(good[..<length]))
            #expect(throws: MalformedConfigurationChange.self) {
                try ConfigurationChange(decoding: cut)
            }
        }
        for _ in 0..<2_000 {
            var bytes = good
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            bytes[place] = UInt8.random(in: 0...255, using: &generator)
            _ = try? ConfigurationChange(decoding: RaftPayload(copying: bytes))
        }
    }
}
