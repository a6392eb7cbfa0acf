import Bytes
import ClusterMetadata
import Coordinators
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// The order in which a node comes up: directory, log, metadata, partitions, listener.
struct NodeBoot {
    struct Parts {
        let clusterID: String
        let metrics: MetricsRegistry
        let admin: StandaloneAdmin
        let wal: GroupCommitWAL
        let server: KafkaServer
        let shards: [PartitionShard]
        let lock: any AnyObject & Sendable
    }

    private let settings: Node.Settings
    private let platform: any HostPlatform
    private let directory: DataDirectory
    private let metrics = MetricsRegistry()
    private let wal: GroupCommitWAL
    private let recovered: [UInt64: RecoveredGroup]
    private let environment: ShardEnvironment
    private let published = PublishedImage()
    private let log = Logger("broker")

    /// The part that blocks: takes the directory and reads the log.
    init(_ settings: Node.Settings, _ platform: any HostPlatform) throws {
        self.settings = settings
        self.platform = platform
        var generator = platform.makeGenerator()
        directory = try DataDirectory.open(
            settings.broker.dataDirectory,
            nodeID: settings.broker.nodeID,
            files: platform.files
        ) { KafkaUUID(from: &generator) }
        let replicaID = ReplicaID(UInt64(settings.broker.nodeID))
        var groups: [UInt64: RecoveredGroup] = [:]
        wal = try GroupCommitWAL.open(
            settings.wal,
            files: platform.files,
            worker: platform.makeWorker(name: "wal-writer"),
            preparer: platform.makeWorker(name: "wal-preparer"),
            clock: platform.clock,
            generator: generator.fork(),
            metrics: WALMetrics(in: metrics)
        ) { record, payload, position in
            let group =
                groups[record.group]
                ?? WALRaftStorage(
                    group: record.group,
                    membership: Membership(voters: [replicaID])
                )
            groups[record.group] = group
            try group.recover(
                kind: record.kind,
                term: record.term,
                index: record.index,
                payload: payload,
                at: position
            )
        }
        recovered = groups
        let budget = MemoryBudget(limit: settings.broker.memoryBytes)
        let loops = platform.loops.count
        let retention = settings.broker.retentionCheckMilliseconds
        environment = ShardEnvironment(
            files: platform.files,
            dataDirectory: settings.broker.dataDirectory,
            wal: wal,
            segmentWriter: platform.makeWorker(name: "segments"),
            coldReader: platform.makeWorker(name: "cold-reads"),
            readBuffers: ReadBuffers(
                limit: max(2, settings.broker.memoryBytes / 32 / ReadBuffers.bytes)
            ),
            replicaID: replicaID,
            budget: budget,
            cacheBytesPerLoop: max(1 << 20, settings.broker.memoryBytes / 2 / loops),
            leaders: LeaderTable(nodeID: settings.broker.nodeID),
            retentionSweeps: max(1, Int(retention / 100)),
            producerMilliseconds: settings.broker.producerExpirationMilliseconds,
            log: log,
            makeGenerator: { [platform] in platform.makeGenerator() }
        )
    }

    /// The part that does not: starts what the log and the metadata name.
    func start<Result>(_ make: (SocketAddress, Parts) -> Result) async throws -> Result {
        let listener = try platform.loops[0].listen(settings.broker.listen)
        let advertised = settings.broker.advertise(listener.address)
        let shards = await makeShards()
        let loop = platform.loops[0]
        let metadata = MetadataService(
            loop: loop,
            shard: shards[0],
            settings: MetadataController.Settings(
                nodeID: settings.broker.nodeID,
                defaultPartitions: settings.broker.defaultPartitions,
                maxPartitions: settings.broker.maxPartitions,
                brokerConfigs: settings.broker.brokerConfigs
            ),
            published: published,
            log: log,
            clock: platform.clock,
            generator: platform.makeGenerator()
        )
        let coordinators = platform.loops.map { loop in
            CoordinatorLoop(
                loop: loop,
                shard: shards[loop.index],
                settings: settings.groups,
                generator: platform.makeGenerator()
            )
        }
        let groups = GroupService(
            loops: coordinators,
            published: published,
            leader: { [leaders = environment.leaders] in leaders.leader(of: $0)?.id }
        )
        let gate = ProduceGate(wal)
        let relief = LogRelief(loop: loop, shards: shards, wal: wal, gate: gate, log: log)
        let follower = TopologyFollower(
            loop: loop,
            shards: shards,
            published: published,
            staticConfigs: settings.broker.brokerConfigs,
            groups: groups,
            leaders: environment.leaders,
            relief: relief,
            log: log,
            recovered: recovered
        )
        let image = try await metadata.start(recovered: recovered[0], leaders: environment.leaders)
        await metadata.onChange { changes in
            Task.immediate(executorPreference: loop) { await follower.enqueue(changes) }
        }
        try await metadata.commit { (controller) throws(MetadataProblem) in
            controller.registerBroker(host: advertised.host, port: advertised.port, rack: nil)
        }
        await follower.startAll(in: image)
        relief.begin()
        let broker = BrokerServices(
            nodeID: settings.broker.nodeID,
            clusterID: directory.clusterID,
            settings: settings.broker,
            advertised: advertised,
            clock: platform.clock,
            shards: shards,
            metadata: metadata,
            groups: groups,
            leaders: environment.leaders,
            sessions: platform.loops.map {
                FetchSessions(
                    loop: $0,
                    capacity: settings.broker.fetchSessionSlots,
                    generator: platform.makeGenerator()
                )
            },
            published: published
        )
        let router = RequestRouter(
            handlers: SupportedAPIs.handlers(broker),
            budget: environment.budget,
            gate: gate,
            metrics: metrics
        )
        let server = KafkaServer(
            loops: platform.loops,
            router: router,
            settings: settings.broker,
            log: log,
            metrics: metrics
        )
        NodeMetrics.register(
            in: metrics,
            budget: environment.budget,
            published: published,
            leaders: environment.leaders
        )
        await server.start(listener)
        return make(
            listener.address,
            Parts(
                clusterID: directory.clusterID,
                metrics: metrics,
                admin: StandaloneAdmin(
                    nodeID: settings.broker.nodeID,
                    clusterID: directory.clusterID,
                    advertised: advertised,
                    shards: shards,
                    published: published,
                    wal: wal,
                    metrics: metrics
                ),
                wal: wal,
                server: server,
                shards: shards,
                lock: directory.lock
            )
        )
    }

    private func makeShards() async -> [PartitionShard] {
        var shards: [PartitionShard] = []
        for loop in platform.loops {
            let environment = environment
            let shard = await withUnsafeContinuation { continuation in
                loop.execute {
                    continuation.resume(
                        returning: PartitionShard(loop: loop, environment: environment)
                    )
                }
            }
            await shard.startSweeping()
            shards.append(shard)
        }
        return shards
    }
}
