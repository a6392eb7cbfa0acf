import Bytes
import KafkaProtocol

@testable import KafkaHistory

/// A right history of a few clients and three replicas, to plant a wrong into.
struct Story {
    static let place = TopicPartition(topic: "t", partition: 0)

    private(set) var events: [HistoryEvent] = []
    /// The batches of each node, in the order of their offsets.
    var logs: [[ByteSlice]] = [[], [], []]
    private(set) var next: Int64 = 0

    init() {
        add(.producer(process: "p1", acks: .all, isIdempotent: true, isOrdered: false))
        add(.producer(process: "p2", acks: .leader, isIdempotent: false, isOrdered: false))
        add(.createTopic(.ok, topic: "t", partitions: 1))
        for number in 0..<6 { produce("p1", number, epoch: number < 3 ? 1 : 2) }
        produce("p2", 0, epoch: 2)
    }

    mutating func add(_ what: HistoryEvent.What) {
        events.append(HistoryEvent(time: Int64(events.count), what))
    }

    mutating func send(_ process: String, _ number: Int) {
        add(
            .sends(
                process: process,
                id: number,
                topic: "t",
                partition: 0,
                key: "\(process):\(number)",
                value: "value \(number)"
            )
        )
    }

    static func batch(_ key: String, _ value: String, at offset: Int64, epoch: Int32) -> ByteSlice {
        var builder = RecordBatchBuilder(baseTimestamp: 1)
        builder.append(key: ByteSlice(Array(key.utf8)), value: ByteSlice(Array(value.utf8)))
        let batch = builder.finish()
        batch.assign(baseOffset: Offset(offset), leaderEpoch: LeaderEpoch(epoch))
        return batch.bytes
    }

    mutating func produce(_ process: String, _ number: Int, epoch: Int32) {
        send(process, number)
        let key = "\(process):\(number)"
        for node in logs.indices {
            logs[node].append(Self.batch(key, "value \(number)", at: next, epoch: epoch))
        }
        acknowledge(process, number, at: next)
        next += 1
    }

    mutating func acknowledge(_ process: String, _ number: Int, at offset: Int64) {
        add(.sent(.ok, process: process, id: number, partition: 0, offset: offset))
    }

    mutating func poll(_ offsets: [Int64], _ process: String = "c") {
        let entries = offsets.map { offset in
            let number = offset < 6 ? offset : 0
            let key = offset < 6 ? "p1:\(number)" : "p2:0"
            return HistoryEvent.Entry(offset: offset, key: key, value: "value \(number)")
        }
        add(.poll(process: process, Self.place, entries))
    }

    /// Does the same to every node's log.
    mutating func each(_ change: (inout [ByteSlice]) -> Void) {
        for node in logs.indices { change(&logs[node]) }
    }

    /// The batches of a log from `index` on take other offsets.
    static func renumber(_ log: inout [ByteSlice], from index: Int, by step: Int64) {
        for place in index..<log.count {
            let batch = RecordBatch(committed: ByteSlice(log[place].array))
            batch.assign(
                baseOffset: batch.baseOffset + step,
                leaderEpoch: batch.partitionLeaderEpoch
            )
            log[place] = batch.bytes
        }
    }

    /// What the checker finds once every node has shown what it holds.
    func violations(low: Int64 = 0, high: Int64? = nil) -> [HistoryViolation] {
        var story = self
        for (index, log) in logs.enumerated() {
            story.add(
                .replica(
                    node: Int32(index + 1),
                    Self.place,
                    low: low,
                    high: high ?? next,
                    batches: log
                )
            )
        }
        story.add(.topics([("t", 1)]))
        return HistoryChecker.check(story.events)
    }

    func rules(low: Int64 = 0, high: Int64? = nil) -> Set<HistoryViolation.Rule> {
        Set(violations(low: low, high: high).map(\.rule))
    }
}
