package import Bytes
import KafkaMessages
import Platform

/// An image as bytes, a piece at a time: the records that make it.
///
/// Layout of a piece, integers most significant byte first:
///
///     magic "CMS" | version u8 (0) | checksum u32, CRC-32C of all that follows
///     number of the piece u32 | last u8 (0 or 1) | index u64 | term u64 | count u32
///     count times: length u32 | record
///
/// `index` and `term` are those of the last entry the image has replayed, the same in every piece.
/// The same image has the same bytes on every node.
package enum MetadataSnapshot {
    fileprivate static let magic: UInt32 = 0x434d_5300
    fileprivate static let checkedFrom = 8
    /// A piece is closed once it is so long.
    package static let pieceBytes = 64 << 10

    /// Where in the log the image stands.
    package struct Position: Sendable, Equatable {
        package var index: UInt64
        package var term: UInt64

        package init(index: UInt64, term: UInt64) {
            self.index = index
            self.term = term
        }
    }
}

/// Makes the pieces of a snapshot, one at a time, while the image goes on changing elsewhere.
package struct MetadataSnapshotWriter: Sendable {
    private enum Stage {
        case cluster
        case topic(Int)
        case done
    }

    private let image: MetadataImage
    private let position: MetadataSnapshot.Position
    /// Sorted, so that the bytes do not depend on the process.
    private let names: [String]
    private var stage = Stage.cluster
    private var isFinished = false
    private var pieces: UInt32 = 0
    /// Records of the stage that are not written yet, the next one last.
    private var pending: [MetadataRecord] = []
    /// The next partition of the topic.
    private var partition = 0

    package init(_ image: MetadataImage, at position: MetadataSnapshot.Position) {
        self.image = image
        self.position = position
        names = image.topics.keys.sorted()
    }

    /// The next piece; `nil` after the last.
    package mutating func next() -> ByteSlice? {
        if isFinished { return nil }
        var records = ByteWriter(capacity: MetadataSnapshot.pieceBytes + 4096)
        var count: UInt32 = 0
        while records.count < MetadataSnapshot.pieceBytes, let record = nextRecord() {
            let bytes = record.encoded()
            records.write(UInt32(bytes.count))
            records.write(bytes)
            count += 1
        }
        if case .done = stage, pending.isEmpty { isFinished = true }
        var body = ByteWriter(capacity: records.count + 64)
        body.write(pieces)
        body.write(flag: isFinished)
        body.write(position.index)
        body.write(position.term)
        body.write(count)
        body.write(records.finish())
        pieces += 1
        let checked = body.finishContiguous()
        var piece = ByteWriter(capacity: checked.count + 8)
        piece.write(MetadataSnapshot.magic)
        piece.write(checked.withUnsafeBytes { CRC32C.checksum($0) })
        piece.write(checked)
        return piece.finishContiguous()
    }

    private mutating func nextRecord() -> MetadataRecord? {
        while pending.isEmpty {
            switch stage {
            case .cluster:
                pending = clusterRecords().reversed()
                stage = names.isEmpty ? .done : .topic(0)
            case .topic(let place):
                guard let topic = image.topic(names[place]) else {
                    preconditionFailure(
                        "no topic '\(names[place])' in an image that does not change"
                    )
                }
                if partition == 0 {
                    pending = [.topic(id: topic.id, name: topic.name)]
                    for key in topic.configs.keys.sorted() {
                        pending.append(
                            .topicConfig(topicID: topic.id, key: key, value: topic.configs[key])
                        )
                    }
                }
                let end = min(partition + 1_000, topic.partitions.count)
                for index in partition..<end {
                    pending.append(
                        .partitionState(topicID: topic.id, topic.partitions[index])
                    )
                }
                pending.reverse()
                partition = end
                if end < topic.partitions.count { continue }
                partition = 0
                stage = place + 1 < names.count ? .topic(place + 1) : .done
            case .done: return nil
            }
        }
        return pending.removeLast()
    }

    private func clusterRecords() -> [MetadataRecord] {
        var records: [MetadataRecord] = [
            .counters(
                nextGroupID: image.nextGroupID,
                nextProducerID: image.nextProducerID,
                nextBrokerEpoch: image.nextBrokerEpoch
            )
        ]
        records += image.brokers.map { .brokerSnapshot($0) }
        for key in image.brokerConfigs.keys.sorted() {
            records.append(.brokerConfig(key: key, value: image.brokerConfigs[key]))
        }
        if !image.removedTopics.isEmpty { records.append(.removedTopics(image.removedTopics)) }
        return records
    }
}

extension MetadataRecord {
    /// The image as records of a log that may begin with them.
    package static func snapshot(
        of image: MetadataImage,
        at position: MetadataSnapshot.Position
    ) -> [MetadataRecord] {
        var writer = MetadataSnapshotWriter(image, at: position)
        var records: [MetadataRecord] = []
        while let piece = writer.next() { records.append(.snapshot(piece: piece)) }
        return records
    }
}

extension MetadataImage {
    /// What the records of a log make, from its start, where a snapshot may stand for all that was
    /// there before.
    package init(log records: some Sequence<MetadataRecord>) throws(MetadataSnapshotError) {
        self.init()
        var reader = MetadataSnapshotReader()
        var isReading = true
        var pieces: UInt32 = 0
        for record in records {
            if isReading, case .snapshot(let piece) = record {
                pieces += 1
                guard try reader.append(piece) else { continue }
                self = try reader.finish().image
                isReading = false
            } else {
                guard pieces == 0 || !isReading else { throw .incomplete(pieces: pieces) }
                isReading = false
                replay(record)
            }
        }
        guard pieces == 0 || !isReading else { throw .incomplete(pieces: pieces) }
    }
}

/// Why a snapshot cannot be restored.
package enum MetadataSnapshotError: Error, Equatable {
    case malformed(MalformedBytes)
    case checksum(stored: UInt32, computed: UInt32)
    /// A piece that is not the next one.
    case order(expected: UInt32, found: UInt32)
    case position(MetadataSnapshot.Position, after: MetadataSnapshot.Position)
    case incomplete(pieces: UInt32)
}

/// Takes the pieces of a snapshot, in order, and makes the image of them.
package struct MetadataSnapshotReader: Sendable {
    private struct Piece {
        let number: UInt32
        let isLast: Bool
        let position: MetadataSnapshot.Position
        let records: [MetadataRecord]
    }

    private var image = MetadataImage()
    private var pieces: UInt32 = 0
    private var isComplete = false
    private var position: MetadataSnapshot.Position?

    package init() {}

    /// Takes the next piece in; whether it was the last.
    package mutating func append(_ bytes: ByteSlice) throws(MetadataSnapshotError) -> Bool {
        try Self.check(bytes)
        let piece: Piece
        do {
            piece = try Self.read(bytes)
        } catch {
            throw .malformed(error)
        }
        guard piece.number == pieces, !isComplete else {
            throw .order(expected: pieces, found: piece.number)
        }
        if let position, position != piece.position {
            throw .position(piece.position, after: position)
        }
        for record in piece.records { image.replay(record) }
        position = piece.position
        pieces += 1
        isComplete = piece.isLast
        return isComplete
    }

    /// The image, and where in the log it stands.
    package consuming func finish() throws(MetadataSnapshotError) -> (
        image: MetadataImage, position: MetadataSnapshot.Position
    ) {
        guard isComplete, let position else { throw .incomplete(pieces: pieces) }
        return (image, position)
    }

    private static func check(_ bytes: ByteSlice) throws(MetadataSnapshotError) {
        var reader = ByteReader(bytes)
        let stored: UInt32
        do throws(MalformedBytes) {
            let head: UInt32 = try reader.read()
            guard head == MetadataSnapshot.magic else {
                throw .unsupportedVersion(Int16(truncatingIfNeeded: head))
            }
            stored = try reader.read()
        } catch {
            throw .malformed(error)
        }
        let computed = bytes.dropFirst(MetadataSnapshot.checkedFrom).withUnsafeBytes {
            CRC32C.checksum($0)
        }
        guard stored == computed else {
            throw .checksum(stored: stored, computed: computed)
        }
    }

    private static func read(_ bytes: ByteSlice) throws(MalformedBytes) -> Piece {
        var reader = ByteReader(bytes)
        try reader.skip(MetadataSnapshot.checkedFrom)
        let piece = Piece(
            number: try reader.read(),
            isLast: try reader.readFlag(),
            position: .init(index: try reader.read(), term: try reader.read()),
            records: try reader.readList(elementBytes: 6) { (reader) throws(MalformedBytes) in
                let count: UInt32 = try reader.read()
                return try MetadataRecord(decoding: try reader.readSlice(Int(count)))
            }
        )
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
        return piece
    }
}
