import Broker
import ClusterMetadata
import Coordinators
import Platform
import RaftRuntime
import Simulator
import WriteAheadLog

/// One node's machine: its disk, and its life of now.
final class SimulatedNode: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    enum State {
        case starting, up, stopping, down
        /// Its data is gone, and the cluster does not take it back under its id.
        case lost
    }

    let id: Int32
    let disk: SimulatedFileSystem
    private let simulation: Simulation
    private let settings: Node.Settings
    private(set) var platform: SimulatedPlatform?
    private(set) var node: Node?
    private(set) var state = State.down
    /// Counts the lives of its process.
    private(set) var incarnation = 0
    /// Why it did not start.
    private(set) var problem: String?
    private(set) var isWiped = false
    /// Told what happens to it.
    var tell: (String) -> Void = { _ in }

    init(_ id: Int32, of count: Int, _ simulation: Simulation, _ shape: ClusterShape) {
        self.id = id
        self.simulation = simulation
        disk = SimulatedFileSystem(simulation, sectorBytes: shape.sectorBytes)
        settings = shape.settings(of: id, in: count)
    }

    var host: String { "node\(id)" }
    var address: SocketAddress { settings.broker.listen }
    var isUp: Bool { state == .up }
    var isRunning: Bool { platform?.isOn == true }
    /// It is this node's code that runs now.
    var isInTurn: Bool { platform?.loops.contains(where: \.isCurrent) == true }

    func start() {
        precondition(!isRunning, "node \(id) is started twice")
        if !disk.isOn { disk.powerOn() }
        (node, problem) = (nil, nil)
        incarnation += 1
        state = .starting
        let life = incarnation
        let platform = SimulatedPlatform(
            simulation,
            host: host,
            files: disk,
            loopCount: 2
        )
        self.platform = platform
        let settings = settings
        Task(executorPreference: platform.loops[0]) { [self] in
            do {
                let started = try await Node.start(settings, on: platform)
                guard incarnation == life else { return }
                (node, state) = (started, .up)
                tell("node \(id) is up")
            } catch {
                guard incarnation == life, platform.isOn else { return }
                end("did not start: \(error)")
                problem = "\(error)"
            }
        }
    }

    /// As an operator would stop it.
    func stop() {
        guard state == .up, let node, let platform else { return }
        state = .stopping
        let life = incarnation
        Task(executorPreference: platform.loops[0]) { [self] in
            var word = "stopped"
            do { try await node.stop() } catch { word = "stopped with \(error)" }
            guard incarnation == life else { return }
            end(word)
        }
    }

    /// The process ends here and now; the machine goes on.
    func kill() { end("killed") }

    func cutPower() {
        disk.cutPower()
        end("lost its power")
    }

    /// Its process ends and its data is gone.
    func wipe() {
        isWiped = true
        end("wiped")
        disk.replace()
    }

    private func end(_ how: String) {
        platform?.end()
        (node, platform) = (nil, nil)
        state = isWiped ? .lost : .down
        incarnation += 1
        tell("node \(id) \(how)")
    }

    /// What this node knows of the cluster.
    var image: MetadataImage { node?.admin.image ?? MetadataImage() }
}

/// What the nodes of a run are like, drawn from its seed.
struct ClusterShape {
    var sectorBytes = 512
    var walFileBytes = 256 << 10
    var walTotalBytes = 2 << 20
    var offsetsPartitions: Int32 = 2
    var groupSnapshotRecords: Int64 = 10_000
    var memoryBytes = 32 << 20
    var raft = RaftConfig()
    /// `nil` for the usual.
    var keepAlive: Int64?
    /// Topics without a retention of their own keep less on some nodes than on others.
    var keepsLittle: [Bool] = [false, false, false]
    var retentionCheckMilliseconds: Int64 = 2_000

    /// What the seed makes of it.
    ///
    /// In a long run the nodes' beats are slower: most of the time they are all that happens.
    static func draw(
        _ generator: inout ClusterGenerator,
        for plan: ClusterPlan
    ) -> ClusterShape {
        let isLong = plan.isLong
        var shape = ClusterShape()
        shape.sectorBytes = generator.chance(1, in: 2) ? 512 : 4_096
        shape.walFileBytes = [64 << 10, 256 << 10, 1 << 20][generator.below(3)]
        shape.walTotalBytes = shape.walFileBytes * (4 + generator.below(5))
        shape.offsetsPartitions = Int32(1 + generator.below(3))
        shape.groupSnapshotRecords = [20, 200, 10_000][generator.below(3)]
        shape.raft.maxMessageBytes = [1_024, 4_096, 1 << 20, 1 << 20][generator.below(4)]
        let checks: [Int64] = isLong ? [2_000, 8_000, 60_000] : [500, 2_000, 8_000]
        shape.retentionCheckMilliseconds = checks[generator.below(checks.count)]
        if generator.chance(1, in: 3) {
            shape.keepsLittle = shape.keepsLittle.map { _ in generator.chance(1, in: 2) }
        }
        shape.raft.snapshotChunkBytes = generator.chance(1, in: 2) ? 8 << 10 : 1 << 20
        shape.raft.quiesceTicks = generator.chance(1, in: isLong ? 8 : 4) ? 0 : 10
        if isLong {
            let ticks =
                plan.hasNights ? [200, 400, 1_000, 1_000, 1_000] : [50, 100, 200, 400, 1_000]
            shape.raft.tickMilliseconds = ticks[generator.below(ticks.count)]
            let least: Int64? = plan.hasNights ? .seconds(3) : nil
            shape.keepAlive = [least, .seconds(3), .seconds(10), .seconds(10)][generator.below(4)]
        }
        shape.raft.promotionLag = generator.chance(1, in: 2) ? 10 : 1_000
        return shape
    }

    func settings(of id: Int32, in count: Int) -> Node.Settings {
        var broker = BrokerSettings()
        broker.nodeID = id
        broker.listen = SocketAddress(host: "node\(id)", port: 9092)
        broker.dataDirectory = "/data"
        broker.offsetsPartitions = offsetsPartitions
        broker.memoryBytes = memoryBytes
        broker.autoCreateTopics = false
        broker.retentionCheckMilliseconds = retentionCheckMilliseconds
        if keepsLittle[Int(id) % keepsLittle.count] {
            broker.brokerConfigs["log.retention.bytes"] = "20000"
            broker.brokerConfigs["log.segment.bytes"] = "16384"
        }
        var wal = WALConfiguration(
            directory: "/data/wal",
            fileBytes: walFileBytes,
            totalBytes: walTotalBytes
        )
        wal.firstFileBytes = 64 << 10
        var groups = GroupSettings()
        groups.initialRebalanceDelay = 200
        groups.minSessionTimeout = 1_000
        groups.snapshotRecords = groupSnapshotRecords
        let raftAddress = { (id: Int) in SocketAddress(host: "node\(id)", port: 5001) }
        var cluster = ClusterSettings(
            clusterID: "simulated-cluster-0001",
            nodes: (1...count).map { .init(id: Int32($0), raft: raftAddress($0)) },
            raftListen: raftAddress(Int(id)),
            raftAdvertised: raftAddress(Int(id)),
            defaultReplicationFactor: Int16(min(3, count)),
            raft: raft
        )
        cluster.makeWire = { [keepAlive] in FramedWire($0, keepAlive: keepAlive) }
        return Node.Settings(broker: broker, wal: wal, groups: groups, cluster: cluster)
    }
}
