import Broker
import Bytes
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct NodeTests {
    private static func value(_ number: Int) -> ByteSlice {
        ByteSlice([UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 16 << 10))
    }

    @Test func `what was acknowledged is there after a stop and a start`() async throws {
        let first = try await TestNode.start()
        defer { TestNode.remove(first.directory) }
        try await first.client { client in
            try await client.createTopic("t", partitions: 3)
            for number in 0..<30 {
                let offset = try await client.produce(
                    Self.value(number),
                    to: "t",
                    Int32(number % 3)
                )
                #expect(offset == Int64(number / 3))
            }
        }
        try await first.stop()
        let copy = try first.wreck()
        defer { TestNode.remove(copy) }
        let second = try await TestNode.start(copy)
        #expect(second.node.clusterID == first.node.clusterID)
        try await second.client { client in
            for partition in 0..<3 {
                let expected = (0..<10).map { Self.value($0 * 3 + partition) }
                let found = try await client.values(of: "t", Int32(partition))
                #expect(found == expected)
            }
            let found = try await client.produce(Self.value(1), to: "t")
            #expect(found == 10)
        }
        try await second.stop()
    }

    @Test func `what was acknowledged is there after the process was killed`() async throws {
        let first = try await TestNode.start()
        defer { TestNode.remove(first.directory) }
        try await first.client { client in
            try await client.createTopic("t")
            for number in 0..<20 { _ = try await client.produce(Self.value(number), to: "t") }
        }
        let wreck = try first.wreck()
        defer { TestNode.remove(wreck) }
        let second = try await TestNode.start(wreck)
        try await second.client { client in
            let found = try await client.values(of: "t")
            #expect(found == (0..<20).map(Self.value))
        }
        try await second.stop()
        try await first.stop()
    }

    /// The log wants its files back as soon as it is open, before the partitions are.
    @Test(arguments: 2..<4)
    func `a log that is nearly full at the start loses nothing`(_ extra: Int) async throws {
        // Small enough to have moved the metadata to its later files.
        let first = try await TestNode.start(walBytes: 8 << 20)
        defer { TestNode.remove(first.directory) }
        let partitions = 8
        let rounds = 60 + 4 * extra
        try await first.client { client in
            try await client.createTopic("t", partitions: Int32(partitions))
            for number in 0..<partitions * rounds {
                _ = try await client.produce(
                    Self.value(number),
                    to: "t",
                    Int32(number % partitions)
                )
            }
        }
        let wreck = try first.wreck()
        defer { TestNode.remove(wreck) }
        let second = try await TestNode.start(wreck, walBytes: 2 << 20)
        try await second.client { client in
            for partition in 0..<partitions {
                let expected = (0..<rounds).map { Self.value($0 * partitions + partition) }
                let found = try await client.values(of: "t", Int32(partition))
                #expect(found == expected)
            }
        }
        try await second.stop()
        try await first.stop()
    }
}
