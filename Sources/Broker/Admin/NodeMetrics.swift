import ClusterMetadata
import KafkaProtocol
import Platform

/// Traffic of all connections.
struct TrafficMetrics: Sendable {
    let received: Counter
    let sent: Counter

    init(in registry: MetricsRegistry) {
        received = registry.counter(
            "chronik_network_received_bytes_total",
            "Bytes of requests received from Kafka clients."
        )
        sent = registry.counter(
            "chronik_network_sent_bytes_total",
            "Bytes of responses sent to Kafka clients."
        )
    }
}

/// What a node knows without counting; read when it is printed.
enum NodeMetrics {
    static func register(
        in registry: MetricsRegistry,
        budget: MemoryBudget,
        published: PublishedImage,
        leaders: LeaderTable
    ) {
        registry.sampled(
            "chronik_memory_held_bytes",
            "Memory of requests in progress and of batches not yet in segments.",
            kind: .gauge
        ) { Double(budget.heldBytes) }
        registry.sampled("chronik_topics", "Topics there are.", kind: .gauge) {
            Double(published.current.topicCount)
        }
        registry.sampled("chronik_partitions", "Partitions there are.", kind: .gauge) {
            Double(published.current.partitionCount)
        }
        registry.sampled(
            "chronik_leader_partitions",
            "Partitions this node leads, the metadata's own among them.",
            kind: .gauge
        ) { Double(leaders.count) }
    }
}
