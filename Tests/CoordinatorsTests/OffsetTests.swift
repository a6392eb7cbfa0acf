import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct OffsetTests {
    private static let day: Int64 = 86_400_000
    private let coordinator = Coordinator()

    private func subscription(_ topics: [String]) throws -> String {
        var message = ConsumerProtocolSubscription()
        message.topics = topics
        message.userData = ByteSlice()
        var writer = ByteWriter(capacity: 64)
        writer.write(Int16(1))
        try message.encode(into: &writer, version: 1)
        return String(decoding: writer.finishContiguous().array, as: UTF8.self)
    }

    // MARK: Committing

    @Test func `a consumer without a group commits, and finds what it committed`() throws {
        let token = coordinator.askToCommit([("t", 0, 5), ("u", 3, 6)], metadata: "note")
        #expect(try coordinator.commitCodes(token) == [ErrorCode.none, ErrorCode.none])
        let shard = coordinator.shard
        let found = try #require(shard.committedOffset(group: "g", topic: "t", partition: 0))
        #expect(found.offset == 5 && found.leaderEpoch == 7)
        #expect(found.metadata == "note" && found.commitTimestamp == coordinator.wall)
        #expect(coordinator.offset("u", 3) == 6)
        #expect(coordinator.offset("t", 1) == nil && coordinator.offset("x") == nil)
        #expect(coordinator.offset("t", group: "h") == nil)
        #expect(shard.committedOffsets(group: "g").map(\.topic) == ["t", "u"])
        #expect(shard.committedOffsets(group: "h").isEmpty)
        #expect(coordinator.state() == "Empty")
    }

    @Test func `a later commit takes the place of the earlier, even when it goes back`() {
        for offset: Int64 in [10, 20, 3] {
            coordinator.askToCommit([("t", 0, offset)])
            #expect(coordinator.offset("t") == offset)
        }
    }

    @Test func `an offset is neither told nor seen before it is written`() throws {
        coordinator.commitsAtOnce = false
        let token = coordinator.askToCommit([("t", 0, 5)])
        #expect(coordinator.isWaiting(token) && coordinator.offset("t") == nil)
        coordinator.commit()
        #expect(!coordinator.isWaiting(token) && coordinator.offset("t") == 5)
    }

    @Test(arguments: [
        (ErrorCode.notLeaderOrFollower, ErrorCode.notCoordinator),
        (.messageTooLarge, .invalidCommitOffsetSize),
        (.requestTimedOut, .coordinatorNotAvailable),
        (.kafkaStorageError, .coordinatorNotAvailable),
    ])
    func `a commit that cannot be written says so, and leaves no group behind`(
        _ cause: ErrorCode,
        _ told: ErrorCode
    ) throws {
        coordinator.commitsAtOnce = false
        let token = coordinator.askToCommit([("t", 0, 5)])
        coordinator.fail(cause)
        #expect(try coordinator.commitCodes(token) == [told])
        #expect(coordinator.offset("t") == nil)
        #expect(coordinator.shard.list().isEmpty)
    }

    @Test func `members commit in their generation only`() throws {
        let member = try coordinator.formGroup([Joiner()])[0]
        func codes(_ id: String, _ generation: Int32) throws -> [ErrorCode?] {
            try coordinator.commitCodes(
                coordinator.askToCommit([("t", 0, 5)], member: id, generation: generation)
            )
        }
        #expect(try codes(member.id, 1) == [ErrorCode.none])
        #expect(try codes(member.id, 0) == [.illegalGeneration])
        #expect(try codes(member.id, 2) == [.illegalGeneration])
        #expect(try codes("x", 1) == [.unknownMemberId])
        #expect(try codes("", -1) == [.unknownMemberId])
        #expect(coordinator.offset("t") == 5)
    }

    @Test func `members still commit while the others rejoin, but not before they have synced`()
        throws
    {
        let member = try coordinator.formGroup([Joiner()])[0]
        let second = coordinator.join(Joiner())
        let during = coordinator.askToCommit([("t", 0, 5)], member: member.id, generation: 1)
        #expect(try coordinator.commitCodes(during) == [ErrorCode.none])
        coordinator.join(Joiner(id: member.id))
        #expect(try coordinator.joined(second).generationId == 2)
        let before = coordinator.askToCommit([("t", 0, 6)], member: member.id, generation: 2)
        #expect(try coordinator.commitCodes(before) == [.rebalanceInProgress])
        #expect(coordinator.offset("t") == 5)
    }

    @Test func `a generation of a group that is not there is illegal, and no name invalid`() throws
    {
        let token = coordinator.askToCommit([("t", 0, 5)], member: "x", generation: 1)
        #expect(try coordinator.commitCodes(token) == [.illegalGeneration])
        let unnamed = coordinator.askToCommit([("t", 0, 5)], group: "")
        #expect(try coordinator.commitCodes(unnamed) == [.invalidGroupId])
        #expect(coordinator.shard.list().isEmpty && coordinator.log.isEmpty)
    }

    @Test func `partitions are refused one by one`() throws {
        let missing = TopicPartition(topic: "u", partition: 0)
        let token = coordinator.askToCommit(
            [("t", 0, 5), ("u", 0, 6)],
            refused: [missing: .unknownTopicOrPartition]
        )
        #expect(try coordinator.commitCodes(token) == [ErrorCode.none, .unknownTopicOrPartition])
        #expect(coordinator.offset("t") == 5 && coordinator.offset("u") == nil)
    }

    @Test func `metadata has a limit`() throws {
        let limit = coordinator.settings.offsetMetadataMaxBytes
        let most = String(repeating: "x", count: limit)
        let fits = coordinator.askToCommit([("t", 0, 5)], metadata: most)
        #expect(try coordinator.commitCodes(fits) == [ErrorCode.none])
        let tooMuch = coordinator.askToCommit([("t", 0, 6)], metadata: most + "x")
        #expect(try coordinator.commitCodes(tooMuch) == [.offsetMetadataTooLarge])
        #expect(coordinator.offset("t") == 5)
    }

    // MARK: Deleting

    private func deleteOffsets(
        _ topics: [String],
        group: String = "g"
    ) throws
        -> (code: ErrorCode?, partitions: [ErrorCode?])
    {
        var request = OffsetDeleteRequest()
        request.groupId = group
        request.topics = topics.map { name in
            var partition = OffsetDeleteRequest.OffsetDeleteRequestPartition()
            partition.partitionIndex = 0
            var topic = OffsetDeleteRequest.OffsetDeleteRequestTopic()
            topic.name = name
            topic.partitions = [partition]
            return topic
        }
        let token = coordinator.perform {
            $0.deleteOffsets(request, token: $1, now: coordinator.now)
        }
        guard case .offsetDelete(let response) = try coordinator.reply(token, #_sourceLocation)
        else { throw Coordinator.WrongReply() }
        return (
            ErrorCode(rawValue: response.errorCode),
            response.topics.flatMap(\.partitions).map { ErrorCode(rawValue: $0.errorCode) }
        )
    }

    @Test func `offsets of a group without members are deleted`() throws {
        coordinator.askToCommit([("t", 0, 5), ("u", 0, 6)])
        let answer = try deleteOffsets(["t", "x"])
        #expect(answer.code == ErrorCode.none)
        #expect(answer.partitions == [ErrorCode.none, ErrorCode.none])
        #expect(coordinator.offset("t") == nil && coordinator.offset("u") == 6)
        #expect(coordinator.replayed().committedOffsets(group: "g").map(\.topic) == ["u"])
        #expect(try deleteOffsets(["t"], group: "h").code == .groupIdNotFound)
    }

    @Test func `offsets of a topic members subscribe to stay`() throws {
        coordinator.askToCommit([("t", 0, 5), ("u", 0, 6)])
        _ = try coordinator.formGroup([Joiner(protocols: [("range", try subscription(["t"]))])])
        let answer = try deleteOffsets(["t", "u"])
        #expect(answer.partitions == [.groupSubscribedToTopic, ErrorCode.none])
        #expect(coordinator.offset("t") == 5 && coordinator.offset("u") == nil)
    }

    @Test func `a group whose subscriptions cannot be read keeps its offsets`() throws {
        coordinator.askToCommit([("t", 0, 5)])
        _ = try coordinator.formGroup([Joiner(type: "connect")])
        #expect(try deleteOffsets(["t"]).code == .nonEmptyGroup)
        #expect(coordinator.offset("t") == 5)
    }

    @Test func `a deleted topic takes its offsets along`() {
        coordinator.askToCommit([("t", 0, 5), ("u", 0, 6)])
        coordinator.askToCommit([("t", 1, 7)], group: "h")
        coordinator.take(coordinator.shard.topicDeleted("t", now: coordinator.now))
        #expect(coordinator.offset("t") == nil && coordinator.offset("t", 1, group: "h") == nil)
        #expect(coordinator.offset("u") == 6)
        #expect(coordinator.shard.list().map(\.id) == ["g"])
    }

    // MARK: Expiry

    private func expire() { coordinator.take(coordinator.shard.expireOffsets()) }

    @Test func `offsets of a simple consumer live for the retention after each commit`() {
        coordinator.askToCommit([("t", 0, 5)])
        coordinator.pass(6 * Self.day)
        coordinator.askToCommit([("u", 0, 6)])
        expire()
        #expect(coordinator.offset("t") == 5)
        coordinator.pass(Self.day + 1)
        expire()
        #expect(coordinator.offset("t") == nil && coordinator.offset("u") == 6)
        coordinator.pass(6 * Self.day)
        expire()
        #expect(coordinator.shard.list().isEmpty)
        #expect(coordinator.replayed().list().isEmpty)
    }

    @Test func `offsets of a group live for the retention after its last member left`() throws {
        let member = try coordinator.formGroup([Joiner(session: 1_000_000)])[0]
        coordinator.askToCommit([("t", 0, 5)], member: member.id, generation: 1)
        coordinator.pass(30 * Self.day)
        expire()
        #expect(coordinator.offset("t") == 5)
        coordinator.leave(member.id)
        coordinator.pass(7 * Self.day)
        expire()
        #expect(coordinator.offset("t") == 5)
        coordinator.restart()
        expire()
        #expect(coordinator.offset("t") == 5)
        coordinator.pass(1)
        expire()
        #expect(coordinator.offset("t") == nil)
        #expect(coordinator.state() == "Dead")
        #expect(coordinator.replayed().list().isEmpty)
    }
}
