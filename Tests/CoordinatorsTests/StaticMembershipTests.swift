import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

/// KIP-345: a member with an instance id keeps its place over restarts.
@Suite struct StaticMembershipTests {
    private let coordinator = Coordinator()

    private func pair() throws -> [Member] {
        try coordinator.formGroup([Joiner(instance: "a"), Joiner(instance: "b")])
    }

    @Test func `a static member needs no second request to get its id`() throws {
        let response = try coordinator.joined(coordinator.join(Joiner(instance: "a", version: 9)))
        #expect(response.code == ErrorCode.none)
        #expect(response.memberId.hasPrefix("a-"))
        #expect(response.members.map(\.groupInstanceId) == ["a"])
    }

    @Test func `a restarted member takes its place without a rebalance`() throws {
        let members = try pair()
        let token = coordinator.join(Joiner(instance: "b", version: 9))
        let back = try coordinator.joined(token)
        #expect(back.code == ErrorCode.none && back.generationId == 2)
        #expect(back.memberId != members[1].id)
        #expect(back.leader == members[0].id && back.members.isEmpty)
        #expect(coordinator.state() == "Stable")
        #expect(coordinator.heartbeat(members[0].id, generation: 2) == ErrorCode.none)
        let sync = coordinator.sync(back.memberId, generation: 2, instance: "b")
        #expect(try coordinator.synced(sync).text == "of " + members[1].id)
    }

    @Test func `the member in whose place another came is fenced`() throws {
        let old = try pair()[1]
        let new = try coordinator.joined(coordinator.join(Joiner(instance: "b"))).memberId
        #expect(coordinator.heartbeat(old.id, generation: 2, instance: "b") == .fencedInstanceId)
        let sync = coordinator.sync(old.id, generation: 2, instance: "b")
        #expect(try coordinator.synced(sync).code == .fencedInstanceId)
        let join = coordinator.join(Joiner(id: old.id, instance: "b"))
        #expect(try coordinator.joined(join).code == .fencedInstanceId)
        let commit = coordinator.askToCommit(
            [("t", 0, 1)],
            member: old.id,
            generation: 2,
            instance: "b"
        )
        #expect(try coordinator.commitCodes(commit) == [.fencedInstanceId])
        #expect(coordinator.leave(old.id, instance: "b") == .fencedInstanceId)
        #expect(coordinator.heartbeat(new, generation: 2, instance: "b") == ErrorCode.none)
        #expect(coordinator.heartbeat(new, generation: 2, instance: "c") == .unknownMemberId)
    }

    @Test func `the new id is told only once it is written`() throws {
        let old = try pair()[1]
        coordinator.commitsAtOnce = false
        let token = coordinator.join(Joiner(instance: "b"))
        #expect(coordinator.isWaiting(token))
        coordinator.commit()
        let new = try coordinator.joined(token).memberId
        let members = coordinator.replayed().describe("g").members.map(\.memberId)
        #expect(members.contains(new) && !members.contains(old.id))
    }

    @Test func `a restart that cannot be written is refused`() throws {
        _ = try pair()
        coordinator.commitsAtOnce = false
        let token = coordinator.join(Joiner(instance: "b"))
        coordinator.fail(.notLeaderOrFollower)
        #expect(try coordinator.joined(token).code == .notCoordinator)
    }

    @Test func `a restarted leader of version 9 skips assigning, an older one is no leader`()
        throws
    {
        _ = try pair()
        let new = try coordinator.joined(coordinator.join(Joiner(instance: "a", version: 9)))
        #expect(new.skipAssignment && new.leader == new.memberId && new.members.count == 2)
        let old = try coordinator.joined(coordinator.join(Joiner(instance: "a", version: 5)))
        #expect(!old.skipAssignment && old.leader != old.memberId && old.members.isEmpty)
        #expect(coordinator.state() == "Stable")
    }

    @Test func `a restarted member that subscribes to something else starts a rebalance`() throws {
        let members = try pair()
        let token = coordinator.join(Joiner(instance: "b", protocols: [("range", "new")]))
        #expect(coordinator.isWaiting(token))
        #expect(coordinator.heartbeat(members[0].id, generation: 2) == .rebalanceInProgress)
        coordinator.join(Joiner(id: members[0].id, instance: "a"))
        #expect(try coordinator.joined(token).generationId == 3)
    }

    @Test func `an instance that joins twice at once fences its first join`() throws {
        let members = try pair()
        coordinator.join(Joiner(id: members[0].id, instance: "a"))
        let third = coordinator.join(Joiner(instance: "c"))
        let again = coordinator.join(Joiner(instance: "c"))
        #expect(try coordinator.joined(third).code == .fencedInstanceId)
        #expect(coordinator.isWaiting(again))
        coordinator.join(Joiner(id: members[1].id, instance: "b"))
        #expect(try coordinator.joined(again).code == ErrorCode.none)
        #expect(coordinator.memberIDs().count == 3)
    }

    @Test func `an instance that restarts while it waits for its part fences its sync`() throws {
        let id = try coordinator.joined(coordinator.join(Joiner(instance: "a"))).memberId
        let other = coordinator.join(Joiner(instance: "b"))
        coordinator.join(Joiner(id: id, instance: "a"))
        let waiting = coordinator.sync(
            try coordinator.joined(other).memberId,
            generation: 2,
            instance: "b"
        )
        coordinator.join(Joiner(instance: "b"))
        #expect(try coordinator.synced(waiting).code == .fencedInstanceId)
        #expect(coordinator.state() == "PreparingRebalance")
    }

    @Test func `an administrator removes an instance by its name alone`() throws {
        let members = try pair()
        #expect(coordinator.leave("", instance: "x") == .unknownMemberId)
        #expect(coordinator.leave("", instance: "b") == ErrorCode.none)
        #expect(coordinator.memberIDs() == [members[0].id])
        #expect(coordinator.state() == "PreparingRebalance")
    }

    @Test func `a static member that misses a rebalance keeps its place until its session ends`()
        throws
    {
        let members = try coordinator.formGroup([
            Joiner(instance: "a", session: 30_000, rebalance: 6_000),
            Joiner(instance: "b", session: 30_000, rebalance: 6_000),
        ])
        let joiner = Joiner(id: members[0].id, instance: "a", session: 30_000, rebalance: 6_000)
        let token = coordinator.join(joiner)
        coordinator.wait(6_100)
        let response = try coordinator.joined(token)
        #expect(response.members.map(\.groupInstanceId) == ["a", "b"])
        coordinator.sync(
            members[0].id,
            generation: 3,
            instance: "a",
            assigning: [members[0].id: ""]
        )
        #expect(coordinator.state() == "Stable")
        for _ in 0..<30 {
            coordinator.wait(1_000)
            coordinator.heartbeat(members[0].id, generation: 3, instance: "a")
        }
        #expect(coordinator.memberIDs() == [members[0].id])
    }

    @Test func `a rebalance nobody comes to waits for the static members' sessions`() throws {
        let members = try coordinator.formGroup([
            Joiner(instance: "a", session: 30_000, rebalance: 6_000),
            Joiner(instance: "b", session: 30_000, rebalance: 6_000),
        ])
        coordinator.leave("", instance: "b")
        coordinator.wait(12_500)
        #expect(coordinator.state() == "PreparingRebalance")
        #expect(coordinator.memberIDs() == [members[0].id])
        coordinator.wait(20_000)
        #expect(coordinator.state() == "Empty")
    }
}
