import Bytes
import FuzzDriver
import KafkaProtocol

/// Batches one behind the other, as a fetch response or a segment has them.
enum BatchChain {
    static func check(_ bytes: ByteSlice) {
        var rest = bytes
        while !rest.isEmpty {
            guard let batch = try? RecordBatch.framed(rest) else { return }
            require(
                batch.bytes.count >= RecordBatch.headerBytes && batch.bytes.count <= rest.count,
                "a batch of \(batch.bytes.count) of \(rest.count) bytes"
            )
            let next = rest.dropFirst(batch.bytes.count)
            look(at: batch)
            rest = next
        }
    }

    /// What is read of a batch that nobody checked but for its length.
    private static func look(at batch: RecordBatch) {
        _ = batch.isIntact
        _ = batch.lastOffset
        _ = batch.nextOffset
        _ = batch.lastSequence
        SentBatch.checkRecords(of: batch)
    }
}
