import KafkaProtocol

/// What nodes said of themselves.
enum ServerChecks {
    /// An observer of one life of a node sees its high watermark and log start only grow.
    static func checkWatermarks(
        _ events: [HistoryEvent],
        _ violate: (HistoryViolation.Rule, String) -> Void
    ) {
        struct View: Hashable {
            let process: String
            let node: Int32
            let incarnation: Int
            let place: TopicPartition
            let isHigh: Bool
        }
        var newest: [View: Int64] = [:]
        for event in events {
            guard
                case .watermark(let who, let node, let life, let place, let low, let high) = event
                    .what
            else { continue }
            for (value, isHigh) in [(low, false), (high, true)] {
                guard let value else { continue }
                let view = View(
                    process: who,
                    node: node,
                    incarnation: life,
                    place: place,
                    isHigh: isHigh
                )
                if let before = newest[view], value < before {
                    violate(
                        .watermarkGoingBack,
                        "\(isHigh ? "high" : "low") of \(place) on node \(node) went from"
                            + " \(before) to \(value) for \(who)"
                    )
                }
                newest[view] = max(value, newest[view] ?? value)
            }
        }
    }

    /// One leader an epoch, whoever was asked; and the epochs of a node only grow.
    static func checkLeaders(
        _ events: [HistoryEvent],
        _ violate: (HistoryViolation.Rule, String) -> Void
    ) {
        struct Reign: Hashable {
            let place: TopicPartition
            let epoch: Int32
        }
        var leaders: [Reign: Int32] = [:]
        for event in events {
            guard case .leader(let node, let place, let epoch) = event.what else { continue }
            let reign = Reign(place: place, epoch: epoch)
            let known = leaders[reign] ?? node
            leaders[reign] = known
            if known != node {
                violate(
                    .twoLeaders,
                    "nodes \(known) and \(node) both led \(place) in epoch \(epoch)"
                )
            }
        }
    }

    /// Every topic created before the last listing is in it.
    static func checkTopics(
        _ events: [HistoryEvent],
        _ violate: (HistoryViolation.Rule, String) -> Void
    ) {
        var created: [String: Int] = [:]
        var expected: [String: Int] = [:]
        var final: [String: Int]?
        for event in events {
            switch event.what {
            case .createTopic(.ok, let topic, let partitions): created[topic] = partitions
            case .deleteTopic(let topic): created[topic] = nil
            case .topics(let topics):
                expected = created
                final = Dictionary(
                    topics.map { ($0.name, $0.partitions) },
                    uniquingKeysWith: { _, last in last }
                )
            default: continue
            }
        }
        guard let final else { return }
        for (topic, partitions) in expected.sorted(by: { $0.key < $1.key }) {
            guard let found = final[topic] else {
                violate(.topicLost, "\(topic) was created and is not there")
                continue
            }
            if found != partitions {
                violate(
                    .topicLost,
                    "\(topic) was created with \(partitions) partitions and has \(found)"
                )
            }
        }
    }
}
