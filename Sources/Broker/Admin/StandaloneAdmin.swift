package import Admin
import ClusterMetadata
import KafkaProtocol
import LogStorage
package import Platform
import Synchronization
import WriteAheadLog

/// The admin view of a node that is its whole cluster.
package final class StandaloneAdmin: AdminView {
    package let metrics: MetricsRegistry
    private let nodeID: Int32
    private let clusterID: String
    private let advertised: SocketAddress
    private let shards: [PartitionShard]
    private let published: PublishedImage
    private let wal: GroupCommitWAL
    private let isStopping = Atomic(false)

    init(
        nodeID: Int32,
        clusterID: String,
        advertised: SocketAddress,
        shards: [PartitionShard],
        published: PublishedImage,
        wal: GroupCommitWAL,
        metrics: MetricsRegistry
    ) {
        self.nodeID = nodeID
        self.clusterID = clusterID
        self.advertised = advertised
        self.shards = shards
        self.published = published
        self.wal = wal
        self.metrics = metrics
    }

    /// From now on the node is not ready.
    func beginStopping() { isStopping.store(true, ordering: .relaxed) }

    package func readiness() async -> Readiness {
        if isStopping.load(ordering: .relaxed) { return .notReady(reason: "the node is stopping") }
        if wal.isPoisoned { return .notReady(reason: Self.failedLog) }
        return .ready
    }

    package func members() async -> ClusterMembers {
        let ready = await readiness()
        let node = ClusterMembers.Member(
            id: nodeID,
            kafkaAddress: "\(advertised)",
            isAlive: ready == .ready
        )
        return ClusterMembers(
            clusterID: clusterID,
            nodeID: nodeID,
            metadataLeader: await readings()[MetadataService.partitionID]?.leaderEpoch
                .map { _ in nodeID },
            members: [node]
        )
    }

    package func partitions() async -> [PartitionStatus] {
        let readings = await readings()
        return allPartitions.map { id, replicas in
            let reading = readings[id]
            let leads = reading?.leaderEpoch != nil
            return PartitionStatus(
                topic: id.topic,
                partition: id.partition,
                leader: leads ? nodeID : nil,
                leaderEpoch: reading?.leaderEpoch ?? -1,
                replicas: replicas,
                inSyncReplicas: leads ? replicas : [],
                logStartOffset: reading?.logStartOffset,
                highWatermark: reading?.highWatermark
            )
        }
    }

    package func health() async -> ClusterHealth {
        var problems: [ClusterHealth.Problem] = []
        if wal.isPoisoned { problems.append(.other(Self.failedLog)) }
        var readings: [TopicPartition: PartitionReading] = [:]
        var isDiskFull = wal.isFull
        for shard in shards {
            let (found, isFull) = await shard.status()
            readings.merge(found) { first, _ in first }
            isDiskFull = isDiskFull || isFull
        }
        if isDiskFull { problems.append(.diskFull(node: nodeID)) }
        for (id, _) in allPartitions where readings[id]?.leaderEpoch == nil {
            problems.append(.leaderless(topic: id.topic, partition: id.partition))
        }
        return ClusterHealth(problems)
    }

    package func transferLeadership(
        topic: String,
        partition: Int32,
        to node: Int32
    ) async -> LeadershipTransfer {
        let id = TopicPartition(topic: topic, partition: partition)
        guard let found = allPartitions.first(where: { $0.id == id }) else {
            return .unknownPartition
        }
        guard found.replicas.contains(node) else { return .notAReplica(replicas: found.replicas) }
        return await readings()[id]?.leaderEpoch == nil ? .leaderless : .alreadyLeader
    }

    /// The metadata's own, then those it names.
    private var allPartitions: [(id: TopicPartition, replicas: [Int32])] {
        [(MetadataService.partitionID, [nodeID])]
            + published.current.sortedTopics.flatMap { topic in
                topic.partitions.map {
                    (TopicPartition(topic: topic.name, partition: $0.index), $0.replicas)
                }
            }
    }

    private func readings() async -> [TopicPartition: PartitionReading] {
        var all: [TopicPartition: PartitionReading] = [:]
        for shard in shards { all.merge(await shard.status().partitions) { first, _ in first } }
        return all
    }

    private static let failedLog =
        "the write-ahead log could not be written; nothing is acknowledged until a restart"
}

/// What a shard knows of one of its partitions.
struct PartitionReading: Sendable {
    /// `nil` while it does not lead, or cannot be used.
    let leaderEpoch: Int32?
    let logStartOffset: Int64
    let highWatermark: Int64
}

extension PartitionShard {
    /// Its partitions, and whether a segment found no room on the disk.
    func status() -> (partitions: [TopicPartition: PartitionReading], isDiskFull: Bool) {
        (
            readEach { partition in
                PartitionReading(
                    leaderEpoch: partition.hasFailed ? nil : partition.leaderEpoch,
                    logStartOffset: partition.log.logStartOffset.rawValue,
                    highWatermark: partition.log.logEndOffset.rawValue
                )
            },
            isSegmentDiskFull
        )
    }
}
