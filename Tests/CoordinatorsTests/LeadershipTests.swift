import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct LeadershipTests {
    private let coordinator = Coordinator()

    @Test func `whoever waits is told once to look for the coordinator again`() throws {
        let first = try coordinator.joined(coordinator.join(Joiner())).memberId
        let other = coordinator.join(Joiner())
        coordinator.join(Joiner(id: first))
        let follower = try coordinator.joined(other).memberId
        coordinator.commitsAtOnce = false
        let syncs = [
            coordinator.sync(follower, generation: 2),
            coordinator.sync(first, generation: 2, assigning: [first: "A"]),
        ]
        let join = coordinator.join(Joiner(group: "h"))
        let rejoin = coordinator.join(Joiner(group: "h"))
        let commit = coordinator.askToCommit([("t", 0, 5)], group: "i")
        coordinator.loseLead()
        for sync in syncs { #expect(try coordinator.synced(sync).code == .notCoordinator) }
        #expect(try coordinator.joined(join).code == ErrorCode.none)
        #expect(try coordinator.joined(rejoin).code == .notCoordinator)
        #expect(try coordinator.commitCodes(commit) == [.notCoordinator])
        // The outcome of writes from before does not matter any more.
        coordinator.fail(.notLeaderOrFollower)
    }

    @Test func `a coordinator that leads again knows what was committed`() throws {
        let member = try coordinator.formGroup([Joiner()])[0]
        coordinator.askToCommit([("t", 0, 5)], member: member.id, generation: 1)
        coordinator.askToCommit([("t", 0, 6)], group: "simple")
        coordinator.join(Joiner(group: "never written"))
        coordinator.loseLead()
        coordinator.pass(100_000)
        coordinator.lead()
        #expect(coordinator.offset("t") == 5 && coordinator.offset("t", group: "simple") == 6)
        #expect(coordinator.shard.list().map(\.id) == ["g", "simple"])
        #expect(coordinator.heartbeat(member.id, generation: 1) == ErrorCode.none)
        let sync = coordinator.sync(member.id, generation: 1)
        #expect(try coordinator.synced(sync).text == "of " + member.id)
    }

    @Test func `what was under way when the lead was lost is forgotten`() throws {
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        coordinator.join(Joiner(id: members[0].id, protocols: [("range", "new")]))
        coordinator.join(Joiner(version: 9))
        coordinator.loseLead()
        coordinator.lead()
        #expect(coordinator.state() == "Stable")
        #expect(coordinator.memberIDs() == members.map(\.id))
        coordinator.join(Joiner(id: members[0].id))
        let second = coordinator.join(Joiner(id: members[1].id))
        #expect(try coordinator.joined(second).generationId == 3)
    }

    @Test func `a follower keeps up with what another coordinator writes`() throws {
        let other = Coordinator()
        let member = try other.formGroup([Joiner()])[0]
        other.askToCommit([("t", 0, 5)], member: member.id, generation: 1)
        coordinator.loseLead()
        coordinator.follow(other.log)
        coordinator.lead()
        #expect(coordinator.offset("t") == 5)
        #expect(coordinator.heartbeat(member.id, generation: 1) == ErrorCode.none)
    }

    @Test func `members have a whole session to find the new coordinator`() throws {
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        coordinator.restart()
        // The records were read long before this node came to lead.
        coordinator.pass(1_000_000)
        coordinator.lead()
        coordinator.wait(9_900)
        #expect(coordinator.memberIDs() == members.map(\.id))
        #expect(coordinator.heartbeat(members[0].id, generation: 2) == ErrorCode.none)
        coordinator.wait(200)
        #expect(coordinator.memberIDs() == [members[0].id])
    }

    @Test func `records that cannot be read are counted and passed over`() {
        let bad: [(key: [UInt8], value: [UInt8]?)] = [
            ([], nil), ([0], nil), ([0, 9, 1, 2], [0, 0]), ([0, 1, 0, 5, 65], [0, 3]),
            ([0, 2, 0, 1, 65], [0, 99]), ([0, 2, 0, 1, 65], [0, 3, 0]),
        ]
        for (key, value) in bad {
            coordinator.shard.replay(
                key: ByteSlice(key),
                value: value.map { ByteSlice($0) },
                isLoading: true
            )
        }
        #expect(coordinator.shard.unknownRecords == bad.count)
        #expect(coordinator.shard.list().isEmpty)
    }
}
