import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct GroupTimeTests {
    @Test func `a member without a sign of life for a session is out`() throws {
        let coordinator = Coordinator()
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        coordinator.wait(9_000)
        #expect(coordinator.heartbeat(members[0].id, generation: 2) == ErrorCode.none)
        coordinator.wait(900)
        #expect(coordinator.state() == "Stable")
        coordinator.wait(200)
        #expect(coordinator.memberIDs() == [members[0].id])
        #expect(coordinator.heartbeat(members[0].id, generation: 2) == .rebalanceInProgress)
        #expect(coordinator.heartbeat(members[1].id, generation: 2) == .unknownMemberId)
    }

    @Test func `a commit is a sign of life`() throws {
        let coordinator = Coordinator()
        let member = try coordinator.formGroup([Joiner()])[0]
        for offset in 0..<5 {
            coordinator.wait(8_000)
            coordinator.askToCommit([("t", 0, Int64(offset))], member: member.id, generation: 1)
        }
        #expect(coordinator.state() == "Stable")
        coordinator.wait(10_100)
        #expect(coordinator.state() == "Empty")
    }

    @Test func `members that do not come back within the rebalance timeout are out`() throws {
        let coordinator = Coordinator()
        let joiner = Joiner(session: 100_000, rebalance: 20_000)
        let members = try coordinator.formGroup([joiner, joiner])
        let third = coordinator.join(joiner)
        coordinator.wait(19_900)
        #expect(coordinator.isWaiting(third))
        coordinator.wait(200)
        #expect(try coordinator.joined(third).generationId == 3)
        #expect(try coordinator.joined(third).leader == coordinator.joined(third).memberId)
        #expect(coordinator.heartbeat(members[0].id, generation: 3) == .unknownMemberId)
    }

    @Test func `a member that waits in its join is not put out`() throws {
        let coordinator = Coordinator()
        let patient = Joiner(session: 6_000, rebalance: 60_000)
        let members = try coordinator.formGroup([patient, patient])
        var back = patient
        back.id = members[0].id
        let token = coordinator.join(back)
        for _ in 0..<10 {
            coordinator.wait(5_000)
            #expect(coordinator.heartbeat(members[1].id, generation: 2) == .rebalanceInProgress)
        }
        #expect(coordinator.isWaiting(token))
        coordinator.wait(10_100)
        #expect(try coordinator.joined(token).generationId == 3)
    }

    @Test func `version 0 waits for a rebalance as long as for a session`() throws {
        let coordinator = Coordinator()
        let joiner = Joiner(session: 10_000, rebalance: -1, version: 0)
        let first = try coordinator.joined(coordinator.join(joiner)).memberId
        try coordinator.syncAll([Member(id: first, generation: 1)])
        let second = coordinator.join(joiner)
        coordinator.wait(5_000)
        coordinator.heartbeat(first, generation: 1)
        coordinator.wait(5_100)
        #expect(try coordinator.joined(second).generationId == 2)
    }

    @Test func `members that never sync are out, those that did are told to rejoin`() throws {
        let coordinator = Coordinator()
        let joiner = Joiner(session: 60_000, rebalance: 20_000)
        let leader = try coordinator.joined(coordinator.join(joiner)).memberId
        let token = coordinator.join(joiner)
        coordinator.join(Joiner(id: leader, session: 60_000, rebalance: 20_000))
        let follower = try coordinator.joined(token).memberId
        let sync = coordinator.sync(follower, generation: 2)
        coordinator.wait(20_100)
        #expect(try coordinator.synced(sync).code == .rebalanceInProgress)
        #expect(coordinator.memberIDs() == [follower])
    }

    @Test func `a member told to rejoin has a whole session to do it`() throws {
        let coordinator = Coordinator()
        let joiner = Joiner(session: 6_000, rebalance: 20_000)
        let leader = try coordinator.joined(coordinator.join(joiner)).memberId
        let token = coordinator.join(joiner)
        coordinator.join(Joiner(id: leader, session: 6_000, rebalance: 20_000))
        let follower = try coordinator.joined(token).memberId
        let sync = coordinator.sync(follower, generation: 2)
        // The leader is alive, but never assigns.
        while coordinator.isWaiting(sync) {
            coordinator.heartbeat(leader, generation: 2)
            coordinator.wait(1_000)
        }
        #expect(try coordinator.synced(sync).code == .rebalanceInProgress)
        coordinator.wait(5_000)
        #expect(coordinator.memberIDs().contains(follower))
        let back = coordinator.join(Joiner(id: follower, session: 6_000, rebalance: 20_000))
        coordinator.wait(20_000)
        #expect(try coordinator.joined(back).code == ErrorCode.none)
    }

    @Test func `a new group waits a little for more members`() throws {
        let coordinator = Coordinator(delay: 3_000)
        let first = coordinator.join(Joiner())
        coordinator.wait(2_900)
        #expect(coordinator.isWaiting(first))
        coordinator.wait(200)
        #expect(try coordinator.joined(first).generationId == 1)
    }

    @Test func `each newcomer prolongs the wait, up to the rebalance timeout`() throws {
        let coordinator = Coordinator(delay: 3_000)
        let joiner = Joiner(session: 30_000, rebalance: 10_000)
        var tokens = [coordinator.join(joiner)]
        // One every two seconds: delays of 3, 3, 3, then the second that is left.
        for _ in 0..<4 {
            coordinator.wait(2_000)
            tokens.append(coordinator.join(joiner))
        }
        coordinator.wait(1_900)
        #expect(tokens.allSatisfy { coordinator.isWaiting($0) })
        coordinator.wait(200)
        for token in tokens { #expect(try coordinator.joined(token).generationId == 1) }
        #expect(try coordinator.joined(tokens[0]).members.count == 5)
    }

    @Test func `a new group whose members leave before it begins is empty again`() throws {
        let coordinator = Coordinator(delay: 3_000)
        let first = coordinator.join(Joiner())
        let id = try #require(coordinator.memberIDs().first)
        coordinator.wait(1_000)
        coordinator.leave(id)
        #expect(try coordinator.joined(first).code == .unknownMemberId)
        coordinator.wait(3_000)
        #expect(coordinator.state() == "Empty")
        coordinator.wait(10_000)
        #expect(coordinator.shard.nextDeadline == .max)
    }

    @Test func `a group that is no longer empty does not wait for newcomers`() throws {
        let coordinator = Coordinator(delay: 3_000)
        let first = coordinator.join(Joiner())
        coordinator.wait(3_100)
        let id = try coordinator.joined(first).memberId
        let second = coordinator.join(Joiner())
        coordinator.join(Joiner(id: id))
        #expect(try coordinator.joined(second).generationId == 2)
    }

    @Test func `nothing waits for the clock when nobody is there`() throws {
        let coordinator = Coordinator()
        #expect(coordinator.shard.nextDeadline == .max)
        coordinator.askToCommit([("t", 0, 1)])
        #expect(coordinator.shard.nextDeadline == .max)
        let member = try coordinator.formGroup([Joiner()])[0]
        #expect(coordinator.shard.nextDeadline <= coordinator.now + 10_000)
        coordinator.leave(member.id)
        // A deadline that was put off or is gone is found so when it comes.
        coordinator.wait(10_000)
        #expect(coordinator.shard.nextDeadline == .max)
    }

    @Test func `a group is looked at when its first deadline comes, not before`() throws {
        let coordinator = Coordinator()
        let member = try coordinator.formGroup([Joiner()])[0]
        let first = coordinator.shard.nextDeadline
        #expect(first == coordinator.now + 10_000)
        coordinator.wait(9_000)
        #expect(coordinator.heartbeat(member.id, generation: 1) == .some(.none))
        #expect(coordinator.shard.nextDeadline == first)
        coordinator.wait(1_000)
        #expect(coordinator.state() == "Stable")
        #expect(coordinator.shard.nextDeadline == first + 9_000)
        coordinator.wait(8_950)
        #expect(coordinator.state() == "Stable")
        coordinator.wait(50)
        #expect(coordinator.state() == "Empty")
    }
}
