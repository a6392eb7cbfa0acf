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
    /// Passes on what other nodes lead; `nil` if clients are to go there themselves.
    let proxy: ProduceProxy?
    private let published: PublishedImage
    /// Whether this node hears too few of the others to be part of a majority.
    private let isCutOff: @Sendable () -> Bool

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
        published: PublishedImage,
        proxy: ProduceProxy? = nil,
        isCutOff: @escaping @Sendable () -> Bool = { false }
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
        self.proxy = proxy
        self.isCutOff = isCutOff
    }

    /// The brokers that clients may be sent to.
    ///
    /// A node that is cut off leaves itself out, as the others would: some clients know nobody else
    /// any more, and it can tell them nothing that is still so.
    var brokersForClients: [MetadataImage.Broker] {
        let usable = image.brokers.filter { !$0.isFenced }
        guard isCutOff() else { return usable }
        let others = usable.filter { $0.id != nodeID }
        return others.isEmpty ? usable : others
    }

    /// The metadata as this node has committed it.
    var image: MetadataImage { published.current }

    func group(of topic: String, _ index: Int32) -> (id: UInt64, isInternal: Bool)? {
        published.read { $0.group(of: topic, index) }
    }

    /// Whether a resource's name means the brokers together or one that there is.
    func isBroker(_ name: String) -> Bool {
        name.isEmpty || image.brokers.contains { String($0.id) == name }
    }

    /// Who leads a partition, and in which epoch: this node as it knows itself, others as they said.
    ///
    /// Of a partition that is only just made, who is about to, with the epoch -1: a client that
    /// comes too early is told so and comes back, where one that is told of no leader may not ask
    /// again for a second.
    func leadership(
        of partition: MetadataImage.Partition,
        in topic: String
    ) -> (leader: Int32, epoch: Int32)? {
        let id = TopicPartition(topic: topic, partition: partition.index)
        if let epoch = leaders.epoch(of: id) { return (nodeID, epoch) }
        let image = image
        // Alone it would lead already, if it could.
        if let first = image.firstLeader(of: partition), partition.replicas != [nodeID] {
            return (first, -1)
        }
        let view = image.clientView(of: partition)
        // A report of this node's own is out of date: it does not lead.
        return view.leader < 0 || view.leader == nodeID ? nil : (view.leader, view.leaderEpoch)
    }

    /// Who leads a partition, if it is another node.
    func otherLeader(of id: TopicPartition) -> Int32? {
        let image = image
        guard let topic = image.topic(id.topic),
            topic.partitions.indices.contains(Int(id.partition))
        else { return nil }
        let leader = leaders.leader(of: id, topic.partitions[Int(id.partition)], in: image)
        return leader == nodeID ? nil : leader
    }

    /// Waits until partitions can be used: on this node, if it is to lead them.
    func waitForLeaders(of topic: MetadataImage.Topic) async {
        let own = topic.partitions.filter { $0.replicas == [nodeID] }
        await leaders.waitForLeaders(
            of: own.map { TopicPartition(topic: topic.name, partition: $0.index) },
            needsRoom: true
        )
    }

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
    private struct Waiter {
        let holds: @Sendable (MetadataImage) -> Bool
        let signal: FetchSignal
    }
    private struct State {
        var image = MetadataImage()
        var waiters: [Waiter] = []
    }
    private let state = Mutex(State())

    var current: MetadataImage { state.withLock { $0.image } }

    /// Reads the image where it is; `body` is short, for others wait.
    func read<T: Sendable>(_ body: (borrowing MetadataImage) -> T) -> T {
        state.withLock { body($0.image) }
    }

    func publish(_ new: MetadataImage) {
        let due = state.withLock { state -> [Waiter] in
            state.image = new
            guard !state.waiters.isEmpty else { return [] }
            let due = state.waiters.filter { $0.holds(new) }
            if !due.isEmpty { state.waiters.removeAll { $0.holds(new) } }
            return due
        }
        for waiter in due { waiter.signal.fire() }
    }

    /// Returns once an image is published of which `holds` is true, or the time is over.
    func wait(
        on loop: EventLoop,
        nanoseconds: Int64,
        until holds: @escaping @Sendable (MetadataImage) -> Bool
    ) async {
        let signal = FetchSignal()
        let isOver = state.withLock { state in
            if holds(state.image) { return true }
            state.waiters.append(Waiter(holds: holds, signal: signal))
            return false
        }
        guard !isOver else { return }
        let timer = loop.schedule(after: nanoseconds) { signal.fire() }
        await signal.wait()
        timer.cancel()
        state.withLock { $0.waiters.removeAll { $0.signal === signal } }
    }
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
    /// Records of the metadata after which a snapshot of it is written, so that what a start
    /// replays does not grow for ever; at least, as a large one is written less often.
    package var metadataSnapshotRecords: Int64 = 10_000
    package var fetchSessionSlots = 1_000
    package var fetchMaxBytes = 57_671_680
    package var connection = ConnectionLimits()
    /// Broker-wide configuration as given, by Kafka's names.
    package var brokerConfigs: [String: String] = [:]

    package init() {}
}
