import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Platform
import RaftRuntime
import Testing

@testable import Broker

@Suite struct CoordinatorFailoverTests {
    private static let offsets = TopicPartition(topic: "__consumer_offsets", partition: 0)

    private static func request(
        _ node: PartitionNode,
        _ body: @escaping @Sendable (GroupCoordinatorShard, ReplyToken, Int64) -> GroupEffects
    ) throws -> GroupReply? {
        let coordinators = try #require(node.coordinators)
        return try node.on { _ in await coordinators.request(partition: 0, body) }
    }

    private static func joinRequest(
        _ member: String,
        session: Int32,
        rebalance: Int32
    ) -> JoinGroupRequest {
        var request = JoinGroupRequest()
        request.groupId = "g"
        request.memberId = member
        request.sessionTimeoutMs = session
        request.rebalanceTimeoutMs = rebalance
        request.protocolType = "consumer"
        var offered = JoinGroupRequest.JoinGroupRequestProtocol()
        offered.name = "range"
        request.protocols = [offered]
        return request
    }

    private static func join(_ node: PartitionNode, member: String) throws -> JoinGroupResponse {
        let request = Self.joinRequest(member, session: 10_000, rebalance: 10_000)
        let client = GroupClient(clientID: "c", host: "/h", version: 5)
        let reply = try Self.request(node) { coordinator, token, now in
            coordinator.join(request, client, token: token, now: now)
        }
        guard case .join(let response) = reply else { throw PartitionProblem.unreadable(.none, 0) }
        return response
    }

    private static func heartbeat(
        _ node: PartitionNode,
        _ member: String,
        _ generation: Int32
    ) throws -> Int16? {
        var asked = HeartbeatRequest()
        asked.groupId = "g"
        asked.memberId = member
        asked.generationId = generation
        let request = asked
        let reply = try Self.request(node) { coordinator, token, now in
            coordinator.heartbeat(request, token: token, now: now)
        }
        if case .heartbeat(let response) = reply { return response.errorCode }
        return nil
    }

    private static func commit(
        _ node: PartitionNode,
        _ member: String,
        _ generation: Int32,
        offset: Int64
    ) throws -> Int16? {
        var partition = OffsetCommitRequest.OffsetCommitRequestPartition()
        partition.committedOffset = offset
        var topic = OffsetCommitRequest.OffsetCommitRequestTopic()
        topic.name = "orders"
        topic.partitions = [partition]
        var asked = OffsetCommitRequest()
        asked.groupId = "g"
        asked.memberId = member
        asked.generationIdOrMemberEpoch = generation
        asked.topics = [topic]
        let request = asked
        let reply = try Self.request(node) { coordinator, token, now in
            coordinator.commitOffsets(request, refused: [:], token: token, now: now)
        }
        guard case .offsetCommit(let response) = reply else { return nil }
        return response.topics.first?.partitions.first?.errorCode
    }

    private static func committed(_ node: PartitionNode) throws -> Int64? {
        let coordinators = try #require(node.coordinators)
        return try node.on { _ in
            await coordinators.read(partition: 0) { coordinator in
                coordinator.committedOffset(group: "g", topic: "orders", partition: 0)?.offset
            } ?? nil
        }
    }

    /// A group of one member, stable.
    private static func form(on leader: PartitionNode) throws -> (member: String, generation: Int32)
    {
        let refused = try join(leader, member: "")
        #expect(refused.errorCode == ErrorCode.memberIdRequired.rawValue)
        let joined = try join(leader, member: refused.memberId)
        #expect(joined.errorCode == 0)
        var asked = SyncGroupRequest()
        asked.groupId = "g"
        asked.memberId = joined.memberId
        asked.generationId = joined.generationId
        var assignment = SyncGroupRequest.SyncGroupRequestAssignment()
        assignment.memberId = joined.memberId
        assignment.assignment = ByteSlice("all")
        asked.assignments = [assignment]
        let request = asked
        let reply = try Self.request(leader) { coordinator, token, now in
            coordinator.sync(request, token: token, now: now)
        }
        guard case .sync(let response) = reply else { throw PartitionProblem.unreadable(.none, 0) }
        #expect(response.errorCode == 0)
        return (joined.memberId, joined.generationId)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a group goes on with another coordinator`(seed: UInt64) throws {
        let cluster = try PartitionCluster(seed: seed, partition: Self.offsets)
        let leader = try cluster.leader()
        let (member, generation) = try Self.form(on: leader)
        #expect(try Self.commit(leader, member, generation, offset: 41) == 0)
        let follower = try #require(cluster.followers(of: leader).first)
        #expect(try Self.heartbeat(follower, member, generation) == nil)
        let coordinators = try #require(follower.coordinators)
        let refusal = try follower.on { _ in await coordinators.refusal(partition: 0) }
        #expect(refusal == .notCoordinator)
        leader.cutPower()
        let next = try cluster.leader()
        #expect(try Self.heartbeat(next, member, generation) == 0)
        #expect(try Self.committed(next) == 41)
        #expect(try Self.commit(next, member, generation, offset: 42) == 0)
        // Its session began anew, and ends.
        cluster.run(15_000)
        #expect(try Self.heartbeat(next, member, generation) == ErrorCode.unknownMemberId.rawValue)
        #expect(try Self.committed(next) == 42)
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `what is committed while a coordinator reads its segments is not missed`(
        seed: UInt64
    ) throws {
        let cluster = try PartitionCluster(seed: seed, partition: Self.offsets)
        let leader = try cluster.leader()
        let (member, generation) = try Self.form(on: leader)
        for offset in 0..<20 as Range<Int64> {
            #expect(try Self.commit(leader, member, generation, offset: offset) == 0)
        }
        try cluster.settle()
        let follower = try #require(cluster.followers(of: leader).first)
        try follower.flush()
        follower.cutPower()
        #expect(try Self.commit(leader, member, generation, offset: 41) == 0)
        try follower.start()
        try cluster.settle()
        let (id, heir) = (cluster.partition, follower.replicaID)
        try leader.on { try await $0.partition(id)?.replica.transferLeadership(to: heir) }
        cluster.run(10_000) { follower.epoch != nil }
        #expect(try Self.committed(follower) == 41)
    }

    @Test func `who waits for a rebalance is told that the coordinator has moved`() throws {
        let cluster = try PartitionCluster(partition: Self.offsets)
        let leader = try cluster.leader()
        let (member, generation) = try Self.form(on: leader)
        let coordinators = try #require(leader.coordinators)
        let loop = try #require(leader.shard?.loop)
        let second = try Self.joinID(leader)
        let answer = Box<GroupReply?>()
        Task(executorPreference: loop) {
            let request = Self.joinRequest(second, session: 30_000, rebalance: 60_000)
            let client = GroupClient(clientID: "c", host: "/h", version: 5)
            answer.value = await coordinators.request(partition: 0) { coordinator, token, now in
                coordinator.join(request, client, token: token, now: now)
            }
        }
        cluster.run(100)
        #expect(answer.value == nil)
        cluster.wire.isolate(leader.replicaID, from: cluster.ids)
        cluster.run(10_000) { answer.value != nil }
        guard case .join(let response)? = answer.value ?? nil else {
            Issue.record("no answer")
            return
        }
        #expect(response.errorCode == ErrorCode.notCoordinator.rawValue)
        let next = try cluster.leader(besides: leader)
        #expect(try Self.heartbeat(next, member, generation) == 0)
    }

    private static func joinID(_ node: PartitionNode) throws -> String {
        try join(node, member: "").memberId
    }

    @Test func `a coordinator brought by a snapshot knows the groups`() throws {
        let cluster = try PartitionCluster(partition: Self.offsets)
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).last)
        late.cutPower()
        let (member, generation) = try Self.form(on: leader)
        #expect(try Self.commit(leader, member, generation, offset: 7) == 0)
        try leader.flush()
        try late.start()
        try cluster.settle()
        #expect(cluster.wire.snapshotBytes > 0)
        // The other follower goes, so that nobody else can take over.
        let other = try #require(cluster.followers(of: leader).first { $0 !== late })
        let id = Self.offsets
        let heir = late.replicaID
        try leader.on { shard in
            try await shard.partition(id)?.replica.transferLeadership(to: heir)
        }
        cluster.run(10_000) { late.epoch != nil }
        #expect(other.epoch == nil)
        #expect(try Self.heartbeat(late, member, generation) == 0)
        #expect(try Self.committed(late) == 7)
    }
}
