package import Admin
import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
package import Platform
import RaftRuntime
import Synchronization
import WriteAheadLog

/// A node's view of itself and of its cluster; a node alone is a cluster of one.
///
/// What it tells is put together when it is asked for: the committed metadata as this node has it,
/// the beats this node hears, and what its own replicas know.
package final class NodeAdmin: AdminView {
    package let metrics: MetricsRegistry
    let nodeID: Int32
    let shards: [PartitionShard]
    let published: PublishedImage
    let metadata: MetadataService
    /// To the other nodes; `nil` where there are none.
    let link: ClusterLink?
    let clock: any Clock
    private let clusterID: String
    private let wal: GroupCommitWAL
    private let isStopping = Atomic(false)
    let lags = Mutex<[TopicPartition: ReplicationLag]>([:])
    let samples = ClusterSamples()

    init(
        nodeID: Int32,
        clusterID: String,
        shards: [PartitionShard],
        published: PublishedImage,
        metadata: MetadataService,
        link: ClusterLink?,
        wal: GroupCommitWAL,
        clock: any Clock,
        metrics: MetricsRegistry
    ) {
        self.nodeID = nodeID
        self.clusterID = clusterID
        self.shards = shards
        self.published = published
        self.metadata = metadata
        self.link = link
        self.wal = wal
        self.clock = clock
        self.metrics = metrics
        samples.register(in: metrics, nodeID: nodeID)
    }

    /// From now on the node is not ready.
    func beginStopping() { isStopping.store(true, ordering: .relaxed) }

    // MARK: Who is there

    /// All nodes by id: those that are configured and those that registered.
    var nodeIDs: [Int32] {
        let configured = link?.settings.nodes.map(\.id) ?? [nodeID]
        return Set(configured).union(published.current.brokers.map(\.id)).sorted()
    }

    /// Whether the node's beats arrive here.
    func hears(_ node: Int32) -> Bool { node == nodeID || link?.heard[node] != nil }

    /// Whether the node is heard, and the metadata's leader has not said otherwise.
    func isUp(_ node: Int32) -> Bool {
        hears(node) && published.current.broker(node)?.isFenced != true
    }

    /// The metadata's leader, if it can be reached.
    func metadataLeader() async -> Int32? {
        guard let leader = await metadata.leader, hears(leader) else { return nil }
        return leader
    }

    // MARK: The view

    package func readiness() async -> Readiness {
        if isStopping.load(ordering: .relaxed) { return .notReady(reason: "the node is stopping") }
        if wal.isPoisoned { return .notReady(reason: Self.failedLog) }
        guard link != nil else { return .ready }
        guard let known = published.current.broker(nodeID) else {
            return .notReady(reason: "the node is not registered in the cluster")
        }
        if known.isFenced {
            return .notReady(reason: "the leader of the metadata takes the node for dead")
        }
        guard await metadataLeader() != nil else { return .notReady(reason: Self.noMetadataLeader) }
        return .ready
    }

    package func members() async -> ClusterMembers {
        let isReady = await readiness() == .ready
        let image = published.current
        return ClusterMembers(
            clusterID: clusterID,
            nodeID: nodeID,
            metadataLeader: await metadataLeader(),
            members: nodeIDs.map { id in
                let broker = image.broker(id)
                return ClusterMembers.Member(
                    id: id,
                    kafkaAddress: broker.map { "\(SocketAddress(host: $0.host, port: $0.port))" },
                    raftAddress: raftAddress(of: id, broker),
                    rack: broker?.rack,
                    isRegistered: broker != nil,
                    isFenced: broker?.isFenced ?? false,
                    isStopping: broker?.isStopping ?? false,
                    isAlive: link == nil ? isReady : hears(id)
                )
            }
        )
    }

    private func raftAddress(of id: Int32, _ broker: MetadataImage.Broker?) -> String? {
        guard let link else { return nil }
        if let raft = broker?.registration.raft {
            return "\(SocketAddress(host: raft.host, port: raft.port))"
        }
        return link.settings.nodes.first { $0.id == id }.map { "\($0.raft)" }
    }

    package func health() async -> ClusterHealth {
        async let others = askOthers()
        var problems: [ClusterHealth.Problem] = []
        if wal.isPoisoned { problems.append(.other(Self.failedLog)) }
        let leader = await metadataLeader()
        if leader == nil && link != nil { problems.append(.other(Self.noMetadataLeader)) }
        let (readings, isDiskFull) = await readings()
        let found = await others
        for id in nodeIDs where id != nodeID && (found[id] == nil || !isUp(id)) {
            problems.append(.nodeDown(id))
        }
        for id in nodeIDs where id == nodeID ? isDiskFull : found[id]?.isDiskFull == true {
            problems.append(.diskFull(node: id))
        }
        for status in statuses(readings, metadataLeader: leader) {
            if status.leader == nil {
                problems.append(.leaderless(topic: status.topic, partition: status.partition))
            }
            let missing = status.missingReplicas
            // A cluster of one has nobody to be in sync with.
            if link != nil && !missing.isEmpty {
                problems.append(
                    .underReplicated(
                        topic: status.topic,
                        partition: status.partition,
                        missing: missing
                    )
                )
            }
        }
        return ClusterHealth(problems)
    }

    static let failedLog =
        "the write-ahead log could not be written; nothing is acknowledged until a restart"
    private static let noMetadataLeader = "the metadata has no leader that this node knows of"

    // MARK: Asking each other

    private static let patience = Int64.seconds(1)

    /// What the other nodes say of themselves; those that are not heard, or do not answer, say
    /// nothing.
    private func askOthers() async -> [Int32: NodeStatus] {
        guard let link else { return [:] }
        return await withTaskGroup(of: (Int32, NodeStatus?).self) { group in
            for id in nodeIDs where id != nodeID && hears(id) {
                group.addTask {
                    let answer = try? await link.call(
                        id,
                        .nodeStatus,
                        ByteSlice(),
                        within: Self.patience
                    )
                    return (id, answer.flatMap { try? NodeStatus(decoding: $0) })
                }
            }
            var found: [Int32: NodeStatus] = [:]
            for await (id, status) in group { found[id] = status }
            return found
        }
    }

    /// Answers another node; `nil` for what is not asked of a node as such.
    func serve(_ operation: NodeOperation, _ payload: ByteSlice) async -> ByteSlice? {
        switch operation {
        case .nodeStatus:
            return NodeStatus(isDiskFull: await readings().isDiskFull).encoded()
        case .transferLeadership:
            guard let asked = try? TransferRequest(decoding: payload) else { return nil }
            return await transferHere(asked.id, to: asked.node).encoded()
        default: return nil
        }
    }

    // MARK: Its own replicas

    func readings() async -> (
        partitions: [TopicPartition: PartitionReading], isDiskFull: Bool
    ) {
        var all: [TopicPartition: PartitionReading] = [:]
        var isDiskFull = wal.isFull
        for shard in shards {
            let (found, isFull) = await shard.status()
            all.merge(found) { first, _ in first }
            isDiskFull = isDiskFull || isFull
        }
        return (all, isDiskFull)
    }
}

extension PartitionStatus {
    var missingReplicas: [Int32] { replicas.filter { !inSyncReplicas.contains($0) } }
}
