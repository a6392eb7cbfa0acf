import Bytes
import FuzzDriver
import KafkaProtocol

/// What a producer sends for a partition: refused, or as good as its checks say.
enum SentBatch {
    static func check(_ bytes: ByteSlice) {
        guard let batch = try? RecordBatch.validated(bytes) else { return }
        require(
            batch.bytes == bytes,
            "a valid batch of \(batch.bytes.count) of \(bytes.count) bytes"
        )
        require(batch.isIntact, "a valid batch is not intact")
        require(batch.recordCount > 0 && batch.lastOffsetDelta >= 0, "a valid batch of no records")
        if batch.hasProducer {
            require(batch.lastSequence >= 0, "sequence \(batch.lastSequence)")
        }
        checkRecords(of: batch)
        checkChanges(to: bytes)
    }

    /// The records are malformed, or as many as the batch says, with no byte left over.
    static func checkRecords(of batch: RecordBatch) {
        guard let records = try? batch.records() else { return }
        require(batch.codec == 0, "records of a batch with codec \(batch.codec)")
        require(
            records.count == Int(max(0, batch.recordCount)),
            "\(records.count) records instead of \(batch.recordCount)"
        )
        var least = 0
        for record in records {
            least += 7 + (record.key?.count ?? 0) + (record.value?.count ?? 0)
            for header in record.headers {
                least += 2 + header.key.utf8.count + (header.value?.count ?? 0)
            }
        }
        require(
            least <= batch.bytes.count - RecordBatch.headerBytes,
            "records of \(least) bytes in a batch of \(batch.bytes.count)"
        )
    }

    /// Offset, epoch and time are the broker's to write, and leave the batch valid.
    private static func checkChanges(to bytes: ByteSlice) {
        let offset = Offset(0x0102_0304_0506_0708)
        guard let batch = try? RecordBatch.validated(bytes.copied()) else {
            finding("the copy of a valid batch is not valid")
        }
        batch.assign(baseOffset: offset, leaderEpoch: LeaderEpoch(0x0102_0304))
        require(batch.isIntact, "offset and epoch are part of the checksum")
        require(batch.baseOffset == offset, "offset \(batch.baseOffset)")
        require(batch.lastOffset - offset.rawValue == Offset(Int64(batch.lastOffsetDelta)), "last")
        require(batch.partitionLeaderEpoch.rawValue == 0x0102_0304, "\(batch.partitionLeaderEpoch)")
        batch.setLogAppendTime(.max)
        guard let stamped = try? RecordBatch.validated(batch.bytes) else {
            finding("a batch with the broker's time is not valid")
        }
        require(stamped.usesLogAppendTime && stamped.maxTimestamp == .max, "time not written")
        for place in 0..<bytes.count where !isBrokers(place) {
            require(batch.bytes[place] == bytes[place], "byte \(place) changed")
        }
        if let records = try? stamped.records() {
            require(records.allSatisfy { $0.timestamp == .max }, "records with their own time")
        }
    }

    /// Whether a byte is of a field the broker writes.
    private static func isBrokers(_ place: Int) -> Bool {
        switch place {
        // Base offset, leader epoch, checksum, attributes, the largest timestamp.
        case 0..<8, 12..<16, 17..<23, 35..<43: true
        default: false
        }
    }
}
