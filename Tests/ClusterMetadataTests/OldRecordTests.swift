import Bytes
import ClusterMetadata
import KafkaMessages
import Testing

/// Records as the version before clusters wrote them into the log of a standalone node, byte by byte.
@Suite struct OldRecordTests {
    private static let written = [
        "07000000000100096c6f63616c686f73742384ffff",
        "070000000001000a62312e6578616d706c65238400027231",
        "01000123456789abcdeffedcba987654321000066f7264657273",
        "02000123456789abcdeffedcba98765432100000000000000000000000010000000100000001",
        "02000123456789abcdeffedcba98765432100000000100000000000000020000000100000001",
        "03000123456789abcdeffedcba9876543210000c726574656e74696f6e2e6d73000135",
        "03000123456789abcdeffedcba9876543210000a7365676d656e742e6d73000137",
        "03000123456789abcdeffedcba9876543210000a7365676d656e742e6d73ffff",
        "040000106c6f672e726574656e74696f6e2e6d73000139",
        "060000000000000003e8",
        "0100000000000000000100000000000000020004676f6e65",
        "050000000000000000010000000000000002",
    ]

    private func bytes(_ hex: String) -> ByteSlice {
        let digits = hex.compactMap(\.hexDigitValue).map { UInt8($0) }
        return ByteSlice(
            stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
        )
    }

    @Test func `a standalone node's log of the version before is read as it was meant`() throws {
        var image = MetadataImage()
        for hex in Self.written {
            let record = try MetadataRecord(decoding: bytes(hex))
            #expect(record.encoded() == bytes(hex))
            image.replay(record)
        }
        let topic = try #require(image.topic("orders"))
        #expect(topic.id == KafkaUUID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210))
        #expect(topic.partitions.map(\.groupID) == [1, 2])
        #expect(topic.partitions.allSatisfy { $0.replicas == [1] })
        #expect(topic.partitions[0].beginning(on: 1) == .founder(voters: [1]))
        #expect(topic.configs == ["retention.ms": "5"])
        #expect(image.brokerConfigs == ["log.retention.ms": "9"])
        #expect(image.nextProducerID == 1_000 && image.nextGroupID == 3)
        #expect(image.brokers.map(\.host) == ["b1.example"] && image.brokers[0].rack == "r1")
        #expect(image.brokers[0].isUsable && image.topicCount == 1)
    }
}
