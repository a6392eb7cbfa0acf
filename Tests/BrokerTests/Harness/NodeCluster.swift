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

/// Whole nodes that form a cluster, on simulated machines in virtual time.
final class NodeCluster: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let simulation: Simulation
    let clients: SimulatedPlatform
    private(set) var machines: [Machine] = []

    init(
        _ count: Int = 3,
        seed: UInt64,
        metadataSnapshotRecords: Int64 = 10_000,
        metadataAcknowledgement: MetadataAcknowledgement = .quorum,
        proxiesProduces: Bool = false,
        brokerConfigs: [String: String] = [:],
        retentionCheckMilliseconds: Int64 = 300_000,
        groupSnapshotRecords: Int64 = 10_000
    ) throws {
        Logger.configure(level: .error, format: .text)
        simulation = Simulation(seed: seed)
        clients = SimulatedPlatform(simulation, host: "clients")
        machines = (1...count).map {
            Machine(
                Int32($0),
                of: count,
                simulation,
                metadataSnapshotRecords: metadataSnapshotRecords,
                metadataAcknowledgement: metadataAcknowledgement,
                proxiesProduces: proxiesProduces,
                brokerConfigs: brokerConfigs,
                retentionCheckMilliseconds: retentionCheckMilliseconds,
                groupSnapshotRecords: groupSnapshotRecords
            )
        }
        for machine in machines { machine.start() }
        for machine in machines { try machine.waitReady() }
    }

    deinit { for machine in machines { machine.platform?.end() } }

    func machine(_ id: Int32) -> Machine { machines[Int(id) - 1] }

    var up: [Machine] { machines.filter { $0.node != nil && $0.platform?.isOn == true } }

    /// Runs until a condition holds, which is looked at after each millisecond.
    func eventually(
        _ what: String,
        seconds: Int64 = 60,
        at location: SourceLocation = #_sourceLocation,
        _ isDone: () -> Bool
    ) throws {
        let deadline = simulation.clock.monotonicNanoseconds + .seconds(seconds)
        while simulation.clock.monotonicNanoseconds < deadline {
            if isDone() { return }
            _ = simulation.run(for: .milliseconds(1))
        }
        let done = isDone()
        let view = up.map { "\($0.id): \($0.summary)" } + ((try? groups()) ?? [])
        try #require(done, "not within \(seconds) s: \(what); \(view)", sourceLocation: location)
    }

    /// How the leaders of partitions see their followers.
    private func groups() throws -> [String] {
        try up.flatMap { machine in
            let shards = machine.node?.admin.shards ?? []
            let statuses = try perform { _ in
                var found: [TopicPartition: RaftStatus] = [:]
                for shard in shards {
                    found.merge(await shard.readEach { $0.replica.status }) { one, _ in one }
                }
                return found
            }
            return statuses.filter { $0.value.role == .leader }.map { id, status in
                let peers = status.peers.map { "\($0.id) \($0.state) \($0.match)" }
                return "\(machine.id) leads \(id) to \(status.lastIndex): \(peers)"
            }.sorted()
        }
    }

    /// The term each node that is up has of a topic's first partition.
    func terms(of topic: String) throws -> [Term] {
        let id = TopicPartition(topic: topic, partition: 0)
        return try up.flatMap { machine in
            let shards = machine.node?.admin.shards ?? []
            return try perform { _ in
                var found: [Term] = []
                for shard in shards {
                    let terms = await shard.readEach { $0.replica.info.term }
                    if let term = terms[id] { found.append(term) }
                }
                return found
            }
        }
    }

    /// Runs a body on the clients' loop to its end.
    func perform<T>(
        seconds: Int64 = 60,
        _ body: @escaping @Sendable (EventLoop) async throws -> sending T
    ) throws -> T {
        var result: Result<T, any Error>?
        let loop = clients.loops[0]
        let keep = Keep<T> { result = $0 }
        Task(executorPreference: loop) {
            do { keep.take(.success(try await body(loop))) } catch { keep.take(.failure(error)) }
        }
        _ = simulation.run(for: .seconds(seconds)) { result != nil }
        return try #require(result, "a request is not answered").get()
    }

    private final class Keep<T>: @unchecked Sendable {
        let take: (Result<T, any Error>) -> Void
        init(_ take: @escaping (Result<T, any Error>) -> Void) { self.take = take }
    }

    /// One request to any node that is up.
    func ask<R: KafkaRequest>(
        _ request: R,
        version: Int16,
        of machine: Machine? = nil
    ) throws
        -> R.Response
    {
        let address = try #require(machine ?? up.first).address
        return try perform { loop in
            let client = try await TestClient.open(address, on: loop)
            defer { client.socket.close() }
            return try await client.call(request, version: version)
        }
    }

    // MARK: Topics

    /// A topic whose partitions lie on the nodes given, the first of each preferred; all are led.
    func createTopic(_ name: String, on assignments: [[Int32]]) throws {
        try makeTopics([name], on: assignments)
        try eventually("\(name) has leaders everywhere") {
            up.allSatisfy { machine in
                machine.topic(name)?.partitions.allSatisfy { $0.leadership.leader > 0 } ?? false
            }
        }
    }

    /// The same of several, in one request; nobody may lead their partitions yet.
    func makeTopics(
        _ names: [String],
        on assignments: [[Int32]],
        through machine: Machine? = nil
    ) throws {
        var request = CreateTopicsRequest()
        request.topics = names.map { name in
            var topic = CreateTopicsRequest.CreatableTopic()
            topic.name = name
            topic.numPartitions = -1
            topic.replicationFactor = -1
            topic.assignments = assignments.enumerated().map { index, brokers in
                var assignment = CreateTopicsRequest.CreatableReplicaAssignment()
                assignment.partitionIndex = Int32(index)
                assignment.brokerIds = brokers
                return assignment
            }
            return topic
        }
        let response = try ask(request, version: 5, of: machine)
        try #require(response.topics.map(\.errorCode) == names.map { _ in 0 })
    }

    /// What a node tells clients of topics.
    func told(of names: [String], by machine: Machine) throws -> MetadataResponse {
        var request = MetadataRequest()
        request.topics = names.map { name in
            var topic = MetadataRequest.MetadataRequestTopic()
            topic.name = name
            return topic
        }
        return try ask(request, version: 12, of: machine)
    }

    func deleteTopic(_ name: String) throws {
        var state = DeleteTopicsRequest.DeleteTopicState()
        state.name = name
        var request = DeleteTopicsRequest()
        request.topics = [state]
        try #require(ask(request, version: 6).responses.map(\.errorCode) == [0])
    }

    /// Where the log of the metadata begins and ends on a node.
    func metadataLog(on machine: Machine) throws -> (start: Int64, end: Int64) {
        let shard = try #require(machine.node).admin.shards[0]
        return try perform { _ in
            let ends: [TopicPartition: (start: Int64, end: Int64)] = await shard.readEach {
                ($0.log.logStartOffset.rawValue, $0.log.logEndOffset.rawValue)
            }
            return ends[MetadataService.partitionID] ?? (-1, -1)
        }
    }

    func reassign(_ topic: String, to replicas: [Int32]?) throws -> ErrorCode? {
        var partition = AlterPartitionReassignmentsRequest.ReassignablePartition()
        partition.replicas = replicas
        var entry = AlterPartitionReassignmentsRequest.ReassignableTopic()
        entry.name = topic
        entry.partitions = [partition]
        var request = AlterPartitionReassignmentsRequest()
        request.topics = [entry]
        let response = try ask(request, version: 0)
        return response.responses.first?.partitions.first
            .flatMap { ErrorCode(rawValue: $0.errorCode) }
    }

    /// Runs until all nodes have a partition where it is wanted, and have it in sync.
    func waitPlaced(_ topic: String, on replicas: [Int32], seconds: Int64 = 60) throws {
        try eventually("\(topic) is on \(replicas)", seconds: seconds) {
            up.allSatisfy { machine in
                guard let partition = machine.partition(topic) else { return false }
                return partition.replicas == replicas && !partition.assignment.isMoving
                    && partition.leadership.inSync.sorted() == replicas.sorted()
                    && (replicas.contains(machine.id) || !machine.hasFiles(of: topic))
            }
        }
    }

    /// How many partitions of a topic each node leads, as one of them has it.
    func shares(of topic: String) -> [Int32: Int] {
        let partitions = up.first?.topic(topic)?.partitions.map(\.leadership.leader) ?? []
        return Dictionary(grouping: partitions) { $0 }.mapValues(\.count)
    }

    /// What a replica has below its high watermark, read from that node itself once it has as much
    /// as the leader.
    func content(
        of topic: String,
        _ partition: Int32 = 0,
        on machine: Machine
    ) throws -> [ByteSlice] {
        let leader = try #require(machine.partition(topic, partition)).leadership.leader
        let end = try read(topic, partition, from: self.machine(leader)).high
        for _ in 0..<100 {
            let found = try read(topic, partition, from: machine)
            if found.high >= end { return found.values }
            _ = simulation.run(for: .milliseconds(100))
        }
        throw Behind(node: machine.id, end: end)
    }

    struct Behind: Error {
        let node: Int32
        let end: Int64
    }

    private func read(
        _ topic: String,
        _ partition: Int32,
        from machine: Machine
    ) throws -> (values: [ByteSlice], high: Int64) {
        var (values, high): ([ByteSlice], Int64) = ([], 0)
        repeat {
            let request = FetchRequest(topic, partition, from: Int64(values.count))
            let response = try ask(request, version: 11, of: machine)
            let answer = try #require(response.responses.first?.partitions.first)
            guard answer.errorCode == 0 else { return (values, -1) }
            high = answer.highWatermark
            var rest = try #require(answer.records?.joined())
            let before = values.count
            while !rest.isEmpty {
                let length = Int(rest.loadBigEndian(at: 8) as Int32) + 12
                guard length <= rest.count else { break }
                let batch = try RecordBatch.validated(rest.prefix(length))
                values += try batch.records().compactMap(\.value)
                rest = rest.dropFirst(length)
            }
            if values.count == before { break }
        } while values.count < high
        return (values, high)
    }
}

/// One node's machine: its disk, and its life of now.
final class Machine: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let id: Int32
    let disk: SimulatedFileSystem
    private let simulation: Simulation
    private let settings: Node.Settings
    private(set) var platform: SimulatedPlatform?
    private(set) var node: Node?
    private(set) var problem: (any Error)?
    /// What happens to its disk before it starts the next time.
    var damage: ((SimulatedFileSystem) throws -> Void)?

    init(
        _ id: Int32,
        of count: Int,
        _ simulation: Simulation,
        metadataSnapshotRecords: Int64,
        metadataAcknowledgement: MetadataAcknowledgement,
        proxiesProduces: Bool,
        brokerConfigs: [String: String],
        retentionCheckMilliseconds: Int64,
        groupSnapshotRecords: Int64
    ) {
        self.id = id
        self.simulation = simulation
        disk = SimulatedFileSystem(simulation)
        var broker = BrokerSettings()
        broker.nodeID = id
        broker.listen = SocketAddress(host: "node\(id)", port: 9092)
        broker.dataDirectory = "/data"
        broker.offsetsPartitions = 2
        broker.metadataSnapshotRecords = metadataSnapshotRecords
        broker.memoryBytes = 32 << 20
        broker.retentionCheckMilliseconds = retentionCheckMilliseconds
        broker.brokerConfigs = brokerConfigs
        var wal = WALConfiguration(
            directory: "/data/wal",
            fileBytes: 256 << 10,
            totalBytes: 2 << 20
        )
        wal.firstFileBytes = 64 << 10
        var groups = GroupSettings()
        groups.snapshotRecords = groupSnapshotRecords
        let raft = { (id: Int) in SocketAddress(host: "node\(id)", port: 5001) }
        var settings = Node.Settings(
            broker: broker,
            wal: wal,
            groups: groups,
            cluster: ClusterSettings(
                clusterID: "simulated-cluster-0001",
                nodes: (1...count).map { .init(id: Int32($0), raft: raft($0)) },
                raftListen: raft(Int(id)),
                raftAdvertised: raft(Int(id)),
                defaultReplicationFactor: Int16(count),
                raft: RaftConfig()
            )
        )
        settings.cluster?.metadataAcknowledgement = metadataAcknowledgement
        settings.cluster?.proxiesProduces = proxiesProduces
        self.settings = settings
    }

    var address: SocketAddress { settings.broker.listen }

    func start() {
        if !disk.isOn { disk.powerOn() }
        (node, problem) = (nil, nil)
        let platform = SimulatedPlatform(
            simulation,
            host: "node\(id)",
            files: disk,
            loopCount: 2
        )
        self.platform = platform
        do { try damage?(disk) } catch { problem = error }
        damage = nil
        Task(executorPreference: platform.loops[0]) { [self] in
            do { node = try await Node.start(settings, on: platform) } catch { problem = error }
        }
    }

    func waitReady() throws {
        let done = simulation.run(for: .seconds(60)) { node != nil || problem != nil }
        if let problem { throw problem }
        try #require(done, "node \(id) does not come up")
    }

    /// As an operator would; returns the nanoseconds it took.
    @discardableResult
    func stop() throws -> Int64 {
        let node = try #require(node)
        let loop = try #require(platform).loops[0]
        let began = simulation.clock.monotonicNanoseconds
        var isOver = false
        let over = Over { isOver = true }
        Task(executorPreference: loop) {
            do { try await node.stop() } catch { self.problem = error }
            over.take()
        }
        try #require(simulation.run(for: .seconds(60)) { isOver }, "node \(id) does not stop")
        end()
        if let problem { throw problem }
        return simulation.clock.monotonicNanoseconds - began
    }

    private final class Over: @unchecked Sendable {
        let take: () -> Void
        init(_ take: @escaping () -> Void) { self.take = take }
    }

    /// As a crash would.
    func kill() { end() }

    private func end() {
        platform?.end()
        node = nil
    }

    // MARK: What it knows

    var image: MetadataImage { node?.admin.published.current ?? MetadataImage() }

    func topic(_ name: String) -> MetadataImage.Topic? { image.topic(name) }

    func partition(_ name: String, _ index: Int32 = 0) -> MetadataImage.Partition? {
        topic(name)?.partitions[checked: index]
    }

    /// By file of its write-ahead log, where the last block ends that something was written to.
    func endsOfLog() throws -> [String: Int] {
        let paths = try disk.list("/data/wal").filter { $0.hasSuffix(".wal") }.map {
            "/data/wal/" + $0
        }
        return Dictionary(
            uniqueKeysWithValues: paths.map { path in
                let last = disk.contents(path).lastIndex { $0 != 0 } ?? 0
                return (path, (last / 4096 + 1) * 4096)
            }
        )
    }

    func hasFiles(of topic: String, _ partition: Int32 = 0) -> Bool {
        disk.exists("/data/topics/\(topic)-\(partition)")
    }

    var summary: String {
        image.sortedTopics.flatMap { topic in
            topic.partitions.map { partition in
                let led = partition.leadership
                return "\(topic.name)-\(partition.index) \(partition.assignment.replicas)"
                    + " +\(partition.assignment.adding) -\(partition.assignment.removing)"
                    + " led by \(led.leader) in \(led.epoch), in sync \(led.inSync)"
            }
        }.joined(separator: "; ")
    }
}
