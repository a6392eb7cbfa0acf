import Bytes
import KafkaProtocol

/// Walks the batches of a fetch response by their headers; records are counted, not read.
struct BatchScan {
    struct Batch {
        let records: Int
        /// Bytes of the values if every value is as long as the first; of the records otherwise.
        let valueBytes: Int
        let departure: Int64?
    }

    private var rest: ByteSlice
    private(set) var nextOffset: Int64

    /// Counts what lies at `offset` or above.
    init(_ bytes: ByteSlice, from offset: Int64) {
        rest = bytes
        nextOffset = offset
    }

    /// The next batch; one that the answer's size has cut is left to the next fetch.
    mutating func next() throws(BenchError) -> Batch? {
        while rest.count >= RecordBatch.lengthPrefixBytes {
            let length: Int32 = rest.loadBigEndian(at: 8)
            guard length >= RecordBatch.headerBytes - RecordBatch.lengthPrefixBytes else {
                throw .protocolViolation("a batch of \(length) bytes")
            }
            let end = RecordBatch.lengthPrefixBytes + Int(length)
            guard end <= rest.count else { return nil }
            let batch: RecordBatch
            do {
                batch = try RecordBatch.framed(rest)
            } catch {
                throw .protocolViolation("\(error)")
            }
            rest = rest.dropFirst(end)
            // A fetch begins with the whole batch that holds its offset.
            let skipped = max(0, nextOffset - batch.baseOffset.rawValue)
            guard batch.nextOffset.rawValue > nextOffset else { continue }
            nextOffset = batch.nextOffset.rawValue
            if batch.isControl { continue }
            let records = max(0, Int(batch.recordCount) - Int(skipped))
            return Batch(
                records: records,
                valueBytes: Self.valueBytes(of: batch) * records,
                departure: skipped == 0 ? ProduceTemplate.departure(of: batch) : nil
            )
        }
        return nil
    }

    /// Average of a record without its framing.
    private static func valueBytes(of batch: RecordBatch) -> Int {
        guard batch.recordCount > 0 else { return 0 }
        if batch.codec == 0, let first = ProduceTemplate.firstValueBytes(of: batch) { return first }
        return (batch.bytes.count - RecordBatch.headerBytes) / Int(batch.recordCount)
    }
}
