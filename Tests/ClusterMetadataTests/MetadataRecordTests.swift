import Bytes
import ClusterMetadata
import KafkaMessages
import Testing

@Suite struct MetadataRecordTests {
    private static let id = KafkaUUID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)

    static let records: [MetadataRecord] = [
        .topic(id: id, name: "orders"),
        .topic(id: .zero, name: ""),
        .partition(topicID: id, index: 3, groupID: 77, replicas: [1, 2, 3]),
        .partition(topicID: id, index: 0, groupID: .max - 1, replicas: []),
        .topicConfig(topicID: id, key: "retention.ms", value: "-1"),
        .topicConfig(topicID: id, key: "retention.ms", value: ""),
        .topicConfig(topicID: id, key: "retention.ms", value: nil),
        .brokerConfig(key: "log.retention.ms", value: "é"),
        .brokerConfig(key: "log.retention.ms", value: nil),
        .removeTopic(id: id),
        .producerIDs(next: 1_000),
        .broker(id: 1, host: "localhost", port: 65_535, rack: "r"),
        .broker(id: -1, host: "", port: 0, rack: nil),
        .brokerRegistration(registration, epoch: 9),
        .brokerState(id: 2, epoch: 9, isFenced: true, isStopping: false),
        .brokerReplacement(id: 2, directoryID: id),
        .removeBroker(id: 2, epoch: 9),
        .leaderships([
            GroupLeadership(groupID: 7, .init(leader: 1, epoch: 3, inSync: [1, 2])),
            GroupLeadership(groupID: 8, .unknown),
        ]),
        .assignment(
            groupID: 7,
            ReplicaAssignment(
                replicas: [1, 2, 3, 4],
                adding: [1],
                removing: [4],
                renewing: [3],
                rejoining: [2]
            )
        ),
        .counters(nextGroupID: 4, nextProducerID: 5, nextBrokerEpoch: 6),
        .removedTopics([id, .zero]),
        .snapshot(piece: ByteSlice("a piece")),
    ]

    private static let registration = BrokerRegistration(
        id: 2,
        directoryID: id,
        incarnation: KafkaUUID(high: 3, low: 4),
        kafka: BrokerEndpoint(host: "b.example", port: 9092),
        raft: BrokerEndpoint(host: "10.0.0.2", port: 5001),
        rack: nil
    )

    @Test(arguments: records)
    func `a record is read as it was written`(_ record: MetadataRecord) throws {
        #expect(try MetadataRecord(decoding: record.encoded()) == record)
    }

    @Test func `the layout of a record does not change`() {
        let record = MetadataRecord.partition(
            topicID: Self.id,
            index: 1,
            groupID: 2,
            replicas: [3]
        )
        let expected: [UInt8] = [
            2, 0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76,
            0x54, 0x32, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3,
        ]
        #expect(record.encoded().array == expected)
        let config = MetadataRecord.brokerConfig(key: "k", value: nil)
        #expect(config.encoded().array == [4, 0, 0, 1, UInt8(ascii: "k"), 0xff, 0xff])
    }

    @Test(arguments: records)
    func `a record cut anywhere, or with bytes left over, is refused`(_ record: MetadataRecord) {
        let bytes = record.encoded()
        for count in 0..<bytes.count {
            #expect(throws: MalformedBytes.self) {
                try MetadataRecord(decoding: bytes.prefix(count))
            }
        }
        #expect(throws: MalformedBytes.trailingBytes(1)) {
            try MetadataRecord(decoding: ByteSlice(bytes.array + [0]))
        }
    }

    @Test func `a type or version this broker does not know is refused`() {
        for head: [UInt8] in [[0, 0], [19, 0], [255, 0], [1, 1]] {
            let bytes = ByteSlice(head + [UInt8](repeating: 0, count: 40))
            #expect(
                throws: MalformedBytes.unsupportedVersion(
                    Int16(bitPattern: UInt16(head[0]) << 8 | UInt16(head[1]))
                )
            ) {
                try MetadataRecord(decoding: bytes)
            }
        }
    }

    @Test func `text that is no UTF-8, and a list longer than its bytes, are refused`() {
        let badText: [UInt8] = [4, 0, 0, 1, 0xff, 0xff, 0xff]
        #expect(throws: MalformedBytes.self) { try MetadataRecord(decoding: ByteSlice(badText)) }
        var longList = MetadataRecord.partition(topicID: .zero, index: 0, groupID: 1, replicas: [])
            .encoded().array
        longList.replaceSubrange(longList.count - 4..<longList.count, with: [255, 255, 255, 255])
        #expect(throws: MalformedBytes.self) { try MetadataRecord(decoding: ByteSlice(longList)) }
    }

    /// Whatever the bytes, a record is read or refused, and an image takes it in.
    @Test func `damaged records never trap`() {
        var state: UInt64 = 1
        func draw(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        var image = MetadataImage()
        var read = 0
        for round in 0..<20_000 {
            var bytes = Self.records[round % Self.records.count].encoded().array
            for _ in 0...draw(3) {
                bytes[draw(bytes.count)] = [0, 1, 0x7f, 0xff, UInt8(draw(256))][draw(5)]
            }
            guard let record = try? MetadataRecord(decoding: ByteSlice(bytes)) else { continue }
            read += 1
            image.replay(record)
        }
        #expect(read > 1_000)
    }

    @Test func `the greatest group id is refused, because none could follow it`() {
        let record = MetadataRecord.partition(
            topicID: .zero,
            index: 0,
            groupID: .max,
            replicas: []
        )
        #expect(throws: MalformedBytes.self) { try MetadataRecord(decoding: record.encoded()) }
    }
}
