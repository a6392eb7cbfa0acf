package import Platform

/// What a node knows of itself and its cluster, asked for by the admin server.
///
/// Every method is called from a task on an event loop; those that take long suspend. An answer
/// that does not come within the server's deadline is a 503 to the client, and is dropped.
package protocol AdminView: Sendable {
    var metrics: MetricsRegistry { get }

    /// Reads what ``metrics`` tells of event loops; called before they are printed.
    func sampleMetrics() async

    /// Whether the node serves clients now; asked often, so it must be cheap.
    func readiness() async -> Readiness
    func members() async -> ClusterMembers
    /// Every partition of the cluster, sorted by topic and number.
    func partitions() async -> [PartitionStatus]
    func health() async -> ClusterHealth
    /// Moves the leadership of a partition; returns once it has moved or will not.
    func transferLeadership(
        topic: String,
        partition: Int32,
        to node: Int32
    ) async -> LeadershipTransfer
}

/// Whether a node serves clients.
package enum Readiness: Sendable, Equatable {
    case ready
    case notReady(reason: String)
}

/// The nodes of a cluster, as one of them sees them.
package struct ClusterMembers: Sendable, Equatable {
    package struct Member: Sendable, Equatable {
        package var id: Int32
        /// Where Kafka clients are told to connect; known once it has registered.
        package var kafkaAddress: String?
        /// Where other nodes connect; a standalone node has none.
        package var raftAddress: String?
        package var rack: String?
        package var isRegistered: Bool
        /// The leader of the metadata does not hear it.
        package var isFenced: Bool
        /// It has said that it will stop.
        package var isStopping: Bool
        /// The node that answers hears it.
        package var isAlive: Bool

        package init(
            id: Int32,
            kafkaAddress: String?,
            raftAddress: String? = nil,
            rack: String? = nil,
            isRegistered: Bool = true,
            isFenced: Bool = false,
            isStopping: Bool = false,
            isAlive: Bool
        ) {
            self.id = id
            self.kafkaAddress = kafkaAddress
            self.raftAddress = raftAddress
            self.rack = rack
            self.isRegistered = isRegistered
            self.isFenced = isFenced
            self.isStopping = isStopping
            self.isAlive = isAlive
        }
    }

    package var clusterID: String
    /// The node that answers.
    package var nodeID: Int32
    /// The leader of the metadata, while there is one.
    package var metadataLeader: Int32?
    /// By id.
    package var members: [Member]

    package init(clusterID: String, nodeID: Int32, metadataLeader: Int32?, members: [Member]) {
        self.clusterID = clusterID
        self.nodeID = nodeID
        self.metadataLeader = metadataLeader
        self.members = members
    }
}

/// One partition, as the node that answers knows it.
package struct PartitionStatus: Sendable, Equatable {
    package var topic: String
    package var partition: Int32
    package var leader: Int32?
    package var leaderEpoch: Int32
    package var replicas: [Int32]
    package var inSyncReplicas: [Int32]
    /// Known to replicas only.
    package var logStartOffset: Int64?
    package var highWatermark: Int64?

    package init(
        topic: String,
        partition: Int32,
        leader: Int32?,
        leaderEpoch: Int32,
        replicas: [Int32],
        inSyncReplicas: [Int32],
        logStartOffset: Int64? = nil,
        highWatermark: Int64? = nil
    ) {
        self.topic = topic
        self.partition = partition
        self.leader = leader
        self.leaderEpoch = leaderEpoch
        self.replicas = replicas
        self.inSyncReplicas = inSyncReplicas
        self.logStartOffset = logStartOffset
        self.highWatermark = highWatermark
    }
}

/// Everything that is wrong with a cluster; healthy when nothing is.
package struct ClusterHealth: Sendable, Equatable {
    package enum Problem: Sendable, Equatable {
        case leaderless(topic: String, partition: Int32)
        case underReplicated(topic: String, partition: Int32, missing: [Int32])
        case nodeDown(Int32)
        case diskFull(node: Int32)
        /// What has no name of its own, as a sentence.
        case other(String)
    }

    package var problems: [Problem]

    package init(_ problems: [Problem] = []) { self.problems = problems }

    package var isHealthy: Bool { problems.isEmpty }
}

/// What became of a wish to move a leadership.
package enum LeadershipTransfer: Sendable, Equatable {
    case transferred
    case alreadyLeader
    case unknownPartition
    /// The node holds no replica of the partition; these do.
    case notAReplica(replicas: [Int32])
    case leaderless
    /// The node to lead is down or too far behind.
    case targetUnavailable(reason: String)
    /// Another change of the same partition is under way.
    case busy
    case timedOut
    case failed(reason: String)
}
