import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

/// Members, offsets, failures and changes of the lead in random order.
private final class RandomLife {
    private struct Known {
        let id: String
        let group: String
        let instance: String?
        var generation: Int32
        var leads: Bool
    }

    private let coordinator: Coordinator
    /// A write that failed leaves the group ahead of its log.
    private let writesFail: Bool
    private var random: DrawnNumbers
    private var members: [Known] = []
    private var joins: [(token: ReplyToken, joiner: Joiner)] = []
    private var syncs: [(token: ReplyToken, generation: Int32)] = []
    /// What every member of a generation is told must agree.
    private var told: [String: (leader: String, protocolName: String?)] = [:]
    private var answered = 0
    private(set) var synced = 0

    init(seed: UInt64) {
        random = DrawnNumbers(state: seed)
        writesFail = seed % 3 == 0
        coordinator = Coordinator(delay: seed % 2 == 0 ? 0 : 1_000) { $0.maxGroupSize = 5 }
        coordinator.commitsAtOnce = false
    }

    func step() throws {
        switch random.below(100) {
        case 0..<22: join()
        case 22..<42: _ = pick().map { sync($0) }
        case 42..<52: _ = pick().map(heartbeat)
        case 52..<66: commitOffsets()
        case 66..<70: _ = pick().map { coordinator.leave($0.id, group: $0.group) }
        case 70..<73: coordinator.delete(group())
        case 73..<88: coordinator.commit()
        case 88..<92: coordinator.wait(Int64(random.below(4_000)))
        case 92..<93: coordinator.wait(20_000)
        case 93..<95: if writesFail { coordinator.fail(.requestTimedOut) } else { try gather() }
        case 95..<96: try gather()
        case 96..<97: coordinator.take(coordinator.shard.topicDeleted("t", now: coordinator.now))
        case 97..<98: coordinator.take(coordinator.shard.expireOffsets())
        case 98..<99:
            coordinator.loseLead()
            coordinator.commit()
            coordinator.lead()
        default:
            coordinator.commit()
            try expectReplayEqualsLive()
        }
        try readAnswers()
    }

    private func group() -> String { ["a", "b", "c"][random.below(3)] }

    private func pick() -> Known? { members.isEmpty ? nil : members[random.below(members.count)] }

    private func join() {
        var joiner = Joiner(group: group(), session: 6_000, rebalance: 8_000)
        joiner.version = [3, 9][random.below(2)]
        if random.below(2) == 0 { joiner.protocols.append(("sticky", "s")) }
        if random.below(3) == 0 { joiner.instance = "i\(random.below(3))" }
        if random.below(3) > 0, let known = pick() {
            joiner.group = known.group
            joiner.id = known.id
            joiner.instance = known.instance
        }
        joins.append((coordinator.join(joiner), joiner))
    }

    /// The members of a group do what they should.
    private func gather() throws {
        let group = group()
        let ids = coordinator.memberIDs(group)
        for member in members where member.group == group && ids.contains(member.id) {
            var joiner = Joiner(group: group, id: member.id, instance: member.instance)
            joiner.session = 6_000
            joiner.rebalance = 8_000
            joins.append((coordinator.join(joiner), joiner))
        }
        coordinator.wait(1_000)
        try readAnswers()
        for member in members where member.group == group { sync(member) }
    }

    private func sync(_ member: Known) {
        let all = members.filter { $0.group == member.group && $0.generation == member.generation }
        let assignments = Dictionary(
            all.map { ($0.id, "\(member.generation)/\($0.id)") },
            uniquingKeysWith: { first, _ in first }
        )
        let token = coordinator.sync(
            member.id,
            generation: member.generation,
            group: member.group,
            instance: member.instance,
            assigning: member.leads ? assignments : [:]
        )
        syncs.append((token, member.generation))
    }

    private func heartbeat(_ member: Known) {
        coordinator.heartbeat(
            member.id,
            generation: member.generation,
            group: member.group,
            instance: member.instance
        )
    }

    private func commitOffsets() {
        let offsets = [("t", Int32(random.below(2)), Int64(random.below(1_000))), ("u", 0, 1)]
        if let member = pick(), random.below(2) == 0 {
            coordinator.askToCommit(
                offsets,
                group: member.group,
                member: member.id,
                generation: member.generation,
                instance: member.instance
            )
        } else {
            coordinator.askToCommit(offsets, group: group())
        }
    }

    private func readAnswers() throws {
        for (token, joiner) in joins where !coordinator.isWaiting(token) {
            let response = try coordinator.joined(token)
            if response.code == .memberIdRequired || response.code == ErrorCode.none {
                members.removeAll { $0.id == response.memberId && $0.group == joiner.group }
                members.append(
                    Known(
                        id: response.memberId,
                        group: joiner.group,
                        instance: joiner.instance,
                        generation: response.generationId,
                        leads: response.leader == response.memberId
                    )
                )
                if members.count > 30 { members.removeFirst() }
            }
            if response.code == ErrorCode.none { expectAgreement(response, joiner.group) }
        }
        joins.removeAll { !coordinator.isWaiting($0.token) }
        for (token, generation) in syncs where !coordinator.isWaiting(token) {
            let response = try coordinator.synced(token)
            guard response.code == ErrorCode.none, !response.assignment.isEmpty else { continue }
            synced += 1
            #expect(response.text.hasPrefix("\(generation)/"))
        }
        syncs.removeAll { !coordinator.isWaiting($0.token) }
    }

    /// Members of one generation are told the same protocol.
    private func expectAgreement(_ response: JoinGroupResponse, _ group: String) {
        // Generations count anew once a group is deleted; the protocol then may differ.
        let key = "\(group)/\(response.generationId)/\(response.leader)"
        if let earlier = told[key], earlier.leader == response.leader {
            #expect(earlier.protocolName == response.protocolName)
        }
        told[key] = (response.leader, response.protocolName)
    }

    func expectReplayEqualsLive() throws {
        let replayed = coordinator.replayed()
        let live = coordinator.shard
        for group in ["a", "b", "c"] {
            expectSameOffsets(live, replayed, group)
            guard !writesFail else { continue }
            let now = live.describe(group)
            let then = replayed.describe(group)
            switch now.groupState {
            case "Stable": #expect(now == then)
            // Nobody has joined yet, so nothing was written.
            case "Empty": #expect(["Empty", "Dead"].contains(then.groupState))
            case "Dead": #expect(then.groupState == "Dead")
            // A rebalance under way is not in the log.
            default: #expect(then.groupState != "PreparingRebalance")
            }
        }
    }

    private func expectSameOffsets(
        _ live: GroupCoordinatorShard,
        _ replayed: GroupCoordinatorShard,
        _ group: String
    ) {
        let mine = live.committedOffsets(group: group)
        let other = replayed.committedOffsets(group: group)
        #expect(mine.map(\.topic) == other.map(\.topic))
        for (left, right) in zip(mine, other) {
            #expect(left.partitions.map(\.partition) == right.partitions.map(\.partition))
            #expect(left.partitions.map(\.offset) == right.partitions.map(\.offset))
        }
    }

    /// With time and a working log everybody gets an answer, and members that are silent go.
    func end() throws {
        for _ in 0..<10 {
            coordinator.commit()
            coordinator.wait(10_000)
        }
        coordinator.commit()
        try readAnswers()
        #expect(joins.isEmpty && syncs.isEmpty)
        #expect(coordinator.shard.nextDeadline == .max)
        for group in coordinator.shard.list() { #expect(group.state == .empty) }
        try expectReplayEqualsLive()
    }
}

/// SplitMix64.
private struct DrawnNumbers {
    var state: UInt64

    mutating func below(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }
}

@Suite struct ReplayTests {
    @Test(arguments: 0..<20)
    func `replay of the log makes the group that wrote it`(_ chapter: Int) throws {
        var synced = 0
        for seed in 0..<5 {
            let life = RandomLife(seed: UInt64(chapter * 5 + seed))
            for _ in 0..<400 { try life.step() }
            try life.end()
            synced += life.synced
        }
        #expect(synced > 10, "the lives are too dull to prove anything")
    }

    @Test func `a restart forgets nothing of a stable group`() throws {
        let coordinator = Coordinator()
        let members = try coordinator.formGroup([Joiner(instance: "a"), Joiner(client: "x")])
        coordinator.askToCommit([("t", 0, 5)], member: members[1].id, generation: 2)
        let before = coordinator.shard.describe("g")
        coordinator.restart()
        coordinator.lead()
        #expect(coordinator.shard.describe("g") == before)
        #expect(coordinator.offset("t") == 5)
        #expect(coordinator.heartbeat(members[1].id, generation: 2) == ErrorCode.none)
        let back = try coordinator.joined(coordinator.join(Joiner(instance: "a", version: 9)))
        #expect(back.generationId == 2 && back.skipAssignment)
    }
}
