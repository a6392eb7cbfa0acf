import RaftScript
import Testing

@testable import Raft

/// Quorums against tables and against counting by hand.
@Suite struct QuorumTests {
    private func ids(_ values: [String]?) -> [ReplicaID] {
        (values ?? []).compactMap { UInt64($0).map(ReplicaID.init) }
    }

    /// Runs a table: arguments are values in the order in which ids first appear.
    private func check(table: String) throws -> Int {
        var count = 0
        for row in try Table(parsing: Transcripts.text("quorum/\(table)")).rows {
            let voters = ids(row.values("cfg"))
            let outgoing = row.values("cfgj") == ["zero"] ? [] : ids(row.values("cfgj"))
            var order: [ReplicaID] = []
            for id in voters + outgoing where !order.contains(id) { order.append(id) }
            let membership = Membership(voters: voters, outgoingVoters: outgoing)
            let given = row.values(row.command == "vote" ? "votes" : "idx") ?? []
            func value(_ id: ReplicaID) -> String? {
                guard let place = order.firstIndex(of: id), place < given.count else { return nil }
                return given[place] == "_" ? nil : given[place]
            }
            let expected = row.output.split(separator: "\n").last.map(String.init) ?? ""
            switch row.command {
            case "committed":
                let index = membership.committedIndex {
                    value($0).flatMap(UInt64.init).map(LogIndex.init)
                }
                let text = index == .max ? "∞" : "\(index)"
                #expect(expected.hasSuffix(text), "\(table) \(row.line)")
                #expect(Int(expected) == nil || expected == text, "\(table) \(row.line)")
            case "vote":
                let result = membership.voteResult { value($0).map { $0 == "y" } }
                let names: [VoteResult: String] = [
                    .pending: "VotePending", .won: "VoteWon", .lost: "VoteLost",
                ]
                #expect(expected == names[result], "\(table) \(row.line)")
            default:
                Issue.record("\(row.command)")
            }
            count += 1
        }
        return count
    }

    @Test(
        .enabled(if: Transcripts.folder != nil, "no transcripts are there"),
        arguments: ["majority_commit", "majority_vote", "joint_commit", "joint_vote"]
    )
    func `the table holds`(name: String) throws {
        #expect(try check(table: "\(name).txt") > 10)
    }

    @Test func `a committed index is the highest that more than half have reached`() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<20_000 {
            let (membership, all) = randomMembership(&generator)
            var reached: [ReplicaID: LogIndex] = [:]
            for id in all where Int.random(in: 0..<4, using: &generator) > 0 {
                reached[id] = LogIndex(UInt64.random(in: 0..<6, using: &generator))
            }
            func holds(_ index: LogIndex, in voters: [ReplicaID]) -> Bool {
                let count = voters.count { (reached[$0] ?? .zero) >= index }
                return voters.isEmpty || 2 * count > voters.count
            }
            let expected = (0..<7).reversed().map { LogIndex(UInt64($0)) }.first {
                holds($0, in: membership.voters) && holds($0, in: membership.outgoingVoters)
            }
            let index = membership.committedIndex { reached[$0] }
            if membership.voters.isEmpty {
                #expect(index == .max)
            } else {
                #expect(index == expected)
            }
        }
    }

    @Test func `a vote is decided exactly when no further vote can change it`() {
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<5_000 {
            let (membership, all) = randomMembership(&generator)
            var votes: [ReplicaID: Bool] = [:]
            for id in all where Bool.random(using: &generator) {
                votes[id] = Bool.random(using: &generator)
            }
            let missing = all.filter { votes[$0] == nil }
            var outcomes: [Bool] = []
            for pattern in 0..<(1 << missing.count) {
                var complete = votes
                for (bit, id) in missing.enumerated() { complete[id] = pattern >> bit & 1 == 1 }
                outcomes.append(
                    [membership.voters, membership.outgoingVoters].allSatisfy { voters in
                        voters.isEmpty || 2 * voters.count { complete[$0] == true } > voters.count
                    }
                )
            }
            let expected: VoteResult =
                outcomes.allSatisfy { $0 } ? .won : outcomes.contains(true) ? .pending : .lost
            let result = membership.voteResult { votes[$0] }
            // A joint vote may still be called pending though two halves cannot both be won.
            #expect(
                result == expected
                    || (membership.isJoint && result == .pending && expected == .lost)
            )
        }
    }

    private func randomMembership(
        _ generator: inout SeededGenerator
    ) -> (Membership, [ReplicaID]) {
        func some(_ generator: inout SeededGenerator) -> [ReplicaID] {
            (1...5).filter { _ in Bool.random(using: &generator) }.map { ReplicaID(UInt64($0)) }
        }
        let voters = some(&generator)
        let outgoing = voters.isEmpty ? [] : some(&generator)
        let membership = Membership(voters: voters, outgoingVoters: outgoing)
        return (membership, membership.members)
    }
}
