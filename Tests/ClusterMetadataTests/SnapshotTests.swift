import Bytes
import ClusterMetadata
import Testing

@Suite struct SnapshotTests {
    private static let position = MetadataSnapshot.Position(index: 77, term: 3)

    private func pieces(_ image: MetadataImage) -> [ByteSlice] {
        var writer = MetadataSnapshotWriter(image, at: Self.position)
        var pieces: [ByteSlice] = []
        while let piece = writer.next() { pieces.append(piece) }
        return pieces
    }

    private func restore(_ pieces: [ByteSlice]) throws(MetadataSnapshotError) -> MetadataImage {
        var reader = MetadataSnapshotReader()
        for piece in pieces { _ = try reader.append(piece) }
        let restored = try reader.finish()
        #expect(restored.position == Self.position)
        return restored.image
    }

    @Test func `an empty image is one piece`() throws {
        let pieces = pieces(MetadataImage())
        #expect(pieces.count == 1)
        #expect(try restore(pieces).fingerprint == MetadataImage().fingerprint)
    }

    /// To replay all is to restore what was there at some point and replay the rest.
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `a snapshot stands for everything before it`(_ seed: UInt64) throws {
        let history = Workload.history(seed: seed, commands: 400)
        let cut = Int(seed * 7919) % history.log.count
        var whole = MetadataImage()
        for record in history.log[..<cut] { whole.replay(record) }
        var restored = try restore(pieces(whole))
        #expect(restored.fingerprint == whole.fingerprint)
        // The fingerprint is a snapshot itself: what both leave out shows only so.
        #expect(MetadataDelta(from: whole, to: restored).isEmpty)
        #expect(restored.removedTopics == whole.removedTopics)
        #expect(restored.brokers == whole.brokers && restored.brokerConfigs == whole.brokerConfigs)
        #expect(restored.nextGroupID == whole.nextGroupID)
        #expect(restored.nextProducerID == whole.nextProducerID)
        #expect(restored.nextBrokerEpoch == whole.nextBrokerEpoch)
        for record in history.log[cut...] {
            whole.replay(record)
            // Read back from its bytes, as a log has it.
            restored.replay(try MetadataRecord(decoding: record.encoded()))
        }
        #expect(restored.fingerprint == whole.fingerprint)
        #expect(restored.loads == whole.loads.filter { restored.loads[$0.key] != nil })
        #expect(whole.fingerprint == history.image.fingerprint)
        #expect(restored.partitionCount == whole.partitionCount)
        #expect(restored.groups.count == whole.groups.count)
        var names: [UInt64: String] = [:]
        for topic in restored.sortedTopics {
            for partition in topic.partitions { names[partition.groupID] = topic.name }
        }
        #expect(names.count == restored.groups.count)
        for (group, name) in names {
            #expect(restored.groups[group].flatMap { restored.topicNames[$0.topicID] } == name)
        }
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `a log may begin with a snapshot of what was before`(_ seed: UInt64) throws {
        let history = Workload.history(seed: seed, commands: 200)
        let cut = Int(seed * 7919) % history.log.count
        let image = try MetadataImage(log: history.log[..<cut])
        let snapshot = MetadataRecord.snapshot(of: image, at: Self.position)
        let rest = history.log[cut...]
        let begun = try MetadataImage(log: snapshot + rest)
        #expect(begun.fingerprint == history.image.fingerprint)
        // Who has all of it already passes it over.
        let whole = try MetadataImage(log: history.log[..<cut] + snapshot + rest)
        #expect(whole.fingerprint == history.image.fingerprint)
    }

    @Test func `a log that begins with a part of a snapshot is refused`() throws {
        var cluster = Cluster()
        cluster.create("wide", partitions: 3_000)
        let pieces = MetadataRecord.snapshot(of: cluster.image, at: Self.position)
        try #require(pieces.count > 1)
        #expect(throws: MetadataSnapshotError.incomplete(pieces: 1)) {
            try MetadataImage(log: pieces[..<1])
        }
        let other = MetadataRecord.producerIDs(next: 1)
        #expect(throws: MetadataSnapshotError.incomplete(pieces: 1)) {
            try MetadataImage(log: pieces[..<1] + [other])
        }
        #expect(throws: MetadataSnapshotError.order(expected: 0, found: 1)) {
            try MetadataImage(log: pieces[1...])
        }
    }

    @Test func `a large image comes in pieces of bounded size`() throws {
        var cluster = Cluster()
        for number in 0..<300 {
            cluster.create("topic.\(number)", number: number + 1, partitions: 20)
        }
        cluster.create("wide", number: 1_000, partitions: 3_000)
        let pieces = pieces(cluster.image)
        #expect(pieces.count > 10)
        #expect(pieces.allSatisfy { $0.count < MetadataSnapshot.pieceBytes + 4_096 })
        #expect(try restore(pieces).fingerprint == cluster.image.fingerprint)
        let restored = try restore(pieces)
        #expect(restored.topicConfusable(with: "topic_7") == "topic.7")
    }

    @Test func `pieces are taken once, in order, of one snapshot, and all of them`() throws {
        var cluster = Cluster()
        cluster.create("wide", partitions: 3_000)
        let pieces = pieces(cluster.image)
        #expect(throws: MetadataSnapshotError.order(expected: 0, found: 1)) {
            try restore([pieces[1]])
        }
        #expect(throws: MetadataSnapshotError.order(expected: 1, found: 0)) {
            try restore([pieces[0], pieces[0]])
        }
        #expect(throws: MetadataSnapshotError.incomplete(pieces: 1)) { try restore([pieces[0]]) }
        let end = UInt32(pieces.count)
        #expect(throws: MetadataSnapshotError.order(expected: end, found: end - 1)) {
            try restore(pieces + [pieces[pieces.count - 1]])
        }
        var other = MetadataSnapshotWriter(cluster.image, at: .init(index: 78, term: 3))
        _ = other.next()
        let next = other.next()
        let second = try #require(next)
        #expect(throws: MetadataSnapshotError.self) { try restore([pieces[0], second]) }
    }

    @Test func `any flipped bit is seen`() throws {
        let piece = try #require(pieces(Workload.history(seed: 5, commands: 60).image).first)
        for place in 0..<piece.count {
            var bytes = piece.array
            bytes[place] ^= 1 << UInt8(place % 8)
            var reader = MetadataSnapshotReader()
            #expect(throws: MetadataSnapshotError.self) { try reader.append(ByteSlice(bytes)) }
        }
        for count in stride(from: 0, to: piece.count, by: 7) {
            var reader = MetadataSnapshotReader()
            #expect(throws: MetadataSnapshotError.self) { try reader.append(piece.prefix(count)) }
        }
    }
}
