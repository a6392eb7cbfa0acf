import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import Raft
import RaftRuntime
import Synchronization

/// This node's ties to the others: the transport, the beats, and calls in both directions.
final class ClusterLink: NodeCalls {
    let settings: ClusterSettings
    let incarnation: UInt64
    private let wire: any ClusterWire
    private let calls: PeerCalls
    private let nodeID: Int32
    private let loop: EventLoop
    private let loops: [EventLoop]
    private let log = Logger("cluster")
    private let dispatcher = Mutex<RaftDispatcher?>(nil)
    private let duties = Mutex<ClusterDuties?>(nil)
    private let published = Mutex<PublishedImage?>(nil)
    private let admin = Mutex<NodeAdmin?>(nil)
    private let produces = Mutex<ForwardedProduces?>(nil)

    init(
        _ settings: ClusterSettings,
        nodeID: Int32,
        directoryID: KafkaUUID,
        platform: any HostPlatform,
        metrics: MetricsRegistry
    ) {
        self.settings = settings
        self.nodeID = nodeID
        loops = platform.loops
        loop = platform.loops[0]
        incarnation = UInt64(max(1, platform.clock.wallMilliseconds)) * 1_000_000
        wire = settings.makeWire(
            WireSettings(
                clusterID: settings.clusterID,
                node: ReplicaID(UInt64(nodeID)),
                incarnation: incarnation,
                directory: "\(directoryID)",
                listen: settings.raftListen,
                stage: settings.stage,
                platform: platform,
                metrics: metrics
            )
        )
        calls = PeerCalls(
            transport: wire.transport,
            loop: platform.loops[0],
            generator: platform.makeGenerator()
        )
    }

    /// What this node's replicas send through.
    var transport: any RaftTransport { wire.transport }

    var advertised: SocketAddress { settings.raftAdvertised }

    private var others: [ClusterSettings.Node] { settings.nodes.filter { $0.id != nodeID } }

    /// Listens for the other nodes and begins to exchange beats with them; on the first loop.
    func open(shards: [PartitionShard], metadata: MetadataService) async throws {
        let count = shards.count
        let dispatcher = RaftDispatcher(
            managers: shards.map(\.manager),
            transport: transport,
            calls: calls,
            incarnation: incarnation,
            placement: { Placement.loop(of: $0, of: count) }
        )
        self.dispatcher.withLock { $0 = dispatcher }
        wire.setPeers(
            Dictionary(
                uniqueKeysWithValues: others.map { (ReplicaID(UInt64($0.id)), $0.raft) }
            )
        )
        let node = ClusterNode(settings, shards: shards, metadata: metadata)
        let wire = wire
        let started: Result<Void, any Error> = await withUnsafeContinuation { done in
            loop.execute {
                done.resume(returning: Result { try wire.start(node, delegate: dispatcher) })
            }
        }
        try started.get()
        calls.serve { [weak self, weak dispatcher] peer, call in
            guard let operation = NodeOperation(rawValue: call.operation) else { return nil }
            switch operation {
            case .nodeStatus, .transferLeadership:
                let admin = self?.admin.withLock { $0 }
                return await admin?.serve(operation, call.wholePayload)
            case .forwardProduce:
                let produces = self?.produces.withLock { $0 }
                return await produces?.serve(call.wholePayload)
            case .forwardWrite, .queryMetadata, .introduce:
                return await metadata.serve(
                    operation,
                    call.wholePayload,
                    from: Int32(truncatingIfNeeded: peer.rawValue),
                    hasRestarted: dispatcher?.hasRestarted(peer) ?? true
                )
            }
        }
        await metadata.connect(self)
        dispatcher.follow(others.map { ReplicaID(UInt64($0.id)) })
    }

    /// Makes sure that a node without a log of the metadata never had one: its voice must not count
    /// twice.
    ///
    /// What it may have promised, a majority knows; so as many others are asked as leave no majority
    /// without one of them. A new cluster forms once so many nodes are there.
    ///
    /// - Throws: ``NodeProblem/logLost(_:directory:)`` when the cluster knows it.
    func introduce() async throws(NodeProblem) {
        let majority = settings.nodes.count / 2 + 1
        var missing = others.count - majority + 2
        var unheard = others.map(\.id)
        var rounds = 0
        while missing > 0 && !unheard.isEmpty {
            for id in unheard {
                guard let known = await directory(knownTo: id) else { continue }
                guard known == .zero else { throw .logLost(nodeID, directory: known) }
                unheard.removeAll { $0 == id }
                missing -= 1
            }
            guard missing > 0 && !unheard.isEmpty else { return }
            rounds += 1
            if rounds % 50 == 5 {
                log.warning(
                    "a node that is new waits for others to form the cluster",
                    ["waiting-for": unheard.map(String.init).joined(separator: ",")]
                )
            }
            await loop.sleep(nanoseconds: .milliseconds(100))
        }
    }

    private func directory(knownTo id: Int32) async -> KafkaUUID? {
        guard
            let answer = try? await call(id, .introduce, ByteSlice(), within: .seconds(2))
        else { return nil }
        var reader = ByteReader(answer)
        return try? reader.readUUID()
    }

    func follow(
        _ metadata: MetadataService,
        _ published: PublishedImage,
        shards: [PartitionShard],
        leaders: LeaderTable
    ) async {
        let duties = ClusterDuties(
            loop: loop,
            nodeID: nodeID,
            shards: shards,
            metadata: metadata,
            published: published
        )
        self.duties.withLock { $0 = duties }
        self.published.withLock { $0 = published }
        learnDirectories()
        await duties.begin(leaders)
        let watch = BrokerWatch(
            loop: loop,
            nodeID: nodeID,
            incarnation: NodeIncarnation.id(of: incarnation),
            beat: .milliseconds(Int64(settings.raft.tickMilliseconds)),
            metadata: metadata
        ) { [weak self] in self?.heard ?? [:] }
        await metadata.onLeading { [loop] leads in
            Task.immediate(executorPreference: loop) { await watch.leads(leads) }
        }
    }

    /// The nodes whose beats arrive, and the incarnation in them.
    var heard: [Int32: UInt64] {
        let heard = dispatcher.withLock { $0 }?.heardPeers ?? [:]
        return Dictionary(
            uniqueKeysWithValues: heard.map {
                (Int32(truncatingIfNeeded: $0.key.rawValue), $0.value)
            }
        )
    }

    /// Whether the nodes that are heard, with this one, are no majority.
    var isCutOff: Bool { heard.count + 1 <= settings.nodes.count / 2 }

    /// From now on other nodes may ask of this one as such.
    func serve(_ node: NodeAdmin) { admin.withLock { $0 = node } }

    /// From now on other nodes may pass produces on to this one.
    func serve(_ produces: ForwardedProduces) { self.produces.withLock { $0 = produces } }

    /// What passes produces on to other nodes; `nil` unless this node is to.
    func makeProxy(_ metrics: MetricsRegistry) -> ProduceProxy? {
        guard settings.proxiesProduces else { return nil }
        return ProduceProxy(loop: loop, calls: self, metrics: ProxyMetrics(in: metrics)) {
            [weak self] node in self?.hears(node) ?? false
        }
    }

    private func hears(_ node: Int32) -> Bool {
        dispatcher.withLock { $0 }?.hears(ReplicaID(UInt64(node))) ?? false
    }

    func call(
        _ node: Int32,
        _ operation: NodeOperation,
        _ payload: ByteRope,
        within nanoseconds: Int64
    ) async throws(PeerCallError) -> ByteSlice {
        try await calls.call(
            ReplicaID(UInt64(node)),
            operation.rawValue,
            payload,
            within: nanoseconds
        )
    }

    private func learnDirectories() {
        guard let image = published.withLock({ $0 })?.current else { return }
        var directories: [ReplicaID: String] = [:]
        for node in others {
            guard let broker = image.broker(node.id), !broker.mayBeReplaced,
                broker.registration.directoryID != .zero
            else { continue }
            directories[ReplicaID(UInt64(node.id))] = "\(broker.registration.directoryID)"
        }
        wire.setDirectories(directories)
    }

    /// Takes up what has changed in the metadata.
    func changed(_ delta: MetadataDelta) async {
        if !delta.brokers.isEmpty || !delta.removedBrokers.isEmpty { learnDirectories() }
        await duties.withLock { $0 }?.changed(delta)
    }

    /// A planned stop begins: others are to lead what this node leads.
    func leave() async { await duties.withLock { $0 }?.leave() }

    /// Says no more to the other nodes.
    func close() async {
        calls.stop()
        admin.withLock { $0 = nil }
        produces.withLock { $0 = nil }
        dispatcher.withLock { $0 }?.fallSilent()
        await wire.stop()
    }
}
