import Bytes
import KafkaProtocol
import Testing

@testable import KafkaHistory

/// Histories as lines of JSON.
@Suite struct FormatTests {
    @Test func `what is written is read`() throws {
        let place = TopicPartition(topic: "orders \"1\"", partition: 2)
        let all: [HistoryEvent.What] = [
            .producer(process: "p", acks: .leader, isIdempotent: true, isOrdered: false),
            .sends(
                process: "p",
                id: 3,
                topic: "t",
                partition: 1,
                key: "k",
                value: "line\nend\u{1F600}"
            ),
            .sent(.ok, process: "p", id: 3, partition: 1, offset: 9),
            .sent(.unknown, process: "p", id: 3, partition: -1, offset: -1),
            .durable(process: "p", id: 3, nodes: 2, replicas: 3),
            .assign(process: "c", place, offset: 4),
            .poll(
                process: "c",
                place,
                [HistoryEvent.Entry(offset: 4, key: nil, value: "v")]
            ),
            .finished(process: "c", place),
            .watermark(process: "w", node: 1, incarnation: 2, place, low: nil, high: 7),
            .leader(node: 2, place, epoch: 5),
            .createTopic(.ok, topic: "t", partitions: 3),
            .deleteTopic("t"),
            .topics([("a", 1), ("b", 2)]),
            .commit(.invoke, process: "m", group: "g", place, offset: 4),
            .committed(process: "m", group: "g", place, offset: 4),
            .asksCommitted(process: "m", group: "g"),
            .fault("node 1 is killed"),
            .replica(
                node: 3,
                place,
                low: 0,
                high: 1,
                batches: [Story.batch("k", "v", at: 0, epoch: 1)]
            ),
        ]
        let lines = all.enumerated().map { HistoryEvent(time: Int64($0), $1).line }
        let read = try HistoryReading.events(of: lines.joined(separator: "\n") + "\n")
        #expect(read.map(\.line) == lines)
    }

    @Test func `a last line that was cut is left out`() throws {
        let text = """
            {"time":1,"op":"delete_topic","topic":"t"}
            {"time":2,"op":"delete_to
            """
        #expect(try HistoryReading.events(of: text).count == 1)
    }

    @Test func `what is not known is passed over`() throws {
        let text = #"{"time":1.5e3,"op":"weather","sky":[true,null,{"a":-1}]}"# + "\n"
        #expect(try HistoryReading.events(of: text).isEmpty)
    }

    @Test(arguments: [
        "{", "[]", #"{"op":"poll"}"#, #"{"op":"sent" "x"}"#, #"{"op":"\u12"}"#, "{\"op\":1}x",
        String(repeating: "[", count: 100),
    ])
    func `what is no history is refused with its line`(line: String) {
        #expect(throws: MalformedHistory.self) {
            try HistoryReading.events(of: "{\"op\":\"x\"}\n\(line)\n")
        }
    }
}
