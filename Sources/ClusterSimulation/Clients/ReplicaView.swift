import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// What a node's own replica of a partition holds, whoever leads it.
enum ReplicaView {
    /// Log start and high watermark; `nil` when there was no answer, or no replica.
    static func watermarks(
        _ client: KafkaClient,
        _ node: Int32,
        _ place: TopicPartition
    ) async -> (low: Int64, high: Int64)? {
        var request = PartitionReader.request(place, 0, waitMilliseconds: 0, maxBytes: 1)
        request.maxBytes = 1
        guard
            let answer = await client.ask(node, request, version: 11, within: .seconds(5)),
            let part = answer.responses.first?.partitions.first
        else { return nil }
        switch ErrorCode(rawValue: part.errorCode) {
        case .some(.none), .offsetOutOfRange:
            guard part.highWatermark >= 0, part.logStartOffset >= 0 else { return nil }
            return (part.logStartOffset, part.highWatermark)
        default: return nil
        }
    }

    /// Everything it holds.
    static func batches(
        _ client: KafkaClient,
        _ node: Int32,
        _ place: TopicPartition
    ) async -> (low: Int64, high: Int64, batches: [ByteSlice])? {
        guard let marks = await watermarks(client, node, place) else { return nil }
        var batches: [ByteSlice] = []
        var position = marks.low
        while position < marks.high {
            let request = PartitionReader.request(place, position, waitMilliseconds: 0)
            guard let answer = await client.ask(node, request, version: 11),
                let part = answer.responses.first?.partitions.first, part.errorCode == 0
            else { return nil }
            var rest = part.records?.joined() ?? ByteSlice()
            let before = position
            while rest.count >= RecordBatch.headerBytes {
                let length =
                    Int(rest.loadBigEndian(at: 8) as Int32) + RecordBatch.lengthPrefixBytes
                guard length >= RecordBatch.headerBytes, length <= rest.count else { break }
                let bytes = rest.prefix(length)
                batches.append(bytes)
                position = RecordBatch(committed: bytes).nextOffset.rawValue
                rest = rest.dropFirst(length)
            }
            guard position > before else { return nil }
        }
        return (marks.low, marks.high, batches)
    }
}
