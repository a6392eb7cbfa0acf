import Bytes
import ClusterMetadata
import Coordinators
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing
import WriteAheadLog

@testable import Broker

/// Nodes that replicate partitions among them, on simulated machines in virtual time.
final class PartitionCluster: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    static let topic = TopicPartition(topic: "orders", partition: 0)
    static let group: UInt64 = 7

    let simulation: Simulation
    let wire: PartitionWire
    var topicConfigs: [String: String] = [:]
    /// See `ShardRaft.keptBytesPerLoop`.
    let keptBytes: Int
    let snapshotBytesPerSecond: Int
    /// Entries travel in small messages, one at a time.
    let sendsPieces: Bool
    /// What `topic` is, where it is not an ordinary topic.
    let partition: TopicPartition
    private(set) var nodes: [PartitionNode] = []

    init(
        _ count: Int = 3,
        seed: UInt64 = 1,
        configs: [String: String] = [:],
        partition: TopicPartition = PartitionCluster.topic,
        keptBytes: Int = 0,
        snapshotBytesPerSecond: Int = 64 << 20,
        sendsPieces: Bool = false
    ) throws {
        self.sendsPieces = sendsPieces
        self.snapshotBytesPerSecond = snapshotBytesPerSecond
        self.keptBytes = keptBytes
        simulation = Simulation(seed: seed)
        wire = PartitionWire(simulation)
        topicConfigs = configs
        self.partition = partition
        let voters = (1...count).map { Int32($0) }
        for id in voters {
            nodes.append(PartitionNode(id, in: self, beginning: .founder(voters: voters)))
        }
        for node in nodes { try node.turnOn() }
        for node in nodes { try node.beginPartition() }
        for node in nodes { try node.waitForPartition() }
    }

    deinit { for node in nodes { node.platform?.end() } }

    func addNode() throws -> PartitionNode {
        let node = PartitionNode(
            Int32(nodes.count + 1),
            in: self,
            beginning: .joiner(after: 0, index: 0)
        )
        nodes.append(node)
        try node.start()
        for node in nodes where node.isOn { node.dispatcher?.follow(ids) }
        return node
    }

    var ids: [ReplicaID] { nodes.map(\.replicaID) }

    func node(_ id: Int32) -> PartitionNode { nodes[Int(id) - 1] }

    @discardableResult
    func run(_ milliseconds: Int64, until isDone: () -> Bool = { false }) -> Bool {
        simulation.run(for: .milliseconds(milliseconds), until: isDone)
    }

    /// The node that leads in the latest epoch and serves.
    func leader(besides other: PartitionNode? = nil) throws -> PartitionNode {
        var found: PartitionNode?
        run(20_000) {
            found =
                nodes.filter { $0.isOn && $0 !== other && $0.epoch != nil }
                .max { ($0.epoch ?? 0) < ($1.epoch ?? 0) }
            return found != nil
        }
        return try #require(found, "nobody leads")
    }

    func followers(of leader: PartitionNode) -> [PartitionNode] {
        nodes.filter { $0.isOn && $0 !== leader }
    }

    /// Runs until every node that is up has applied what the leader has.
    func settle() throws {
        let leader = try leader()
        let isSettled = run(60_000) {
            let end = leader.logEnd
            return nodes.allSatisfy { node in
                !node.isOn
                    || (node.logEnd == end && node.leaders.leader(of: partition)?.id == leader.id)
            }
        }
        let ends = nodes.map { $0.isOn ? $0.logEnd : -2 }
        #expect(isSettled, "log ends \(ends)")
    }
}

/// One node: what outlives its lives, and its life of now.
final class PartitionNode: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let id: Int32
    let disk: SimulatedFileSystem
    private unowned let cluster: PartitionCluster
    var beginning: PartitionBeginning
    private(set) var platform: SimulatedPlatform?
    private(set) var shard: PartitionShard?
    private(set) var dispatcher: RaftDispatcher?
    private(set) var leaders: LeaderTable
    private(set) var partition: Partition?
    private(set) var startError: (any Error)?
    private(set) var memberships: [Membership] = []
    private(set) var coordinators: CoordinatorLoop?
    private(set) var snapshotLimits: SnapshotLimits?
    private var wal: GroupCommitWAL?
    private var recovered: RecoveredGroups?
    private var lives: UInt64 = 0
    /// The WAL is gone when it starts the next time.
    var losesLog = false
    /// What happens to its disk before it starts the next time.
    var damage: ((SimulatedFileSystem) throws -> Void)?
    /// Records its log has lost when it starts.
    var lacks: ((WALRecordHeader) -> Bool)?
    /// The node's rack, for those who read.
    var racks: [Int32: String] = [:]

    init(_ id: Int32, in cluster: PartitionCluster, beginning: PartitionBeginning) {
        self.id = id
        self.cluster = cluster
        self.beginning = beginning
        leaders = LeaderTable(nodeID: id)
        disk = SimulatedFileSystem(cluster.simulation)
    }

    var replicaID: ReplicaID { ReplicaID(UInt64(id)) }
    var isOn: Bool { platform?.isOn == true && partition != nil }
    var epoch: Int32? { partition?.leaderEpoch }
    var logEnd: Int64 { partition?.log.logEndOffset.rawValue ?? -1 }

    // MARK: Life

    func start() throws {
        try turnOn()
        try beginPartition()
        try waitForPartition()
    }

    func turnOn() throws {
        if !disk.isOn { disk.powerOn() }
        lives += 1
        let platform = SimulatedPlatform(cluster.simulation, host: "node\(id)", files: disk)
        self.platform = platform
        (partition, startError, memberships) = (nil, nil, [])
        leaders = LeaderTable(nodeID: id)
        if losesLog { try disk.removeTree("/data/wal") }
        losesLog = false
        try damage?(disk)
        damage = nil
        let recovered = RecoveredGroups(replica: replicaID)
        let wal = try openLog(platform, recovered)
        (self.wal, self.recovered) = (wal, recovered)
        let transport = PartitionWireEnd(cluster.wire, from: replicaID)
        let environment = environment(platform, wal, transport)
        let loop = platform.loops[0]
        loop.execute { [self] in
            let shard = PartitionShard(loop: loop, environment: environment)
            self.shard = shard
            if cluster.partition.topic == InternalTopic.consumerOffsets.rawValue {
                coordinators = CoordinatorLoop(
                    loop: loop,
                    shard: shard,
                    settings: GroupSettings(),
                    generator: platform.makeGenerator()
                )
            }
        }
        self.shard = nil
        cluster.run(1_000) { self.shard != nil }
        let shard = try #require(shard)
        let dispatcher = RaftDispatcher(
            managers: [shard.manager],
            transport: transport,
            incarnation: lives,
            placement: { _ in 0 }
        )
        self.dispatcher = dispatcher
        cluster.wire.connect(replicaID, dispatcher)
        dispatcher.follow(cluster.ids)
    }

    func beginPartition() throws {
        var start = PartitionStart(
            id: cluster.partition,
            topicID: KafkaUUID(high: 1, low: 2),
            groupID: PartitionCluster.group,
            configuration: EffectiveTopicConfiguration { [cluster] key in
                cluster.topicConfigs[key.name] ?? key.defaultValue
            },
            beginning: beginning,
            recovered: try takeRecovered()
        )
        start.onMembershipChanged = { [unowned self] in memberships.append($0) }
        if let coordinators {
            start.prepare = { partition, stateMachine, batches in
                coordinators.assumeIsolated { $0.follow(partition, stateMachine, batches) }
            }
        }
        let shard = try #require(shard)
        let started = start
        Task(executorPreference: shard.loop) { [self] in
            do { partition = try await shard.start(started) } catch { startError = error }
            await shard.startSweeping()
        }
    }

    /// What the log has of the partition's group, as a node takes it over.
    private func takeRecovered() throws -> RecoveredGroup? {
        guard let recovered, recovered.groups.contains(PartitionCluster.group) else { return nil }
        var voters: [ReplicaID] = []
        if case .founder(let founders) = beginning {
            voters = founders.map { ReplicaID(UInt64($0)) }
        }
        return try recovered.storage(
            of: PartitionCluster.group,
            membership: Membership(voters: voters),
            isNew: false
        )
    }

    func waitForPartition() throws {
        cluster.run(60_000) { partition != nil || startError != nil || platform?.isOn == false }
        if let startError { throw startError }
    }

    private func openLog(
        _ platform: SimulatedPlatform,
        _ recovered: RecoveredGroups
    ) throws -> GroupCommitWAL {
        var configuration = WALConfiguration(
            directory: "/data/wal",
            fileBytes: 256 << 10,
            totalBytes: 4 << 20
        )
        configuration.firstFileBytes = 64 << 10
        return try GroupCommitWAL.open(
            configuration,
            files: disk,
            worker: platform.makeWorker(name: "wal"),
            preparer: platform.makeWorker(name: "files"),
            clock: platform.clock,
            generator: platform.makeGenerator()
        ) { [self] record, payload, position in
            if lacks?(record) == true { return }
            try recovered.take(record, payload, at: position)
        }
    }

    private func environment(
        _ platform: SimulatedPlatform,
        _ wal: GroupCommitWAL,
        _ transport: PartitionWireEnd
    ) -> ShardEnvironment {
        var raft = RaftConfig()
        raft.snapshotChunkBytes = 4 << 10
        raft.snapshotBytesPerSecond = cluster.snapshotBytesPerSecond
        if cluster.sendsPieces { (raft.maxMessageBytes, raft.maxInflightMessages) = (200, 1) }
        var environment = ShardEnvironment(
            files: platform.files,
            dataDirectory: "/data",
            wal: wal,
            segmentWriter: platform.makeWorker(name: "segments"),
            coldReader: platform.makeWorker(name: "cold-reads"),
            readBuffers: ReadBuffers(limit: 2),
            replicaID: replicaID,
            raft: raft,
            transport: transport,
            budget: MemoryBudget(limit: 64 << 20),
            cacheBytesPerLoop: 8 << 20,
            leaders: leaders,
            retentionNanoseconds: .seconds(1),
            producerMilliseconds: 86_400_000,
            log: Logger("test"),
            makeGenerator: { platform.makeGenerator() }
        )
        environment.keptBytesPerLoop = cluster.keptBytes
        let limits = SnapshotLimits(raft)
        snapshotLimits = limits
        environment.snapshotLimits = limits
        environment.rackOf = { [self] in racks[$0] }
        return environment
    }

    func cutPower() {
        cluster.wire.disconnect(replicaID)
        disk.cutPower()
        end()
    }

    /// Keeps the tombstones the log has, as a node does for groups it has no replica of.
    func stayRetired() throws {
        for storage in recovered?.takeRemoved() ?? [] {
            try on { await $0.keepTombstone(storage) }
        }
    }

    /// The replica leaves the node, which goes on.
    func retire() throws {
        let id = cluster.partition
        try on { await $0.retire(id) }
        partition = nil
    }

    /// The process is killed; the kernel keeps what it wrote.
    func kill() {
        cluster.wire.disconnect(replicaID)
        end()
    }

    private func end() {
        platform?.end()
        partition = nil
    }

    // MARK: Requests

    /// Runs `body` on the node's loop, and the simulation until it is done or the node is.
    func on<T: Sendable>(
        within milliseconds: Int64 = 60_000,
        _ body: @escaping @Sendable (PartitionShard) async throws -> T
    ) throws -> T {
        let shard = try #require(shard)
        let box = Box<Result<T, any Error>>()
        Task(executorPreference: shard.loop) {
            do { box.value = .success(try await body(shard)) } catch { box.value = .failure(error) }
        }
        cluster.run(milliseconds) { box.value != nil || platform?.isOn != true }
        return try #require(box.value, "no answer").get()
    }

    /// Hands a batch over and returns what will be its answer.
    func beginProduce(
        _ batch: RecordBatch,
        until point: AppendPoint = .committed,
        timeout: Int32 = 30_000
    ) -> Box<AppendResult> {
        let box = Box<AppendResult>()
        guard let shard else { return box }
        let item = AppendItem(partition: cluster.partition, batch: batch)
        Task(executorPreference: shard.loop) {
            box.value = await shard.append(
                [item],
                until: point,
                timeoutMilliseconds: timeout
            )[0]
        }
        return box
    }

    @discardableResult
    func produce(
        _ batch: RecordBatch,
        until point: AppendPoint = .committed
    ) throws -> AppendResult {
        let box = beginProduce(batch, until: point)
        cluster.run(60_000) { box.value != nil || !isOn }
        return try #require(box.value, "no answer")
    }

    /// Everything the node has of the partition, from its start.
    func content(from start: Int64? = nil) throws -> [UInt8] {
        let id = cluster.partition
        var offset = start ?? partition?.log.logStartOffset.rawValue ?? 0
        let end = logEnd
        var bytes: [UInt8] = []
        while offset < end {
            let item = ReadItem(
                partition: id,
                offset: offset,
                maxBytes: 1 << 20,
                mayFollow: true
            )
            let outcome = try on {
                await $0.read([item], maxBytes: 1 << 20, mustReturnOne: true)[0]
            }
            guard outcome.error == .none, !outcome.records.isEmpty else {
                throw PartitionProblem.unreadable(outcome.error, offset)
            }
            let joined = outcome.records.joined()
            var rest = try #require(joined)
            bytes += rest.array
            while !rest.isEmpty {
                let length = Int(rest.loadBigEndian(at: 8) as Int32) + 12
                let batch = RecordBatch(committed: rest.prefix(length))
                #expect(batch.isIntact)
                offset = batch.nextOffset.rawValue
                rest = rest.dropFirst(length)
            }
        }
        return bytes
    }

    /// Writes so much of another group that what follows is in another file of the log.
    func fillFileOfLog() throws {
        try on { shard in
            let filler = WALRecord(
                group: PartitionCluster.group + 1,
                kind: .entry,
                term: 1,
                index: 1,
                payload: ByteSlice([UInt8](repeating: 0, count: 200 << 10))
            )
            await withUnsafeContinuation { continuation in
                shard.environment.wal.submit(
                    WALBatch(records: [filler, filler], loop: shard.loop) { _ in
                        continuation.resume()
                    }
                )
            }
        }
    }

    /// Writes everything into segments and drops it from the log.
    func flush() throws { try on { await $0.flushAll() } }
}

enum PartitionProblem: Error {
    case unreadable(ErrorCode, Int64)
}

final class Box<T>: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    var value: T?
}

extension RecordBatch {
    /// A batch of one record that nobody else's is.
    static func of(_ text: String, producer: Int64? = nil, sequence: Int32 = 0) -> RecordBatch {
        var builder = RecordBatchBuilder(baseTimestamp: 1_700_000_000_000)
        builder.append(key: nil, value: ByteSlice(text))
        let batch = builder.finish()
        guard let producer else { return batch }
        return batch.numbered(producer: producer, sequence: sequence)
    }

    /// As an idempotent producer sends it.
    private func numbered(producer: Int64, sequence: Int32) -> RecordBatch {
        var bytes = bytes.array
        for place in 0..<8 {
            bytes[43 + place] = UInt8(truncatingIfNeeded: producer >> (56 - 8 * place))
        }
        (bytes[51], bytes[52]) = (0, 0)
        for place in 0..<4 {
            bytes[53 + place] = UInt8(truncatingIfNeeded: sequence >> (24 - 8 * place))
        }
        let checksum = bytes[21...].withUnsafeBytes { CRC32C.checksum($0) }
        for place in 0..<4 {
            bytes[17 + place] = UInt8(truncatingIfNeeded: checksum >> (24 - 8 * place))
        }
        return RecordBatch(committed: ByteSlice(bytes))
    }
}
