import Admin
import ClusterMetadata
import KafkaProtocol
import Platform
import Synchronization

/// What is read off the loops for a scrape, kept until the next.
final class ClusterSamples: Sendable {
    struct Values: Sendable {
        var leadsMetadata = false
        var knowsMetadataLeader = false
        var fencedBrokers = 0
        var leaderless = 0
        var underReplicated = 0
        var awake = 0
        /// By topic and partition.
        var proposals: [(id: TopicPartition, count: Int)] = []
        var lags: [(id: TopicPartition, nanoseconds: Int64)] = []
    }

    private let values = Mutex(Values())

    func set(_ new: Values) { values.withLock { $0 = new } }

    private func read(_ value: (Values) -> Int) -> Double {
        Double(values.withLock { value($0) })
    }

    func register(in registry: MetricsRegistry, nodeID: Int32) {
        let node = "\(nodeID)"
        func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (Values) -> Int) {
            registry.sampled(name, help, kind: .gauge) { [self] in read(value) }
        }
        gauge("raft_metadata_is_leader", "Whether this node leads the metadata.") {
            $0.leadsMetadata ? 1 : 0
        }
        gauge("raft_metadata_has_leader", "Whether this node knows a leader of the metadata.") {
            $0.knowsMetadataLeader ? 1 : 0
        }
        gauge("chronik_fenced_brokers", "Brokers the metadata's leader does not hear.") {
            $0.fencedBrokers
        }
        gauge("chronik_leaderless_partitions", "Partitions without a leader.") { $0.leaderless }
        gauge(
            "chronik_under_replicated_partitions",
            "Partitions with replicas that are not in sync."
        ) { $0.underReplicated }
        gauge("chronik_raft_awake_groups", "Raft groups of this node that are not silent.") {
            $0.awake
        }
        registry.collected(
            "raft_proposals_total",
            "Entries this node took into a partition's log as its leader.",
            kind: .counter,
            labels: ["node_id", "topic", "partition"]
        ) { [self] in
            values.withLock { $0.proposals }.map {
                .init([node, $0.id.topic, "\($0.id.partition)"], Double($0.count))
            }
        }
        registry.collected(
            "raft_log_replication_lag_seconds",
            "How long the slowest voter has been behind, of partitions this node leads.",
            kind: .gauge,
            labels: ["topic", "partition"]
        ) { [self] in
            values.withLock { $0.lags }.map {
                .init([$0.id.topic, "\($0.id.partition)"], Double($0.nanoseconds) / 1e9)
            }
        }
    }
}

extension NodeAdmin {
    package func sampleMetrics() async {
        let leader = await metadataLeader()
        let readings = await readings().partitions
        var values = ClusterSamples.Values()
        values.leadsMetadata = leader == nodeID
        values.knowsMetadataLeader = leader != nil
        values.fencedBrokers = published.current.brokers.count { $0.isFenced }
        for status in statuses(readings, metadataLeader: leader) {
            if status.leader == nil { values.leaderless += 1 }
            if link != nil && !status.missingReplicas.isEmpty { values.underReplicated += 1 }
        }
        values.awake = readings.values.count { $0.isAwake }
        let sorted = readings.sorted {
            ($0.key.topic, $0.key.partition) < ($1.key.topic, $1.key.partition)
        }
        values.proposals = sorted.map { ($0.key, $0.value.proposals) }
        values.lags = look(at: sorted)
        samples.set(values)
    }

    private func look(
        at readings: [(key: TopicPartition, value: PartitionReading)]
    ) -> [(id: TopicPartition, nanoseconds: Int64)] {
        let now = clock.monotonicNanoseconds
        return lags.withLock { known in
            var next: [TopicPartition: ReplicationLag] = [:]
            var found: [(id: TopicPartition, nanoseconds: Int64)] = []
            for (id, reading) in readings {
                guard let (end, slowest) = reading.replication, let term = reading.leaderEpoch
                else { continue }
                var lag = known[id] ?? ReplicationLag(term: term)
                if lag.term != term { lag = ReplicationLag(term: term) }
                found.append((id, lag.look(at: now, end: end, slowest: slowest)))
                next[id] = lag
            }
            known = next
            return found
        }
    }
}
