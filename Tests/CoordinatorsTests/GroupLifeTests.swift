import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct GroupLifeTests {
    private let coordinator = Coordinator()

    // MARK: Deleting

    @Test func `only a group without members can be deleted`() throws {
        #expect(try coordinator.deleted(coordinator.delete()) == .groupIdNotFound)
        let member = try coordinator.formGroup([Joiner()])[0]
        coordinator.askToCommit([("t", 0, 5)], member: member.id, generation: 1)
        #expect(try coordinator.deleted(coordinator.delete()) == .nonEmptyGroup)
        coordinator.leave(member.id)
        #expect(try coordinator.deleted(coordinator.delete()) == ErrorCode.none)
        #expect(coordinator.state() == "Dead" && coordinator.offset("t") == nil)
        #expect(coordinator.replayed().list().isEmpty)
        #expect(coordinator.replayed().committedOffsets(group: "g").isEmpty)
    }

    @Test func `a group somebody is about to join is not deleted`() throws {
        coordinator.join(Joiner(version: 9))
        #expect(try coordinator.deleted(coordinator.delete()) == .nonEmptyGroup)
    }

    @Test func `a deletion that cannot be written deletes nothing`() throws {
        coordinator.askToCommit([("t", 0, 5)])
        coordinator.commitsAtOnce = false
        let token = coordinator.delete()
        coordinator.fail(.requestTimedOut)
        #expect(try coordinator.deleted(token) == .coordinatorNotAvailable)
        #expect(coordinator.offset("t") == 5)
    }

    @Test func `an offset committed right after a deletion stays`() throws {
        coordinator.askToCommit([("t", 0, 5)])
        coordinator.commitsAtOnce = false
        let deletion = coordinator.delete()
        let commit = coordinator.askToCommit([("t", 0, 6)])
        coordinator.commit()
        #expect(try coordinator.deleted(deletion) == ErrorCode.none)
        #expect(try coordinator.commitCodes(commit) == [ErrorCode.none])
        #expect(coordinator.offset("t") == 6)
        #expect(coordinator.replayed().committedOffset(group: "g", topic: "t", partition: 0) != nil)
    }

    @Test func `an offset on its way while a group is deleted stays`() throws {
        coordinator.askToCommit([("t", 0, 5)])
        coordinator.commitsAtOnce = false
        coordinator.askToCommit([("u", 0, 6)])
        coordinator.delete()
        coordinator.commit()
        #expect(coordinator.offset("t") == nil && coordinator.offset("u") == 6)
        #expect(coordinator.replayed().committedOffset(group: "g", topic: "u", partition: 0) != nil)
    }

    @Test func `a group deleted twice at once and used again stays`() throws {
        coordinator.askToCommit([("t", 0, 5)])
        coordinator.commitsAtOnce = false
        coordinator.delete()
        coordinator.delete()
        coordinator.askToCommit([("t", 0, 6)])
        coordinator.commit()
        #expect(coordinator.offset("t") == 6)
    }

    @Test func `a member that joins while its group is deleted stays`() throws {
        coordinator.askToCommit([("t", 0, 5)])
        coordinator.commitsAtOnce = false
        let deletion = coordinator.delete()
        let joining = coordinator.join(Joiner())
        coordinator.commit()
        #expect(try coordinator.deleted(deletion) == ErrorCode.none)
        let id = try coordinator.joined(joining).memberId
        #expect(coordinator.memberIDs() == [id] && coordinator.offset("t") == nil)
        coordinator.commitsAtOnce = true
        coordinator.sync(id, generation: 1, assigning: [id: "A"])
        #expect(coordinator.state() == "Stable")
        #expect(coordinator.replayed().describe("g").groupState == "Stable")
    }

    // MARK: Describing

    @Test func `a group is described through its life`() throws {
        #expect(coordinator.shard.describe("g").groupState == "Dead")
        let first = try coordinator.joined(coordinator.join(Joiner(client: "one"))).memberId
        var description = coordinator.shard.describe("g")
        #expect(description.groupState == "CompletingRebalance" && description.protocolData == "")
        try coordinator.syncAll([Member(id: first, generation: 1)])
        description = coordinator.shard.describe("g")
        #expect(description.groupState == "Stable" && description.protocolData == "range")
        #expect(description.protocolType == "consumer" && description.errorCode == 0)
        #expect(description.members[0].clientId == "one")
        #expect(description.members[0].clientHost == "/host")
        #expect(description.members[0].memberMetadata == ByteSlice("r"))
        #expect(description.members[0].memberAssignment == ByteSlice("of " + first))
        coordinator.join(Joiner(instance: "i"))
        description = coordinator.shard.describe("g")
        #expect(description.groupState == "PreparingRebalance")
        #expect(description.members.map(\.groupInstanceId) == [nil, "i"])
        #expect(description.members.allSatisfy { $0.memberAssignment.isEmpty })
    }

    @Test func `the list has every group with its type and state, sorted`() throws {
        _ = try coordinator.formGroup([Joiner(group: "b")])
        coordinator.askToCommit([("t", 0, 5)], group: "c")
        coordinator.join(Joiner(group: "a", type: "connect"))
        let list = coordinator.shard.list()
        #expect(list.map(\.id) == ["a", "b", "c"])
        #expect(list.map(\.protocolType) == ["connect", "consumer", ""])
        #expect(list.map(\.state) == [.completingRebalance, .stable, .empty])
    }

    @Test func `a group whose only member never came back with its id is gone`() {
        coordinator.join(Joiner(version: 9))
        #expect(coordinator.shard.list().count == 1)
        coordinator.wait(10_100)
        #expect(coordinator.shard.list().isEmpty && coordinator.shard.nextDeadline == .max)
    }

    // MARK: Where a group belongs

    @Test func `groups are spread as Java hashes their names`() {
        #expect(OffsetsPartitioner.partition(of: "", count: 50) == 0)
        // "hello".hashCode() is 99162322, "my-group".hashCode() is -1906497762.
        #expect(OffsetsPartitioner.partition(of: "hello", count: 50) == 22)
        #expect(OffsetsPartitioner.partition(of: "my-group", count: 50) == 12)
        // Its hash is the smallest 32-bit number, which has no absolute value.
        #expect(OffsetsPartitioner.partition(of: "polygenelubricants", count: 50) == 0)
        #expect(OffsetsPartitioner.partition(of: "é😀", count: 7) >= 0)
    }
}
