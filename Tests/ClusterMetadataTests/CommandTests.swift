import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import Testing

@Suite struct CommandTests {
    private static let id = KafkaUUID(high: 1, low: 2)

    static let requests: [MetadataCommand.Request] = [
        .createTopics(
            [
                .init(
                    id: id,
                    name: "t",
                    partitions: 3,
                    replicationFactor: 2,
                    configs: [.init("retention.ms", "5"), .init("segment.ms", nil)]
                ),
                .init(id: .zero, name: "", assignments: [[1, 2], []]),
            ],
            validateOnly: true
        ),
        .deleteTopics([id, .zero]),
        .createPartitions(
            [.init(topic: "t", count: 4), .init(topic: "u", count: -1, assignments: [[1], [2]])],
            validateOnly: false
        ),
        .alterTopicConfigs(
            topic: "t",
            [
                .init("a", .set("1")), .init("b", .delete), .init("c", .append("x")),
                .init("d", .subtract("")),
            ],
            validateOnly: false
        ),
        .alterBrokerConfigs([.init("a", .set("1"))], validateOnly: true),
        .registerBroker(Cluster.broker(2, rack: "r"), clusterID: "c"),
        .stopBroker(id: 1, epoch: 2),
        .replaceBroker(id: 1, directoryID: id),
        .unregisterBroker(id: 1),
        .allocateProducerIDs(broker: 1, epoch: .max),
        .reportLeaderships(
            broker: 1,
            epoch: 2,
            [.init(groupID: 3, .init(leader: 1, epoch: 4, inSync: [1, 2]))]
        ),
        .reportMembers([
            .init(
                groupID: 1,
                epoch: 2,
                revision: 3,
                members: .init(voters: [1], outgoing: [2], learners: [3]),
                commit: 40
            )
        ]),
        .reassign([
            .init(topic: "t", partition: 0, replicas: [1, 2]),
            .init(topic: "t", partition: 1, replicas: nil),
        ]),
    ]

    static let answers: [MetadataAnswer] = [
        .outcomes([.done, .init(.invalidPartitions, "é"), .init(.unknownServerError)]),
        .outcomes([]),
        .topics([
            .init(.done, id: id, partitions: 3, replicationFactor: 2),
            .init(.init(.topicAlreadyExists, "t")),
        ]),
        .brokerEpoch(7),
        .producerIDs(first: 1_000, count: 1_000),
        .refused(.init(.notController, "no")),
    ]

    @Test(arguments: requests)
    func `a command is read as it was written, or refused`(
        _ request: MetadataCommand.Request
    ) throws {
        for isRetry in [false, true] {
            let command = MetadataCommand(request, isRetry: isRetry)
            #expect(try MetadataCommand(decoding: command.encoded()) == command)
        }
        let bytes = MetadataCommand(request).encoded()
        for count in 0..<bytes.count {
            #expect(throws: MalformedBytes.self) {
                try MetadataCommand(decoding: bytes.prefix(count))
            }
        }
        #expect(throws: MalformedBytes.trailingBytes(1)) {
            try MetadataCommand(decoding: ByteSlice(bytes.array + [0]))
        }
    }

    @Test(arguments: answers)
    func `an answer is read as it was written, or refused`(_ answer: MetadataAnswer) throws {
        let bytes = answer.encoded()
        #expect(try MetadataAnswer(decoding: bytes) == answer)
        for count in 0..<bytes.count {
            #expect(throws: MalformedBytes.self) {
                try MetadataAnswer(decoding: bytes.prefix(count))
            }
        }
    }

    @Test func `other versions and kinds are refused`() {
        for head: [UInt8] in [[1, 0, 1], [0, 0, 0], [0, 0, 14], [0, 2, 1]] {
            let bytes = ByteSlice(head + [UInt8](repeating: 0, count: 60))
            #expect(throws: MalformedBytes.self) { try MetadataCommand(decoding: bytes) }
        }
        for head: [UInt8] in [[1, 1], [0, 0], [0, 6]] {
            let bytes = ByteSlice(head + [UInt8](repeating: 0, count: 60))
            #expect(throws: MalformedBytes.self) { try MetadataAnswer(decoding: bytes) }
        }
    }

    @Test func `a message longer than an answer takes is cut`() throws {
        let long = MetadataAnswer.refused(
            .init(.invalidConfig, String(repeating: "é", count: 70_000))
        )
        let read = try MetadataAnswer(decoding: long.encoded())
        #expect(read.text.count == 1_001 && read.code == .invalidConfig)
    }

    /// Whatever the bytes, a command is refused or carried out; what it decides can be written,
    /// read and replayed.
    @Test func `damaged commands never trap`() throws {
        var generator = SeededGenerator(seed: 11)
        var cluster = Cluster(maxPartitions: 500)
        var carriedOut = 0
        for round in 0..<60_000 {
            var bytes: [UInt8]
            if round % 2 == 0 {
                bytes =
                    MetadataCommand(Self.requests[round / 2 % Self.requests.count]).encoded()
                    .array
            } else {
                var workload = Workload(seed: UInt64(round))
                bytes = MetadataCommand(workload.next(for: cluster.image)).encoded().array
            }
            for _ in 0..<generator.below(4) {
                bytes[generator.below(bytes.count)] =
                    [0, 1, 0x7f, 0xff, UInt8(generator.below(256))][generator.below(5)]
            }
            if generator.below(8) == 0 { bytes.removeLast(generator.below(bytes.count)) }
            guard let command = try? MetadataCommand(decoding: ByteSlice(bytes)) else { continue }
            carriedOut += 1
            let decision = cluster.controller.handle(command)
            for record in decision.records {
                #expect(try MetadataRecord(decoding: record.encoded()) == record)
            }
            _ = decision.answer.encoded()
        }
        #expect(carriedOut > 20_000)
    }

    @Test func `damaged answers never trap`() {
        var generator = SeededGenerator(seed: 12)
        for round in 0..<20_000 {
            var bytes = Self.answers[round % Self.answers.count].encoded().array
            for _ in 0...generator.below(3) {
                bytes[generator.below(bytes.count)] = UInt8(generator.below(256))
            }
            if let answer = try? MetadataAnswer(decoding: ByteSlice(bytes)) {
                _ = answer.encoded()
            }
        }
    }

    // MARK: Sent again

    @Test func `a topic asked for twice by one request is made once, with one answer`() {
        var cluster = Cluster()
        let request = MetadataCommand.Request.createTopics(
            [.init(id: Self.id, name: "t", partitions: 2)],
            validateOnly: false
        )
        let first = cluster.run(request)
        let records = cluster.log.count
        #expect(cluster.run(request, isRetry: true) == first && cluster.log.count == records)
        #expect(cluster.create("t", number: 9)?.code == .topicAlreadyExists)
    }

    @Test func `a request that comes after its topic was deleted does not bring it back`() {
        var cluster = Cluster()
        #expect(cluster.create("t", number: 1)?.code == ErrorCode.none)
        #expect(cluster.run(.deleteTopics([Cluster.id(1)])).code == ErrorCode.none)
        #expect(cluster.create("t", number: 1)?.code == .unknownTopicId)
        #expect(cluster.image.topicCount == 0)
    }

    @Test func `a deletion sent again is done, one of a topic that never was is not`() {
        var cluster = Cluster()
        cluster.create("t", number: 1)
        let request = MetadataCommand.Request.deleteTopics([Cluster.id(1)])
        #expect(cluster.run(request).code == ErrorCode.none)
        #expect(cluster.run(request, isRetry: true).code == ErrorCode.none)
        #expect(cluster.run(request).code == .unknownTopicId)
        let never = cluster.run(.deleteTopics([Cluster.id(2)]), isRetry: true)
        #expect(never.code == .unknownTopicId)
    }

    @Test func `partitions asked for twice by one request are added once`() {
        var cluster = Cluster()
        cluster.create("t")
        let request = MetadataCommand.Request.createPartitions(
            [.init(topic: "t", count: 5)],
            validateOnly: false
        )
        #expect(cluster.run(request).code == ErrorCode.none)
        #expect(cluster.run(request, isRetry: true).code == ErrorCode.none)
        #expect(cluster.run(request).code == .invalidPartitions)
        #expect(cluster.image.partitionCount == 5)
    }

    @Test func `each topic of a command succeeds or fails by itself`() {
        var cluster = Cluster()
        cluster.create("old", number: 9)
        let answer = cluster.run(
            .createTopics(
                [
                    .init(id: Cluster.id(1), name: "a"), .init(id: Cluster.id(2), name: "old"),
                    .init(id: Cluster.id(3), name: "b", replicationFactor: 9),
                    .init(id: Cluster.id(4), name: "c"), .init(id: Cluster.id(5), name: "a"),
                ],
                validateOnly: false
            )
        )
        guard case .topics(let outcomes) = answer else {
            Issue.record("\(answer)")
            return
        }
        let codes = outcomes.map(\.outcome.code)
        #expect(
            codes == [
                ErrorCode.none, .topicAlreadyExists, .invalidReplicationFactor, ErrorCode.none,
                .topicAlreadyExists,
            ]
        )
        #expect(cluster.image.sortedTopics.map(\.name) == ["a", "c", "old"])
    }
}
