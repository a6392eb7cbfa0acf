import Bytes
import KafkaProtocol
import Platform

extension HistoryEvent {
    /// The event as one line of `docs/history-format.md`, without its end.
    package var line: String {
        var members: [(name: String, value: JSONValue)] = [("time", .integer(time))]
        let (name, fields) = Self.fields(of: what)
        members.append(("op", .string(name)))
        return JSONValue.object(members + fields).text
    }

    private typealias Members = [(name: String, value: JSONValue)]

    private static func members(_ place: TopicPartition) -> Members {
        [("topic", .string(place.topic)), ("partition", .integer(place.partition))]
    }

    private static func fields(of what: What) -> (String, Members) {
        switch what {
        case .producer, .sends, .sent, .durable: producing(what)
        case .assign, .poll, .finished: reading(what)
        case .commit, .committed, .asksCommitted: committing(what)
        default: serving(what)
        }
    }

    private static func producing(_ what: What) -> (String, Members) {
        switch what {
        case .producer(let process, let acks, let isIdempotent, let isOrdered):
            return (
                "producer",
                [
                    ("process", .string(process)), ("acks", .string(acks.rawValue)),
                    ("idempotent", .bool(isIdempotent)), ("ordered", .bool(isOrdered)),
                ]
            )
        case .sends(let process, let id, let topic, let partition, let key, let value):
            return (
                "produce",
                [
                    ("event", .string("invoke")), ("process", .string(process)),
                    ("id", .integer(id)), ("topic", .string(topic)),
                    ("partition", .optional(partition)), ("key", .optional(key)),
                    ("value", .optional(value)),
                ]
            )
        case .sent(let phase, let process, let id, let partition, let offset):
            let outcome: Members =
                phase == .ok
                ? [("partition", .integer(partition)), ("offset", .integer(offset))] : []
            return (
                "produce",
                [
                    ("event", .string(phase.rawValue)), ("process", .string(process)),
                    ("id", .integer(id)),
                ] + outcome
            )
        case .durable(let process, let id, let nodes, let replicas):
            return (
                "durable",
                [
                    ("process", .string(process)), ("id", .integer(id)),
                    ("nodes", .integer(nodes)), ("replicas", .integer(replicas)),
                ]
            )
        default: preconditionFailure("no event of a producer")
        }
    }

    private static func reading(_ what: What) -> (String, Members) {
        switch what {
        case .assign(let process, let place, let offset):
            return (
                "assign",
                [("process", .string(process))] + members(place) + [("offset", .integer(offset))]
            )
        case .poll(let process, let place, let entries):
            let records = entries.map {
                JSONValue.array([.integer($0.offset), .optional($0.key), .optional($0.value)])
            }
            return (
                "poll",
                [("process", .string(process))] + members(place) + [("records", .array(records))]
            )
        case .finished(let process, let place):
            return ("finished", [("process", .string(process))] + members(place))
        default: preconditionFailure("no event of a consumer")
        }
    }

    private static func committing(_ what: What) -> (String, Members) {
        switch what {
        case .commit(let phase, let process, let group, let place, let offset):
            return (
                "commit",
                [
                    ("event", .string(phase.rawValue)), ("process", .string(process)),
                    ("group", .string(group)),
                ] + members(place) + [("offset", .integer(offset))]
            )
        case .committed(let process, let group, let place, let offset):
            return (
                "committed",
                [("process", .string(process)), ("group", .string(group))] + members(place)
                    + [("offset", .integer(offset))]
            )
        case .asksCommitted(let process, let group):
            return (
                "asks_committed", [("process", .string(process)), ("group", .string(group))]
            )
        default: preconditionFailure("no event of a group")
        }
    }

    private static func serving(_ what: What) -> (String, Members) {
        switch what {
        case .watermark(let process, let node, let life, let place, let low, let high):
            return (
                "watermark",
                [
                    ("process", .string(process)), ("node", .integer(node)),
                    ("incarnation", .integer(life)),
                ] + members(place) + [("low", .optional(low)), ("high", .optional(high))]
            )
        case .leader(let node, let place, let epoch):
            return (
                "leader", [("node", .integer(node))] + members(place) + [("epoch", .integer(epoch))]
            )
        case .createTopic(let phase, let topic, let partitions):
            return (
                "create_topic",
                [
                    ("event", .string(phase.rawValue)), ("topic", .string(topic)),
                    ("partitions", .integer(partitions)),
                ]
            )
        case .deleteTopic(let topic): return ("delete_topic", [("topic", .string(topic))])
        case .topics(let topics):
            return (
                "topics",
                [("topics", .object(topics.map { ($0.name, .integer($0.partitions)) }))]
            )
        case .fault(let fault): return ("fault", [("fault", .string(fault))])
        case .replica(let node, let place, let low, let high, let batches):
            let encoded = batches.map { JSONValue.string(Base64.encode($0.array)) }
            return (
                "replica",
                [("node", .integer(node))] + members(place) + [
                    ("low", .integer(low)), ("high", .integer(high)), ("batches", .array(encoded)),
                ]
            )
        default: preconditionFailure("no event of a node")
        }
    }
}
