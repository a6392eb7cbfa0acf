import ClusterMetadata
import KafkaProtocol
import Platform
import Testing

@Suite struct ReassignmentTests {
    private var cluster = Cluster(brokers: 1...6)

    init() {
        cluster.create("t", assignments: [[1, 2, 3]])
        cluster.electPreferred()
    }

    private mutating func reassign(_ replicas: [Int32]?) -> ErrorCode? {
        cluster.run(.reassign([.init(topic: "t", partition: 0, replicas: replicas)])).code
    }

    private mutating func report(
        _ members: GroupMembers,
        epoch: Int32 = 1,
        revision: Int32? = nil,
        commit: UInt64 = 40
    ) -> ErrorCode? {
        let partition = cluster.partition("t")
        return cluster.run(
            .reportMembers([
                .init(
                    groupID: partition?.groupID ?? 0,
                    epoch: epoch,
                    revision: revision ?? partition?.assignment.revision ?? 0,
                    members: members,
                    commit: commit
                )
            ])
        ).code
    }

    @Test mutating func `a topic keeps as many replicas as it wants in sync`() throws {
        var controller = MetadataController(
            settings: .init(nodeID: 1, defaultReplicationFactor: 3),
            committed: cluster.image
        )
        let key = TopicConfigurationKey.minInSyncReplicas
        _ = try controller.alterTopicConfigs("t", [(key, .set("3"))], validateOnly: false)
        let problem = #expect(throws: MetadataProblem.self) {
            try controller.reassign("t", 0, to: [1, 2])
        }
        #expect(problem?.code == .invalidReplicaAssignment)
        _ = try controller.reassign("t", 0, to: [4, 5, 6])
        _ = try controller.alterTopicConfigs("t", [(key, .set("2"))], validateOnly: false)
        _ = try controller.reassign("t", 0, to: [4, 5])
    }

    @Test mutating func `a reassignment adds, then takes away, and is done when reported`() {
        #expect(reassign([4, 1, 5]) == ErrorCode.none)
        let assignment = cluster.partition("t")?.assignment
        #expect(assignment?.replicas == [4, 1, 5, 2, 3])
        #expect(assignment?.adding == [4, 5] && assignment?.removing == [2, 3])
        #expect(report(.init(voters: [1, 2, 3], learners: [4, 5])) == ErrorCode.none)
        #expect(report(.init(voters: [1, 4, 5], outgoing: [1, 2, 3])) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment == assignment)
        #expect(report(.init(voters: [1, 4, 5])) == ErrorCode.none)
        #expect(cluster.partition("t")?.replicas == [4, 1, 5])
        #expect(cluster.partition("t")?.assignment.isMoving == false)
    }

    @Test mutating func `a reassignment asked for twice is one`() {
        #expect(reassign([4, 1, 5]) == ErrorCode.none)
        let records = cluster.log.count
        #expect(reassign([4, 1, 5]) == ErrorCode.none)
        #expect(cluster.log.count == records)
    }

    @Test mutating func `a reassignment is taken back to what was before, in its order`() {
        #expect(reassign(nil) == .noReassignmentInProgress)
        #expect(reassign([4, 3, 5]) == ErrorCode.none)
        #expect(reassign(nil) == ErrorCode.none)
        let assignment = cluster.partition("t")?.assignment
        #expect(assignment?.target == [1, 2, 3] && assignment?.removing == [4, 5])
        #expect(reassign(nil) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment == assignment)
        #expect(report(.init(voters: [3, 2, 1])) == ErrorCode.none)
        #expect(cluster.partition("t")?.replicas == [1, 2, 3])
        #expect(reassign(nil) == .noReassignmentInProgress)
    }

    @Test mutating func `another target takes the place of the first`() {
        #expect(reassign([1, 2, 4]) == ErrorCode.none)
        #expect(reassign([1, 2, 5]) == ErrorCode.none)
        let assignment = cluster.partition("t")?.assignment
        #expect(assignment?.adding == [5] && assignment?.removing == [4, 3])
        #expect(assignment?.original == [1, 2, 3])
    }

    @Test mutating func `another order of the same replicas is another preferred leader`() {
        #expect(reassign([3, 1, 2]) == ErrorCode.none)
        #expect(cluster.partition("t")?.replicas == [3, 1, 2])
        #expect(cluster.partition("t")?.assignment.isMoving == false)
        #expect(cluster.image.loads[3]?.preferred == 1 && cluster.image.loads[1]?.preferred == 0)
    }

    @Test mutating func `targets that cannot be are refused`() {
        for target in [[], [1, 1], [1, 9]] as [[Int32]] {
            #expect(reassign(target) == .invalidReplicaAssignment)
        }
        let unknown = cluster.run(.reassign([.init(topic: "t", partition: 7, replicas: [1])]))
        #expect(unknown.code == .unknownTopicOrPartition)
    }

    @Test mutating func `a report on an earlier target or of an earlier leader changes nothing`() {
        #expect(reassign([1, 2, 4]) == ErrorCode.none)
        let first = cluster.partition("t")?.assignment.revision
        #expect(reassign(nil) == ErrorCode.none)
        #expect(report(.init(voters: [1, 2, 3]), revision: first) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.isReassigning == true)
        cluster.electPreferred(epoch: 5)
        #expect(report(.init(voters: [1, 2, 3]), epoch: 4) == .fencedLeaderEpoch)
        #expect(report(.init(voters: [1, 2, 3]), epoch: 5) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.isReassigning == false)
    }

    @Test mutating func `no partitions are added while others move`() {
        #expect(reassign([1, 2, 4]) == ErrorCode.none)
        let answer = cluster.run(
            .createPartitions([.init(topic: "t", count: 2)], validateOnly: false)
        )
        #expect(answer.code == .reassignmentInProgress)
    }

    // MARK: How replicas begin

    @Test mutating func `only first members begin as voters`() {
        #expect(cluster.partition("t")?.beginning(on: 2) == .founder(voters: [1, 2, 3]))
        #expect(cluster.partition("t")?.beginning(on: 4) == nil)
        #expect(reassign([1, 2, 4]) == ErrorCode.none)
        #expect(cluster.partition("t")?.beginning(on: 4) == .joiner(after: 1, index: 0))
        #expect(cluster.partition("t")?.beginning(on: 2) == .founder(voters: [1, 2, 3]))
        #expect(report(.init(voters: [1, 2, 4])) == ErrorCode.none)
        #expect(reassign([1, 2, 3]) == ErrorCode.none)
        #expect(cluster.partition("t")?.beginning(on: 3) == .joiner(after: 1, index: 40))
    }

    @Test mutating func `who joins is told of every term in which it may have been here before`() {
        #expect(reassign([1, 2]) == ErrorCode.none)
        // That 3 has left counts once it is known that the one who says so leads.
        #expect(report(.init(voters: [1, 2]), epoch: 5, commit: 90) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.removing == [3])
        cluster.electPreferred(epoch: 5)
        #expect(report(.init(voters: [1, 2]), epoch: 5, commit: 90) == ErrorCode.none)
        #expect(cluster.partition("t")?.replicas == [1, 2])
        #expect(reassign([1, 2, 3]) == ErrorCode.none)
        #expect(cluster.partition("t")?.beginning(on: 3) == .joiner(after: 5, index: 90))
    }

    @Test mutating func `one that is to leave and has not begun yet begins as the voter it is`() {
        #expect(reassign([1, 2]) == ErrorCode.none)
        #expect(cluster.partition("t")?.beginning(on: 3) == .founder(voters: [1, 2, 3]))
        cluster.electPreferred()
        cluster.silence(3)
        cluster.run(.replaceBroker(id: 3, directoryID: Cluster.broker(3).directoryID))
        cluster.run(
            .registerBroker(Cluster.broker(3, disk: 1), clusterID: Cluster.clusterID)
        )
        // Its disk is gone, and it is a voter still: it must not begin as one that has promised
        // nothing, nor when it is to stay after all.
        #expect(cluster.partition("t")?.beginning(on: 3) == nil)
        #expect(reassign(nil) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.renewing == [3])
        #expect(cluster.partition("t")?.beginning(on: 3) == nil)
        #expect(reassign([1, 2]) == ErrorCode.none)
        #expect(report(.init(voters: [1, 2])) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.rejoining == [])
        #expect(cluster.partition("t")?.replicas == [1, 2])
    }

    @Test mutating func `a replica whose disk was replaced leaves before it comes back`() {
        cluster.electPreferred()
        cluster.silence(3)
        cluster.run(.replaceBroker(id: 3, directoryID: Cluster.broker(3).directoryID))
        cluster.run(
            .registerBroker(Cluster.broker(3, disk: 1), clusterID: Cluster.clusterID)
        )
        let lost = cluster.partition("t")
        #expect(lost?.assignment.renewing == [3] && lost?.leadership.inSync == [1, 2])
        #expect(lost?.beginning(on: 3) == nil && lost?.assignment.isReassigning == false)
        #expect(report(.init(voters: [1, 2, 3])) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.renewing == [3])
        #expect(report(.init(voters: [1, 2])) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.rejoining == [3])
        #expect(cluster.partition("t")?.beginning(on: 3) == .joiner(after: 1, index: 40))
        #expect(report(.init(voters: [1, 2], learners: [3])) == ErrorCode.none)
        #expect(report(.init(voters: [1, 2, 3])) == ErrorCode.none)
        #expect(cluster.partition("t")?.assignment.isMoving == false)
        #expect(cluster.partition("t")?.beginning(on: 3) == .joiner(after: 1, index: 40))
    }

    // MARK: The leader's steps

    private func step(
        _ assignment: ReplicaAssignment,
        _ members: GroupMembers,
        caughtUp: [Int32] = [1, 2, 3, 4, 5, 6],
        leader: Int32 = 1
    ) -> MembershipStep? {
        .next(for: assignment, members: members, caughtUp: caughtUp, leader: leader)
    }

    @Test func `new replicas learn, catch up, and vote as the old ones leave`() {
        let move = ReplicaAssignment(replicas: [1, 4, 5, 2, 3], adding: [4, 5], removing: [2, 3])
        #expect(
            step(move, .init(voters: [1, 2, 3]))
                == .change(addLearners: [4, 5], addVoters: [], remove: [])
        )
        let learning = GroupMembers(voters: [1, 2, 3], learners: [4, 5])
        #expect(step(move, learning, caughtUp: [1, 2, 4]) == .awaitCatchUp([5]))
        #expect(
            step(move, learning) == .change(addLearners: [], addVoters: [4, 5], remove: [2, 3])
        )
        #expect(step(move, .init(voters: [1, 4, 5], outgoing: [1, 2, 3])) == nil)
        #expect(step(move, .init(voters: [1, 4, 5])) == .report)
        #expect(step(.init(replicas: [1, 4, 5]), .init(voters: [1, 4, 5])) == nil)
    }

    @Test func `a leader that is to leave hands over first`() {
        let move = ReplicaAssignment(replicas: [4, 5, 1, 2], adding: [4, 5], removing: [1, 2])
        #expect(
            step(move, .init(voters: [1, 2], learners: [4, 5]))
                == .change(addLearners: [], addVoters: [4, 5], remove: [])
        )
        let both = GroupMembers(voters: [1, 2, 4, 5])
        #expect(step(move, both, caughtUp: [1, 2, 5]) == .transferLeadership([5]))
        #expect(
            step(move, both, leader: 5) == .change(addLearners: [], addVoters: [], remove: [1, 2])
        )
    }

    @Test func `learners of a target taken back are let go`() {
        let back = ReplicaAssignment(replicas: [1, 2, 3, 4], removing: [4])
        #expect(
            step(back, .init(voters: [1, 2, 3], learners: [4]))
                == .change(addLearners: [], addVoters: [], remove: [4])
        )
    }

    @Test func `a lost replica goes before anything else, and is reported`() {
        let lost = ReplicaAssignment(replicas: [1, 2, 3, 4], adding: [4], renewing: [3])
        #expect(
            step(lost, .init(voters: [1, 2, 3]))
                == .change(addLearners: [], addVoters: [], remove: [3])
        )
        #expect(step(lost, .init(voters: [1, 2])) == .report)
    }

    /// A group that does what its leader's steps say, at its own pace.
    private struct Group {
        var members: GroupMembers
        var leader: Int32

        mutating func carryOut(_ step: MembershipStep, _ generator: inout SeededGenerator) {
            switch step {
            case .change(let learners, let voters, let remove):
                members.learners.removeAll { voters.contains($0) || remove.contains($0) }
                members.learners += learners
                members.voters += voters
                members.voters.removeAll { remove.contains($0) }
                #expect(!members.voters.isEmpty && !remove.contains(leader))
            case .transferLeadership(let candidates):
                if let next = candidates.first { leader = next }
            case .awaitCatchUp, .report: break
            }
        }
    }

    /// Targets come, change and go while the group follows; at last both agree.
    @Test(arguments: 1...60 as ClosedRange<UInt64>)
    mutating func `whatever is asked for on the way, the group ends at the last target`(
        _ seed: UInt64
    ) throws {
        var generator = SeededGenerator(seed: seed)
        var group = Group(members: .init(voters: [1, 2, 3]), leader: 1)
        var delayed: [GroupMembersReport] = []
        var lastVoted: [Int32: UInt64] = [:]
        for round in 0..<400 {
            let isAsking = round < 200
            if isAsking && generator.below(8) == 0 {
                let target = (1...6).shuffled(using: &generator).prefix(1 + generator.below(4))
                _ = reassign(generator.below(3) == 0 ? nil : target.map { Int32($0) })
            }
            let partition = try #require(cluster.partition("t"))
            let caughtUp = (1...6).filter { _ in generator.below(3) > 0 || !isAsking }
            let step = MembershipStep.next(
                for: partition.assignment,
                members: group.members,
                caughtUp: caughtUp.map { Int32($0) },
                leader: group.leader
            )
            // Only who hosts the partition can be a member.
            let before = group.members
            if let step { group.carryOut(step, &generator) }
            for id in before.voters where !group.members.voters.contains(id) {
                lastVoted[id] = UInt64(round)
            }
            if step == .report {
                delayed.append(
                    .init(
                        groupID: partition.groupID,
                        epoch: 1,
                        revision: partition.assignment.revision,
                        members: group.members,
                        commit: UInt64(round)
                    )
                )
            }
            if !delayed.isEmpty, generator.below(3) == 0 {
                let place = generator.below(delayed.count)
                cluster.run(.reportMembers([delayed[place]]))
                if generator.below(2) == 0 { delayed.remove(at: place) }
            }
            // Who is no replica any more has promised nothing beyond what a joiner is told.
            let assignment = try #require(cluster.partition("t")?.assignment)
            for (id, last) in lastVoted where !assignment.replicas.contains(id) {
                #expect(assignment.settledIndex >= last)
            }
            let now = try #require(cluster.partition("t"))
            let members = group.members.voters + group.members.learners
            #expect(Set(members).isSubset(of: now.replicas), "round \(round)")
        }
        let last = try #require(cluster.partition("t"))
        #expect(last.assignment.isMoving == false)
        #expect(group.members.voters.sorted() == last.replicas.sorted())
        #expect(group.members.learners.isEmpty)
    }
}
