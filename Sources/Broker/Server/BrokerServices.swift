import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
package import Platform
import Synchronization

/// What the handlers of a node work with.
final class BrokerServices: Sendable {
    let nodeID: Int32
    let clusterID: String
    let settings: BrokerSettings
    /// Where clients are told to connect.
    let advertised: SocketAddress
    let clock: any Clock
    let shards: [PartitionShard]
    let metadata: MetadataService
    let groups: GroupService
    let leaders: LeaderTable
    let sessions: [FetchSessions]
    private let published: PublishedImage

    init(
        nodeID: Int32,
        clusterID: String,
        settings: BrokerSettings,
        advertised: SocketAddress,
        clock: any Clock,
        shards: [PartitionShard],
        metadata: MetadataService,
        groups: GroupService,
        leaders: LeaderTable,
        sessions: [FetchSessions],
        published: PublishedImage
    ) {
        self.nodeID = nodeID
        self.clusterID = clusterID
        self.settings = settings
        self.advertised = advertised
        self.clock = clock
        self.shards = shards
        self.metadata = metadata
        self.groups = groups
        self.leaders = leaders
        self.sessions = sessions
        self.published = published
    }

    /// The metadata as this node has committed it.
    var image: MetadataImage { published.current }

    func shard(of partition: MetadataImage.Partition) -> PartitionShard {
        shards[Placement.loop(of: partition.groupID, of: shards.count)]
    }
}

/// Which event loop a group lives on.
enum Placement {
    static func loop(of groupID: UInt64, of loops: Int) -> Int { Int(groupID % UInt64(loops)) }
}

/// The committed metadata, for all loops to read.
final class PublishedImage: Sendable {
    private let image = Mutex(MetadataImage())

    var current: MetadataImage { image.withLock { $0 } }

    func publish(_ new: MetadataImage) { image.withLock { $0 = new } }
}

/// The settings of a standalone broker.
package struct BrokerSettings: Sendable {
    package var listen = SocketAddress(host: "127.0.0.1", port: 9092)
    /// Where clients are told to connect, given where the listener came to be.
    package var advertise: @Sendable (_ bound: SocketAddress) -> SocketAddress = { $0 }
    package var dataDirectory = "./data"
    package var nodeID: Int32 = 1
    package var autoCreateTopics = true
    package var defaultPartitions: Int32 = 1
    package var maxPartitions = 100_000
    package var offsetsPartitions: Int32 = 50
    package var memoryBytes = 1 << 30
    package var maxConnections = 10_000
    package var maxIdleMilliseconds: Int64 = 600_000
    package var retentionCheckMilliseconds: Int64 = 300_000
    package var producerExpirationMilliseconds: Int64 = 86_400_000
    package var fetchSessionSlots = 1_000
    package var fetchMaxBytes = 57_671_680
    package var connection = ConnectionLimits()
    /// Broker-wide configuration as given, by Kafka's names.
    package var brokerConfigs: [String: String] = [:]

    package init() {}
}
