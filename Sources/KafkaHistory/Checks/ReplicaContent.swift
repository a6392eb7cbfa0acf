import Bytes
import KafkaProtocol

/// What one node holds of one partition at rest.
struct ReplicaContent {
    let node: Int32
    let place: TopicPartition
    let low: Int64
    let high: Int64
    private(set) var batches: [RecordBatch] = []
    /// By offset, from `low` to below `high`.
    private(set) var records: [Int64: HistoryEvent.Entry] = [:]
    /// What is no batch.
    private(set) var damage: [String] = []

    init(_ node: Int32, _ place: TopicPartition, _ low: Int64, _ high: Int64, _ raw: [ByteSlice]) {
        self.node = node
        self.place = place
        self.low = low
        self.high = high
        for bytes in raw { take(bytes) }
    }

    var name: String { "\(place) on node \(node)" }

    private mutating func take(_ bytes: ByteSlice) {
        do {
            let batch = try RecordBatch.framed(bytes)
            guard batch.bytes.count == bytes.count, batch.isIntact else {
                damage.append("the batch at \(batch.baseOffset) is not that of its checksum")
                return
            }
            batches.append(batch)
            if batch.isControl || batch.codec != 0 { return }
            for record in try batch.records() {
                let offset = record.offset.rawValue
                guard low <= offset, offset < high else { continue }
                records[offset] = HistoryEvent.Entry(
                    offset: offset,
                    key: HistoryText.text(record.key),
                    value: HistoryText.text(record.value)
                )
            }
        } catch {
            damage.append("\(error)")
        }
    }

    var sortedRecords: [HistoryEvent.Entry] { records.values.sorted { $0.offset < $1.offset } }

    // MARK: Alone

    /// The batches follow each other without gap or overlap, from low to high.
    func checkDense(_ violate: (HistoryViolation.Rule, String) -> Void) {
        if low > high {
            violate(.gapInOffsets, "\(name) begins at \(low), above its high watermark \(high)")
        }
        var expected: Int64?
        for batch in batches {
            let (base, last) = (batch.baseOffset.rawValue, batch.lastOffset.rawValue)
            if let expected {
                if base != expected {
                    violate(.gapInOffsets, "\(name) has a batch at \(base), expected \(expected)")
                }
            } else if !(base <= low && low <= last) {
                violate(
                    .gapInOffsets,
                    "\(name) begins at \(low), its first batch is \(base) to \(last)"
                )
            }
            expected = last &+ 1
        }
        let end = expected ?? low
        if end < high {
            violate(.gapInOffsets, "\(name) ends at \(end), below its high watermark \(high)")
        }
    }

    func checkEpochs(_ violate: (HistoryViolation.Rule, String) -> Void) {
        for (before, after) in zip(batches, batches.dropFirst())
        where after.partitionLeaderEpoch < before.partitionLeaderEpoch {
            violate(
                .epochGoingBack,
                "\(name): epoch \(after.partitionLeaderEpoch) at \(after.baseOffset)"
                    + " after \(before.partitionLeaderEpoch)"
            )
        }
    }

    // MARK: Beside another

    /// Below both high watermarks, the same bytes at the same offsets.
    func checkEqual(
        _ other: ReplicaContent,
        _ violate: (HistoryViolation.Rule, String) -> Void
    ) {
        if high != other.high {
            violate(
                .replicasDiffer,
                "\(place) has high watermarks \(high) on node \(node) and"
                    + " \(other.high) on node \(other.node)"
            )
        }
        let (from, to) = (max(low, other.low), min(high, other.high))
        let theirs = Dictionary(
            other.batches.map { ($0.baseOffset.rawValue, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        var left = other.batches.count { Self.touches($0, from, to) }
        for batch in batches where Self.touches(batch, from, to) {
            guard let twin = theirs[batch.baseOffset.rawValue], twin.bytes == batch.bytes else {
                violate(
                    .replicasDiffer,
                    "\(place) at \(batch.baseOffset): nodes \(node) and \(other.node)"
                )
                return
            }
            left -= 1
        }
        if left > 0 {
            violate(
                .replicasDiffer,
                "\(place): node \(other.node) has \(left) batches that node \(node) has not"
            )
        }
    }

    private static func touches(_ batch: RecordBatch, _ from: Int64, _ to: Int64) -> Bool {
        batch.lastOffset.rawValue >= from && batch.baseOffset.rawValue < to
    }
}
