import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct MetadataControllerTests {
    typealias NewTopic = MetadataController.NewTopic

    private var controller = MetadataController(
        settings: .init(nodeID: 1, defaultPartitions: 3, maxPartitions: 10),
        committed: MetadataImage()
    )
    private var nextID: UInt64 = 0

    private mutating func create(
        _ topic: NewTopic,
        validateOnly: Bool = false
    ) throws(MetadataProblem) -> MetadataImage.Topic {
        nextID += 1
        let id = KafkaUUID(high: 7, low: nextID)
        return try controller.createTopic(topic, id: id, validateOnly: validateOnly).answer
    }

    private mutating func refusal(of topic: NewTopic) -> ErrorCode? {
        do {
            _ = try create(topic)
            return nil
        } catch {
            return error.code
        }
    }

    // MARK: Creating topics

    @Test mutating func `a topic gets the broker's number of partitions, each with its group`()
        throws
    {
        let first = try create(NewTopic(name: "t"))
        #expect(first.partitions.map(\.index) == [0, 1, 2])
        #expect(first.partitions.map(\.groupID) == [1, 2, 3])
        #expect(first.partitions.allSatisfy { $0.replicas == [1] })
        let second = try create(
            NewTopic(
                name: "u",
                partitions: 2,
                replicationFactor: 1,
                configs: [("segment.bytes", "99")]
            )
        )
        #expect(second.partitions.map(\.groupID) == [4, 5])
        #expect(second.configs == ["segment.bytes": "99"])
    }

    @Test mutating func `the records of a decision make what was decided`() throws {
        var committed = MetadataImage()
        let decision = try controller.createTopic(
            NewTopic(name: "t", configs: [("retention.ms", "5")]),
            id: KafkaUUID(high: 1, low: 1)
        )
        for record in decision.records { committed.replay(record) }
        #expect(committed.topic("t")?.partitions == decision.answer.partitions)
        #expect(committed.topic("t")?.configs == ["retention.ms": "5"])
        #expect(committed.nextGroupID == controller.decided.nextGroupID)
    }

    @Test mutating func `a second request sees the first, though nothing is committed yet`() throws
    {
        _ = try create(NewTopic(name: "t"))
        #expect(refusal(of: NewTopic(name: "t")) == .topicAlreadyExists)
        controller.reset(to: MetadataImage())
        #expect(refusal(of: NewTopic(name: "t")) == nil)
    }

    @Test(arguments: [
        "", ".", "..", "a b", "a/b", "é", "a\0", String(repeating: "x", count: 250), "a:b", "a,b",
    ])
    mutating func `a bad name is refused`(_ name: String) {
        #expect(refusal(of: NewTopic(name: name)) == .invalidTopicException)
    }

    @Test(arguments: ["a", "...", "A-z_0.9", String(repeating: "x", count: 249)])
    mutating func `a good name is taken`(_ name: String) {
        #expect(refusal(of: NewTopic(name: name)) == nil)
    }

    @Test mutating func `names that differ in dots and underscores alone do not go together`() {
        #expect(refusal(of: NewTopic(name: "a.b")) == nil)
        #expect(refusal(of: NewTopic(name: "a_b")) == .invalidTopicException)
        #expect(refusal(of: NewTopic(name: "a-b")) == nil)
    }

    @Test(arguments: [
        (NewTopic(name: "t", partitions: 0), ErrorCode.invalidPartitions),
        (NewTopic(name: "t", partitions: -2), .invalidPartitions),
        (NewTopic(name: "t", partitions: 11), .invalidPartitions),
        (NewTopic(name: "t", partitions: .max), .invalidPartitions),
        (NewTopic(name: "t", replicationFactor: 0), .invalidReplicationFactor),
        (NewTopic(name: "t", replicationFactor: 3), .invalidReplicationFactor),
        (NewTopic(name: "t", partitions: 1, assignments: [[1]]), .invalidRequest),
        (NewTopic(name: "t", assignments: [[1], [2]]), .invalidReplicaAssignment),
        (NewTopic(name: "t", assignments: [[]]), .invalidReplicaAssignment),
        (NewTopic(name: "t", assignments: [[1, 1]]), .invalidReplicaAssignment),
        (NewTopic(name: "t", configs: [("no.such.key", "1")]), .invalidConfig),
        (NewTopic(name: "t", configs: [("retention.ms", "soon")]), .invalidConfig),
        (NewTopic(name: "t", configs: [("segment.bytes", "13")]), .invalidConfig),
        (NewTopic(name: "t", configs: [("cleanup.policy", "shred")]), .invalidConfig),
    ])
    mutating func `a topic that cannot be is refused, and nothing is decided`(
        _ topic: NewTopic,
        _ code: ErrorCode
    ) {
        #expect(refusal(of: topic) == code)
        #expect(controller.decided.topicCount == 0 && controller.decided.nextGroupID == 1)
    }

    @Test mutating func `assignments give the number of partitions`() throws {
        #expect(try create(NewTopic(name: "t", assignments: [[1], [1]])).partitions.count == 2)
    }

    @Test mutating func `all topics together have so many partitions and no more`() throws {
        _ = try create(NewTopic(name: "t", partitions: 9))
        #expect(refusal(of: NewTopic(name: "u", partitions: 2)) == .invalidPartitions)
        #expect(refusal(of: NewTopic(name: "u", partitions: 1)) == nil)
    }

    @Test mutating func `a topic that is only validated is not there`() throws {
        let preview = try create(NewTopic(name: "t"), validateOnly: true)
        #expect(preview.partitions.count == 3)
        #expect(controller.decided.topicCount == 0)
        #expect(controller.decided.nextGroupID == 1)
    }

    // MARK: Deleting topics

    @Test mutating func `a topic is deleted once`() throws {
        let topic = try create(NewTopic(name: "t"))
        let records = try controller.deleteTopic(topic).records
        #expect(records == [.removeTopic(id: topic.id)])
        #expect(throws: MetadataProblem.self) { try controller.deleteTopic(topic) }
        let again = try create(NewTopic(name: "t"))
        #expect(again.id != topic.id && again.partitions[0].groupID == 4)
    }

    @Test mutating func `the broker's own topics stay`() throws {
        let topic = try create(NewTopic(name: "__consumer_offsets"))
        do {
            _ = try controller.deleteTopic(topic)
            Issue.record("deleted")
        } catch {
            #expect(error.code == .topicDeletionDisabled)
        }
    }

    // MARK: Adding partitions

    private mutating func refusal(
        adding count: Int32,
        _ assignments: [[Int32]]? = nil
    )
        -> ErrorCode?
    {
        do {
            _ = try controller.addPartitions(
                to: "t",
                count: count,
                assignments: assignments,
                validateOnly: false
            )
            return nil
        } catch {
            return error.code
        }
    }

    @Test mutating func `partitions are added behind those that are there`() throws {
        #expect(refusal(adding: 4) == .unknownTopicOrPartition)
        _ = try create(NewTopic(name: "t"))
        _ = try create(NewTopic(name: "u", partitions: 1))
        for count: Int32 in [-1, 0, 2, 3] { #expect(refusal(adding: count) == .invalidPartitions) }
        #expect(refusal(adding: 10) == .invalidPartitions)
        #expect(refusal(adding: .max) == .invalidPartitions)
        #expect(refusal(adding: 5, [[1]]) == .invalidReplicaAssignment)
        #expect(refusal(adding: 5, [[1], [2]]) == .invalidReplicaAssignment)
        #expect(refusal(adding: 5, [[1], [1]]) == nil)
        let partitions = try #require(controller.decided.topic("t")).partitions
        #expect(partitions.map(\.index) == [0, 1, 2, 3, 4])
        #expect(partitions.map(\.groupID) == [1, 2, 3, 5, 6])
    }

    @Test mutating func `partitions that are only validated are not added`() throws {
        _ = try create(NewTopic(name: "t"))
        let decision = try controller.addPartitions(
            to: "t",
            count: 4,
            assignments: nil,
            validateOnly: true
        )
        #expect(decision.records.isEmpty && controller.decided.partitionCount == 3)
    }

    @Test mutating func `the broker's own topics keep their number of partitions`() throws {
        _ = try create(NewTopic(name: "__consumer_offsets"))
        #expect(throws: MetadataProblem.self) {
            try controller.addPartitions(
                to: "__consumer_offsets",
                count: 4,
                assignments: nil,
                validateOnly: false
            )
        }
    }

    // MARK: Producer ids and brokers

    @Test mutating func `producer ids are set aside once`() {
        #expect(controller.reserveProducerIDs(1_000).answer == 0..<1_000)
        let second = controller.reserveProducerIDs(10)
        #expect(second.answer == 1_000..<1_010 && second.records == [.producerIDs(next: 1_010)])
    }

    @Test mutating func `a broker that has not changed registers without a record`() {
        let record = MetadataRecord.broker(id: 1, host: "h", port: 9092, rack: nil)
        #expect(controller.registerBroker(host: "h", port: 9092, rack: nil).records == [record])
        #expect(controller.registerBroker(host: "h", port: 9092, rack: nil).records.isEmpty)
        #expect(controller.registerBroker(host: "h", port: 9093, rack: nil).records.count == 1)
    }
}
