import Bytes
import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// Reads one partition on, wherever it is led.
final class PartitionReader: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    enum Outcome {
        case records(Int)
        case nothing
    }

    let place: TopicPartition
    private let process: String
    private let client: KafkaClient
    private(set) var position: Int64

    init(_ process: String, _ client: KafkaClient, of place: TopicPartition, from offset: Int64) {
        self.process = process
        self.client = client
        self.place = place
        position = offset
        client.world.record(.assign(process: process, place, offset: offset))
    }

    static func request(
        _ place: TopicPartition,
        _ offset: Int64,
        waitMilliseconds: Int32,
        maxBytes: Int32 = 1 << 20
    ) -> FetchRequest {
        var part = FetchRequest.FetchPartition()
        part.partition = place.partition
        part.fetchOffset = offset
        part.partitionMaxBytes = maxBytes
        var topic = FetchRequest.FetchTopic()
        topic.topic = place.topic
        topic.partitions = [part]
        var request = FetchRequest()
        request.maxWaitMs = waitMilliseconds
        request.minBytes = waitMilliseconds > 0 ? 1 : 0
        request.maxBytes = 4 << 20
        request.topics = [topic]
        return request
    }

    /// Asks the leader once.
    func poll(waitMilliseconds: Int32) async -> Outcome {
        guard let node = await client.leader(of: place) else {
            await client.pause(upTo: .milliseconds(200))
            return .nothing
        }
        let request = Self.request(place, position, waitMilliseconds: waitMilliseconds)
        guard let answer = await client.ask(node, request, version: 11),
            let part = answer.responses.first?.partitions.first
        else {
            client.forgetLeader(of: place)
            await client.pause(upTo: .milliseconds(100))
            return .nothing
        }
        switch ErrorCode(rawValue: part.errorCode) {
        case .some(.none): return take(part.records?.joined() ?? ByteSlice())
        case .offsetOutOfRange:
            await lookUpStart(at: node)
        default:
            client.forgetLeader(of: place)
        }
        await client.pause(upTo: .milliseconds(100))
        return .nothing
    }

    private func take(_ bytes: ByteSlice) -> Outcome {
        var rest = bytes
        var entries: [HistoryEvent.Entry] = []
        while rest.count >= RecordBatch.headerBytes {
            let length = Int(rest.loadBigEndian(at: 8) as Int32) + RecordBatch.lengthPrefixBytes
            guard length <= rest.count else { break }
            do {
                let batch = try RecordBatch.framed(rest.prefix(length))
                guard batch.isIntact else { throw MalformedBytes.invalidLength(0) }
                for record in try batch.records() where record.offset.rawValue >= position {
                    entries.append(
                        HistoryEvent.Entry(
                            offset: record.offset.rawValue,
                            key: HistoryText.text(record.key),
                            value: HistoryText.text(record.value)
                        )
                    )
                }
            } catch {
                client.world.report(
                    .damagedBatch,
                    "\(process) read a damaged batch of \(place) at \(position): \(error)"
                )
                return .nothing
            }
            rest = rest.dropFirst(length)
        }
        guard let last = entries.last else { return .nothing }
        client.world.record(.poll(process: process, place, entries))
        client.world.counts.polled += entries.count
        position = last.offset + 1
        return .records(entries.count)
    }

    /// What was deleted is passed over; a node that is behind is asked again later.
    private func lookUpStart(at node: Int32) async {
        var part = ListOffsetsRequest.ListOffsetsPartition()
        part.partitionIndex = place.partition
        part.timestamp = -2
        var topic = ListOffsetsRequest.ListOffsetsTopic()
        topic.name = place.topic
        topic.partitions = [part]
        var request = ListOffsetsRequest()
        request.topics = [topic]
        guard let answer = await client.ask(node, request, version: 5),
            let found = answer.topics.first?.partitions.first, found.errorCode == 0
        else {
            client.forgetLeader(of: place)
            return
        }
        if found.offset > position {
            position = found.offset
            client.world.record(.assign(process: process, place, offset: position))
        } else {
            client.forgetLeader(of: place)
        }
    }
}
