import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct RebalanceTests {
    @Test func `two members join, the leader assigns, both get their part`() throws {
        let coordinator = Coordinator()
        let first = coordinator.join(Joiner(protocols: [("range", "one")]))
        let id = try coordinator.joined(first).memberId
        #expect(try coordinator.joined(first).leader == id)

        let second = coordinator.join(Joiner(protocols: [("range", "two")]))
        #expect(coordinator.isWaiting(second))
        #expect(coordinator.heartbeat(id, generation: 1) == .rebalanceInProgress)
        let again = coordinator.join(Joiner(id: id, protocols: [("range", "one")]))

        let leading = try coordinator.joined(again)
        let following = try coordinator.joined(second)
        #expect(leading.generationId == 2 && following.generationId == 2)
        #expect(leading.leader == id && following.leader == id)
        #expect(leading.protocolName == "range" && leading.protocolType == "consumer")
        #expect(leading.members.map(\.memberId) == [id, following.memberId])
        #expect(leading.members.map(\.metadata) == [ByteSlice("one"), ByteSlice("two")])
        #expect(following.members.isEmpty)

        let waiting = coordinator.sync(following.memberId, generation: 2)
        #expect(coordinator.isWaiting(waiting))
        let assignments = [id: "A", following.memberId: "B"]
        let leads = coordinator.sync(id, generation: 2, assigning: assignments)
        #expect(try coordinator.synced(leads).text == "A")
        #expect(try coordinator.synced(waiting).text == "B")
        #expect(coordinator.state() == "Stable")
        #expect(coordinator.heartbeat(id, generation: 2) == ErrorCode.none)
    }

    @Test func `a group goes over from range to cooperative sticky, one member after the other`()
        throws
    {
        let coordinator = Coordinator()
        let both = [("cooperative-sticky", "c"), ("range", "r")]
        let members = try coordinator.formGroup([Joiner(), Joiner()])

        let upgraded = coordinator.join(Joiner(id: members[1].id, protocols: both))
        let old = coordinator.join(Joiner(id: members[0].id))
        #expect(try coordinator.joined(upgraded).protocolName == "range")
        #expect(try coordinator.joined(old).protocolName == "range")

        let last = coordinator.join(Joiner(id: members[0].id, protocols: both))
        let other = coordinator.join(Joiner(id: members[1].id, protocols: both))
        #expect(try coordinator.joined(last).protocolName == "cooperative-sticky")
        #expect(try coordinator.joined(last).members.map(\.metadata) == [.init("c"), .init("c")])
        #expect(try coordinator.joined(other).generationId == 4)
    }

    @Test func `the protocol most members prefer wins`() throws {
        let coordinator = Coordinator()
        let ab = [("a", "1"), ("b", "1")]
        let ba = [("b", "2"), ("a", "2")]
        let id = try coordinator.joined(coordinator.join(Joiner(protocols: ab))).memberId
        let second = coordinator.join(Joiner(protocols: ba))
        coordinator.join(Joiner(protocols: ba))
        coordinator.join(Joiner(id: id, protocols: ab))
        #expect(try coordinator.joined(second).protocolName == "b")
    }

    @Test func `a member must come back with the id it is given`() throws {
        let coordinator = Coordinator()
        let first = try coordinator.joined(coordinator.join(Joiner(client: "app", version: 4)))
        #expect(first.code == .memberIdRequired)
        #expect(first.memberId == "app-1")
        #expect(coordinator.state() == "Empty")

        let second = coordinator.join(Joiner(id: first.memberId, client: "app", version: 4))
        #expect(try coordinator.joined(second).code == ErrorCode.none)
        #expect(coordinator.memberIDs() == [first.memberId])
    }

    @Test func `an id given out holds the join phase until it comes back or is given up`() throws {
        let coordinator = Coordinator()
        let id = try coordinator.joined(coordinator.join(Joiner())).memberId
        try coordinator.syncAll([Member(id: id, generation: 1)])
        let pending = try coordinator.joined(coordinator.join(Joiner(version: 9))).memberId

        let again = coordinator.join(Joiner(id: id))
        #expect(coordinator.isWaiting(again))
        #expect(coordinator.leave(pending) == ErrorCode.none)
        #expect(try coordinator.joined(again).generationId == 2)
    }

    @Test func `an id nobody comes back with lapses after a session`() throws {
        let coordinator = Coordinator()
        let id = try coordinator.joined(coordinator.join(Joiner())).memberId
        try coordinator.syncAll([Member(id: id, generation: 1)])
        let pending = try coordinator.joined(coordinator.join(Joiner(version: 9))).memberId
        let again = coordinator.join(Joiner(id: id))
        coordinator.wait(9_900)
        #expect(coordinator.isWaiting(again))
        coordinator.wait(200)
        #expect(try coordinator.joined(again).generationId == 2)
        let late = coordinator.join(Joiner(id: pending, version: 9))
        #expect(try coordinator.joined(late).code == .unknownMemberId)
    }

    @Test func `whoever is not known is told so`() throws {
        let coordinator = Coordinator()
        #expect(try coordinator.joined(coordinator.join(Joiner(id: "x"))).code == .unknownMemberId)
        #expect(coordinator.heartbeat("x", generation: 1) == .unknownMemberId)
        #expect(coordinator.leave("x") == .unknownMemberId)
        #expect(
            try coordinator.synced(coordinator.sync("x", generation: 1)).code == .unknownMemberId
        )

        _ = try coordinator.formGroup([Joiner()])
        #expect(try coordinator.joined(coordinator.join(Joiner(id: "x"))).code == .unknownMemberId)
        #expect(coordinator.heartbeat("x", generation: 1) == .unknownMemberId)
        #expect(coordinator.leave("x") == .unknownMemberId)
        #expect(
            try coordinator.synced(coordinator.sync("x", generation: 1)).code == .unknownMemberId
        )
        #expect(coordinator.state() == "Stable")
    }

    @Test func `another generation is refused`() throws {
        let coordinator = Coordinator()
        let member = try coordinator.formGroup([Joiner()])[0]
        for generation: Int32 in [-1, 0, 2] {
            #expect(coordinator.heartbeat(member.id, generation: generation) == .illegalGeneration)
            let token = coordinator.sync(member.id, generation: generation)
            #expect(try coordinator.synced(token).code == .illegalGeneration)
        }
    }

    @Test func `a member that shares no protocol, or is of another type, stays out`() throws {
        let coordinator = Coordinator()
        let nothing = coordinator.join(Joiner(protocols: []))
        #expect(try coordinator.joined(nothing).code == .inconsistentGroupProtocol)
        let untyped = coordinator.join(Joiner(type: ""))
        #expect(try coordinator.joined(untyped).code == .inconsistentGroupProtocol)
        #expect(coordinator.state() == "Dead")

        let member = try coordinator.formGroup([Joiner()])[0]
        let other = coordinator.join(Joiner(protocols: [("sticky", "s")]))
        #expect(try coordinator.joined(other).code == .inconsistentGroupProtocol)
        let connect = coordinator.join(Joiner(type: "connect"))
        #expect(try coordinator.joined(connect).code == .inconsistentGroupProtocol)
        let sync = coordinator.sync(member.id, generation: 1, protocol: "sticky")
        #expect(try coordinator.synced(sync).code == .inconsistentGroupProtocol)
        let typed = coordinator.sync(member.id, generation: 1, type: "connect")
        #expect(try coordinator.synced(typed).code == .inconsistentGroupProtocol)
        #expect(coordinator.state() == "Stable")
    }

    @Test func `an empty name and a session out of bounds are refused`() throws {
        let coordinator = Coordinator()
        #expect(try coordinator.joined(coordinator.join(Joiner(group: ""))).code == .invalidGroupId)
        #expect(coordinator.heartbeat("x", generation: 1, group: "") == .invalidGroupId)
        #expect(coordinator.leave("x", group: "") == .invalidGroupId)
        for session: Int32 in [-1, 0, 5_999, 1_800_001] {
            let token = coordinator.join(Joiner(session: session))
            #expect(try coordinator.joined(token).code == .invalidSessionTimeout)
        }
        #expect(coordinator.shard.list().isEmpty)
    }

    @Test func `a full group takes nobody more, but lets members come back`() throws {
        let coordinator = Coordinator { $0.maxGroupSize = 2 }
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        for version: Int16 in [3, 9] {
            let third = coordinator.join(Joiner(version: version))
            #expect(try coordinator.joined(third).code == .groupMaxSizeReached)
        }
        let fixed = coordinator.join(Joiner(instance: "i"))
        #expect(try coordinator.joined(fixed).code == .groupMaxSizeReached)
        coordinator.join(Joiner(id: members[0].id))
        let back = coordinator.join(Joiner(id: members[1].id))
        #expect(try coordinator.joined(back).code == ErrorCode.none)
    }

    @Test func `ids given out count towards the size of a group`() throws {
        let coordinator = Coordinator { $0.maxGroupSize = 2 }
        let first = try coordinator.joined(coordinator.join(Joiner(version: 9))).memberId
        #expect(
            try coordinator.joined(coordinator.join(Joiner(version: 9))).code == .memberIdRequired
        )
        #expect(
            try coordinator.joined(coordinator.join(Joiner(version: 9))).code
                == .groupMaxSizeReached
        )
        coordinator.join(Joiner(id: first, version: 9))
        #expect(coordinator.memberIDs() == [first])
    }

    @Test func `there are only so many groups`() throws {
        let coordinator = Coordinator { $0.maxGroups = 1 }
        coordinator.join(Joiner())
        let other = coordinator.join(Joiner(group: "h"))
        #expect(try coordinator.joined(other).code == .coordinatorNotAvailable)
        let commit = coordinator.askToCommit([("t", 0, 1)], group: "h")
        #expect(try coordinator.commitCodes(commit) == [.coordinatorNotAvailable])
    }

    @Test func `a member that leaves starts a rebalance, the last one empties the group`() throws {
        let coordinator = Coordinator()
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        #expect(coordinator.leave(members[0].id) == ErrorCode.none)
        #expect(coordinator.heartbeat(members[1].id, generation: 2) == .rebalanceInProgress)
        let back = try coordinator.joined(coordinator.join(Joiner(id: members[1].id)))
        #expect(back.leader == members[1].id && back.generationId == 3)

        #expect(coordinator.leave(members[1].id) == ErrorCode.none)
        #expect(coordinator.state() == "Empty")
        #expect(coordinator.replayed().describe("g").groupState == "Empty")
    }

    @Test func `a follower that repeats its join in a stable group is told what is`() throws {
        let coordinator = Coordinator()
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        let repeated = try coordinator.joined(coordinator.join(Joiner(id: members[1].id)))
        #expect(repeated.generationId == 2 && repeated.members.isEmpty)
        #expect(coordinator.state() == "Stable")
        let changed = coordinator.join(Joiner(id: members[1].id, protocols: [("range", "new")]))
        #expect(coordinator.isWaiting(changed))
        #expect(coordinator.state() == "PreparingRebalance")
    }

    @Test func `a leader that joins again asks for a rebalance`() throws {
        let coordinator = Coordinator()
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        let again = coordinator.join(Joiner(id: members[0].id))
        #expect(coordinator.isWaiting(again))
        coordinator.join(Joiner(id: members[1].id))
        #expect(try coordinator.joined(again).generationId == 3)
    }

    @Test func `the same join sent twice is answered twice, the first with a retriable error`()
        throws
    {
        let coordinator = Coordinator()
        let members = try coordinator.formGroup([Joiner(), Joiner()])
        let first = coordinator.join(Joiner(id: members[0].id))
        let second = coordinator.join(Joiner(id: members[0].id))
        #expect(try coordinator.joined(first).code == .rebalanceInProgress)
        coordinator.join(Joiner(id: members[1].id))
        #expect(try coordinator.joined(second).code == ErrorCode.none)
    }

    @Test func `the assignment is told only once it is written`() throws {
        let coordinator = Coordinator()
        let id = try coordinator.joined(coordinator.join(Joiner())).memberId
        coordinator.commitsAtOnce = false
        let token = coordinator.sync(id, generation: 1, assigning: [id: "A"])
        #expect(coordinator.isWaiting(token))
        #expect(coordinator.state() == "CompletingRebalance")
        coordinator.commit()
        #expect(try coordinator.synced(token).text == "A")
    }

    @Test func `an assignment that cannot be written fails the sync and starts again`() throws {
        let coordinator = Coordinator()
        let id = try coordinator.joined(coordinator.join(Joiner())).memberId
        coordinator.commitsAtOnce = false
        let token = coordinator.sync(id, generation: 1, assigning: [id: "A"])
        coordinator.fail(.notLeaderOrFollower)
        #expect(try coordinator.synced(token).code == .notCoordinator)
        #expect(coordinator.state() == "PreparingRebalance")
    }

    @Test func `an assignment overtaken by a rebalance is not told`() throws {
        let coordinator = Coordinator()
        let id = try coordinator.joined(coordinator.join(Joiner())).memberId
        coordinator.commitsAtOnce = false
        let sync = coordinator.sync(id, generation: 1, assigning: [id: "A"])
        let other = coordinator.join(Joiner())
        #expect(try coordinator.synced(sync).code == .rebalanceInProgress)
        let again = coordinator.join(Joiner(id: id))
        coordinator.commit()
        #expect(coordinator.state() == "CompletingRebalance")
        #expect(try coordinator.joined(again).generationId == 2)
        #expect(try coordinator.joined(other).generationId == 2)
    }

    @Test func `names of the greatest length that is taken fit into the log`() throws {
        let coordinator = Coordinator()
        let longer = String(repeating: "n", count: 32_001)
        let refused = try coordinator.joined(coordinator.join(Joiner(group: longer)))
        #expect(refused.errorCode == ErrorCode.invalidGroupId.rawValue)
        let long = String(repeating: "n", count: 32_000)
        var joiner = Joiner(group: long, type: long, protocols: [(long, "x")], client: long)
        let dynamic = try coordinator.joined(coordinator.join(joiner)).memberId
        #expect(dynamic.utf8.count <= Int(Int16.max))
        joiner.instance = long
        let fixed = coordinator.join(joiner)
        coordinator.leave(dynamic, group: long)
        let id = try coordinator.joined(fixed).memberId
        #expect(id.utf8.count <= Int(Int16.max))
        coordinator.sync(id, generation: 2, group: long, instance: long, assigning: [id: "A"])
        #expect(coordinator.replayed().describe(long).members.map(\.memberId) == [id])
    }
}
