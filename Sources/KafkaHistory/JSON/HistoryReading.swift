import Bytes
import KafkaProtocol
import Platform

/// Reads histories as `docs/history-format.md` has them.
package enum HistoryReading {
    /// The events of a file; a last line that was cut is left out.
    package static func events(of text: String) throws(MalformedHistory) -> [HistoryEvent] {
        var events: [HistoryEvent] = []
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last != nil { lines.removeLast() }
        for (index, line) in lines.enumerated() where !line.isEmpty {
            let value: JSONValue
            do throws(JSONReader.Failure) {
                value = try JSONReader.parse(line)
            } catch {
                throw MalformedHistory(line: index + 1, reason: error.reason)
            }
            guard case .object(let members) = value else {
                throw MalformedHistory(line: index + 1, reason: "not an object")
            }
            let fields = Fields(line: index + 1, members: members)
            if let what = try what(fields) {
                events.append(HistoryEvent(time: fields.optional("time") ?? 0, what))
            }
        }
        return events
    }

    /// `nil` for events of a kind that is not known.
    private static func what(_ fields: Fields) throws(MalformedHistory) -> HistoryEvent.What? {
        switch try fields.text("op") {
        case "producer":
            return .producer(
                process: try fields.text("process"),
                acks: HistoryEvent.Acks(rawValue: fields.word("acks") ?? "all") ?? .all,
                isIdempotent: fields.flag("idempotent"),
                isOrdered: fields.flag("ordered")
            )
        case "produce": return try produce(fields)
        case "durable":
            return .durable(
                process: try fields.text("process"),
                id: Int(try fields.number("id")),
                nodes: Int(try fields.number("nodes")),
                replicas: Int(try fields.number("replicas"))
            )
        case "assign", "poll", "finished": return try reader(fields)
        case "watermark":
            return .watermark(
                process: try fields.text("process"),
                node: Int32(clamping: fields.optional("node") ?? 0),
                incarnation: Int(fields.optional("incarnation") ?? 0),
                try fields.place(),
                low: fields.optional("low"),
                high: fields.optional("high")
            )
        case "leader":
            return .leader(
                node: Int32(clamping: try fields.number("node")),
                try fields.place(),
                epoch: Int32(clamping: try fields.number("epoch"))
            )
        case "create_topic":
            return .createTopic(
                try fields.phase(),
                topic: try fields.text("topic"),
                partitions: Int(fields.optional("partitions") ?? 1)
            )
        case "delete_topic": return .deleteTopic(try fields.text("topic"))
        case "topics": return .topics(try topics(fields))
        case "commit", "committed", "asks_committed": return try commit(fields)
        case "fault": return .fault(fields.word("fault") ?? "fault")
        case "replica": return try replica(fields)
        default: return nil
        }
    }

    private static func produce(_ fields: Fields) throws(MalformedHistory) -> HistoryEvent.What {
        let (process, id) = (try fields.text("process"), Int(try fields.number("id")))
        let phase = try fields.phase()
        guard phase != .invoke else {
            return .sends(
                process: process,
                id: id,
                topic: try fields.text("topic"),
                partition: fields.optional("partition").map { Int32(clamping: $0) },
                key: fields.word("key"),
                value: fields.word("value")
            )
        }
        return .sent(
            phase,
            process: process,
            id: id,
            partition: Int32(clamping: fields.optional("partition") ?? -1),
            offset: fields.optional("offset") ?? -1
        )
    }

    private static func reader(_ fields: Fields) throws(MalformedHistory) -> HistoryEvent.What {
        let process = try fields.text("process")
        let place = try fields.place()
        switch try fields.text("op") {
        case "assign":
            return .assign(process: process, place, offset: try fields.number("offset"))
        case "finished": return .finished(process: process, place)
        default:
            var entries: [HistoryEvent.Entry] = []
            for value in try fields.list("records") {
                guard case .array(let parts) = value, parts.count == 3,
                    case .integer(let offset) = parts[0]
                else { throw fields.wrong("records") }
                entries.append(
                    HistoryEvent.Entry(offset: offset, key: parts[1].word, value: parts[2].word)
                )
            }
            return .poll(process: process, place, entries)
        }
    }

    private static func topics(
        _ fields: Fields
    ) throws(MalformedHistory) -> [(name: String, partitions: Int)] {
        guard case .object(let members)? = fields["topics"] else { throw fields.wrong("topics") }
        var topics: [(name: String, partitions: Int)] = []
        for member in members {
            guard case .integer(let count) = member.value else { throw fields.wrong("topics") }
            topics.append((member.name, Int(count)))
        }
        return topics
    }

    private static func commit(_ fields: Fields) throws(MalformedHistory) -> HistoryEvent.What {
        let process = fields.word("process") ?? ""
        let group = try fields.text("group")
        switch try fields.text("op") {
        case "asks_committed": return .asksCommitted(process: process, group: group)
        case "committed":
            return .committed(
                process: process,
                group: group,
                try fields.place(),
                offset: try fields.number("offset")
            )
        default:
            return .commit(
                try fields.phase(),
                process: process,
                group: group,
                try fields.place(),
                offset: try fields.number("offset")
            )
        }
    }

    private static func replica(_ fields: Fields) throws(MalformedHistory) -> HistoryEvent.What {
        var batches: [ByteSlice] = []
        for value in try fields.list("batches") {
            guard let text = value.word, let bytes = Base64.decode(text) else {
                throw fields.wrong("batches")
            }
            batches.append(ByteSlice(bytes))
        }
        return .replica(
            node: Int32(clamping: try fields.number("node")),
            try fields.place(),
            low: try fields.number("low"),
            high: try fields.number("high"),
            batches: batches
        )
    }
}

/// The members of one event.
private struct Fields {
    let line: Int
    let members: [(name: String, value: JSONValue)]

    subscript(name: String) -> JSONValue? { members.first { $0.name == name }?.value }

    func wrong(_ name: String) -> MalformedHistory {
        MalformedHistory(line: line, reason: "\(name) is missing or not what it should be")
    }

    func word(_ name: String) -> String? { self[name]?.word }

    func text(_ name: String) throws(MalformedHistory) -> String {
        guard let text = word(name) else { throw wrong(name) }
        return text
    }

    func optional(_ name: String) -> Int64? {
        if case .integer(let number)? = self[name] { number } else { nil }
    }

    func number(_ name: String) throws(MalformedHistory) -> Int64 {
        guard let number = optional(name) else { throw wrong(name) }
        return number
    }

    func flag(_ name: String) -> Bool { if case .bool(true)? = self[name] { true } else { false } }

    func list(_ name: String) throws(MalformedHistory) -> [JSONValue] {
        guard case .array(let values)? = self[name] else { throw wrong(name) }
        return values
    }

    func phase() throws(MalformedHistory) -> HistoryEvent.Phase {
        guard let phase = HistoryEvent.Phase(rawValue: try text("event")) else {
            throw wrong("event")
        }
        return phase
    }

    func place() throws(MalformedHistory) -> TopicPartition {
        TopicPartition(
            topic: try text("topic"),
            partition: Int32(clamping: try number("partition"))
        )
    }
}

extension JSONValue {
    fileprivate var word: String? {
        switch self {
        case .string(let text): text
        case .integer(let number): "\(number)"
        default: nil
        }
    }
}
