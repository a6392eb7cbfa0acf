import Bytes
import ClusterMetadata
import Coordinators
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import RaftTransport
import WriteAheadLog

/// The order in which a node comes up: directory, log, metadata, partitions, listener.
struct NodeBoot {
    struct Parts {
        let clusterID: String
        let metrics: MetricsRegistry
        let admin: NodeAdmin
        let wal: GroupCommitWAL
        let server: KafkaServer
        let shards: [PartitionShard]
        let cluster: ClusterLink?
        let lock: any AnyObject & Sendable
    }

    private let settings: Node.Settings
    private let platform: any HostPlatform
    private let directory: DataDirectory
    private let metrics = MetricsRegistry()
    private let wal: GroupCommitWAL
    private let recovered: RecoveredGroups
    private let environment: ShardEnvironment
    private let link: ClusterLink?
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
            clusterID: settings.cluster?.clusterID,
            files: platform.files
        ) { KafkaUUID(from: &generator) }
        let replicaID = ReplicaID(UInt64(settings.broker.nodeID))
        let groups = RecoveredGroups(replica: replicaID)
        wal = try GroupCommitWAL.open(
            settings.wal,
            files: platform.files,
            worker: platform.makeWorker(name: "wal-writer"),
            preparer: platform.makeWorker(name: "wal-preparer"),
            clock: platform.clock,
            generator: generator.fork(),
            metrics: WALMetrics(in: metrics),
            onDamage: settings.cluster == nil ? nil : { groups.take($0) }
        ) { record, payload, position in
            try groups.take(record, payload, at: position)
        }
        groups.opened(isNew: wal.isNew && !directory.isNew)
        recovered = groups
        link = settings.cluster.map { [metrics, directory] cluster in
            ClusterLink(
                cluster,
                nodeID: settings.broker.nodeID,
                directoryID: directory.directoryID,
                platform: platform,
                metrics: metrics
            )
        }
        let budget = MemoryBudget(limit: settings.broker.memoryBytes)
        let loops = platform.loops.count
        let retention = settings.broker.retentionCheckMilliseconds
        environment = ShardEnvironment(
            loops: loops,
            files: platform.files,
            dataDirectory: settings.broker.dataDirectory,
            wal: wal,
            segmentWriter: platform.makeWorker(name: "segments"),
            coldReader: platform.makeWorker(name: "cold-reads"),
            readBuffers: ReadBuffers(
                limit: max(2, settings.broker.memoryBytes / 32 / ReadBuffers.bytes)
            ),
            replicaID: replicaID,
            raft: Self.raft(settings.cluster),
            transport: link?.transport,
            budget: budget,
            cacheBytesPerLoop: max(1 << 20, settings.broker.memoryBytes / 2 / loops),
            leaders: LeaderTable(nodeID: settings.broker.nodeID),
            retentionNanoseconds: .milliseconds(max(100, retention)),
            producerMilliseconds: settings.broker.producerExpirationMilliseconds,
            log: log,
            makeGenerator: { [platform] in platform.makeGenerator() },
            snapshotLimits: SnapshotLimits(settings.cluster?.raft ?? RaftConfig()),
            raftMetrics: RaftRuntimeMetrics(in: metrics, nodeID: settings.broker.nodeID),
            rackOf: { [published] in published.current.broker($0)?.rack }
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
            wal: wal,
            settings: MetadataController.Settings(
                nodeID: settings.broker.nodeID,
                clusterID: directory.clusterID,
                defaultPartitions: settings.broker.defaultPartitions,
                defaultReplicationFactor: settings.cluster?.defaultReplicationFactor ?? 1,
                maxPartitions: settings.broker.maxPartitions,
                brokerConfigs: settings.broker.brokerConfigs
            ),
            isNew: !recovered.groups.contains(MetadataService.groupID),
            snapshotRecords: settings.broker.metadataSnapshotRecords,
            acknowledgement: settings.cluster?.metadataAcknowledgement ?? .quorum,
            early: EarlyAcknowledgements(in: metrics),
            published: published,
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
            leaders: environment.leaders
        )
        let gate = ProduceGate(wal)
        let relief = LogRelief(loop: loop, shards: shards, wal: wal, gate: gate, log: log)
        let follower = TopologyFollower(
            loop: loop,
            nodeID: settings.broker.nodeID,
            shards: shards,
            published: published,
            staticConfigs: settings.broker.brokerConfigs,
            groups: groups,
            leaders: environment.leaders,
            relief: relief,
            log: log,
            recovered: recovered,
            isCurrent: { [weak metadata] in await metadata?.isCurrent() ?? true }
        )
        try await join(metadata, follower, shards, advertised: advertised)
        await follower.pinUnstarted()
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
            published: published,
            proxy: link?.makeProxy(metrics),
            isCutOff: { [link] in link?.isCutOff ?? false }
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
        let admin = NodeAdmin(
            nodeID: settings.broker.nodeID,
            clusterID: directory.clusterID,
            shards: shards,
            published: published,
            metadata: metadata,
            link: link,
            wal: wal,
            clock: platform.clock,
            metrics: metrics
        )
        link?.serve(admin)
        link?.serve(ForwardedProduces(broker, gate: gate, budget: environment.budget, on: loop))
        await server.start(listener)
        return make(
            listener.address,
            Parts(
                clusterID: directory.clusterID,
                metrics: metrics,
                admin: admin,
                wal: wal,
                server: server,
                shards: shards,
                cluster: link,
                lock: directory.lock
            )
        )
    }

    /// Takes part in the metadata's group, registers as a broker, and starts what is placed here.
    private func join(
        _ metadata: MetadataService,
        _ follower: TopologyFollower,
        _ shards: [PartitionShard],
        advertised: SocketAddress
    ) async throws {
        let loop = platform.loops[0]
        let nodeID = settings.broker.nodeID
        let voters = settings.cluster?.nodes.map(\.id) ?? [nodeID]
        try await link?.open(shards: shards, metadata: metadata)
        let remembered = try await follower.takeMetadata(voters: voters)
        if remembered == nil {
            try await link?.introduce()
            guard !directory.isRegistered else {
                throw NodeProblem.logGone(settings.broker.dataDirectory)
            }
        }
        try await metadata.start(
            recovered: remembered,
            beginning: .founder(voters: voters)
        )
        let image = await metadata.onChange { [link] delta in
            Task.immediate(executorPreference: loop) {
                await follower.enqueue(delta)
                await link?.changed(delta)
            }
        }
        await follower.startAll(in: image, mayBeOld: remembered != nil)
        let raft = link?.advertised ?? SocketAddress(host: "localhost", port: 0)
        let registration = BrokerRegistration(
            id: nodeID,
            directoryID: directory.directoryID,
            incarnation: NodeIncarnation.id(of: incarnation),
            kafka: BrokerEndpoint(host: advertised.host, port: advertised.port),
            raft: BrokerEndpoint(host: raft.host, port: raft.port),
            rack: settings.cluster?.rack
        )
        do {
            try await metadata.register(registration, clusterID: directory.clusterID)
        } catch {
            throw NodeProblem.notRegistered(nodeID, error)
        }
        try await rememberRegistration()
        await link?.follow(
            metadata,
            published,
            shards: shards,
            leaders: environment.leaders
        )
        // What is there beside a metadata log that began just now is not for this node to judge.
        if remembered != nil { sweepOnceCurrent(metadata, follower) }
        guard link == nil else { return }
        await environment.leaders.waitForLeaders(of: published.current.allPartitions)
    }

    private func rememberRegistration() async throws(FileError) {
        let (directory, files) = (directory, platform.files)
        let done = await environment.segmentWriter.run { () -> Result<Void, FileError> in
            Result { () throws(FileError) in try directory.becomeRegistered(files) }
        }
        try done.get()
    }

    private func sweepOnceCurrent(_ metadata: MetadataService, _ follower: TopologyFollower) {
        let loop = platform.loops[0]
        Task.immediate(executorPreference: loop) { [weak follower] in
            while !(await metadata.isCurrent()) {
                await loop.sleep(nanoseconds: .milliseconds(500))
                guard follower != nil else { return }
            }
            await follower?.sweep()
        }
    }

    /// Members change as the metadata wants them, and not by themselves.
    private static func raft(_ cluster: ClusterSettings?) -> RaftConfig {
        var config = cluster?.raft ?? RaftConfig()
        config.promotesLearners = false
        return config
    }

    private var incarnation: UInt64 {
        link?.incarnation ?? UInt64(max(1, platform.clock.wallMilliseconds)) * 1_000_000
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

/// Why a node cannot serve.
enum NodeProblem: Error, CustomStringConvertible {
    case notRegistered(Int32, MetadataProblem)
    case logLost(Int32, directory: KafkaUUID)
    case logGone(String)

    var description: String {
        switch self {
        case .notRegistered(let id, let problem):
            "node \(id) was not taken into the cluster: \(problem.message) (\(problem.code))"
        case .logLost(let id, let directory):
            """
            node \(id) has no log of the metadata, but the cluster knows it with the data directory \
            \(directory): what it promised there is gone. Start it with that directory; if that is \
            lost for good, let the node join under a new id
            """
        case .logGone(let path):
            """
            \(path) belongs to a node that has served already, but its write-ahead log has nothing of \
            the metadata: the log is gone, and with it all that was not in segments. Restore it from \
            a copy, or start with an empty data directory
            """
        }
    }
}
