import KafkaProtocol

/// What producers sent, and what became of it.
struct ProduceLedger {
    struct Producer {
        var acks = HistoryEvent.Acks.all
        var isIdempotent = false
        var isOrdered = false
    }

    struct Produce {
        let process: String
        let id: Int
        let topic: String
        let key: String?
        let value: String?
        var partition: Int32?
        var outcome = HistoryEvent.Phase.unknown
        var offset: Int64?

        var place: TopicPartition? {
            partition.map { TopicPartition(topic: topic, partition: $0) }
        }

        var name: String { "\(process):\(id)" }
    }

    private struct Name: Hashable {
        let process: String
        let id: Int
    }

    private(set) var producers: [String: Producer] = [:]
    /// In the order they were sent.
    private(set) var produces: [Produce] = []
    private var byName: [Name: Int] = [:]
    private var byKey: [String: Int] = [:]
    private(set) var topics: Set<String> = []

    func producer(_ process: String) -> Producer { producers[process] ?? Producer() }

    subscript(key: String) -> Produce? { byKey[key].map { produces[$0] } }

    func produce(_ process: String, _ id: Int) -> Produce? {
        byName[Name(process: process, id: id)].map { produces[$0] }
    }

    /// Takes in an event; answers what is wrong with it.
    mutating func take(_ what: HistoryEvent.What) -> String? {
        switch what {
        case .producer(let process, let acks, let isIdempotent, let isOrdered):
            producers[process] = Producer(
                acks: acks,
                isIdempotent: isIdempotent,
                isOrdered: isOrdered
            )
        case .sends(let process, let id, let topic, let partition, let key, let value):
            let name = Name(process: process, id: id)
            guard byName[name] == nil, key.map({ byKey[$0] == nil }) ?? true else {
                return "\(process):\(id) is there twice"
            }
            byName[name] = produces.count
            if let key { byKey[key] = produces.count }
            topics.insert(topic)
            produces.append(
                Produce(
                    process: process,
                    id: id,
                    topic: topic,
                    key: key,
                    value: value,
                    partition: partition
                )
            )
        case .sent(let outcome, let process, let id, let partition, let offset):
            guard let index = byName[Name(process: process, id: id)] else {
                return "\(process):\(id) ended without having begun"
            }
            produces[index].outcome = outcome
            if outcome == .ok {
                produces[index].partition = partition
                produces[index].offset = offset
            }
        default: break
        }
        return nil
    }
}
