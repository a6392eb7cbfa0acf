import Bytes
import Platform
import Raft
import Simulator
import WriteAheadLog

@testable import RaftRuntime

/// Nodes with Raft groups in one process and virtual time.
///
/// Their loops, logs and disks are simulated, and so is what lies between them. One seed is one
/// run.
final class Cluster: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let simulation: Simulation
    let wire: Wire
    let ledger = AppliedLedger()
    let config: RaftConfig
    private(set) var nodes: [SimulatedNode] = []
    var members: [ReplicaID] { nodes.map(\.id) }

    init(
        _ count: Int = 3,
        seed: UInt64 = 1,
        loops: Int = 1,
        config: RaftConfig = RaftConfig()
    ) throws {
        simulation = Simulation(seed: seed)
        self.config = config
        wire = Wire(simulation)
        for number in 1...count {
            nodes.append(SimulatedNode(ReplicaID(UInt64(number)), loops: loops, in: self))
        }
        for node in nodes { try node.start() }
    }

    deinit { for node in nodes { node.platform?.end() } }

    /// A node that is no member of anything yet.
    func addNode() throws -> SimulatedNode {
        let node = SimulatedNode(ReplicaID(UInt64(nodes.count + 1)), loops: 1, in: self)
        nodes.append(node)
        try node.start()
        for node in nodes where node.isOn { node.dispatcher?.follow(members) }
        return node
    }

    func node(_ id: ReplicaID) -> SimulatedNode { nodes[Int(id.rawValue) - 1] }

    /// Starts a new group on the first `count` nodes.
    func createGroup(_ group: UInt64 = 1, on count: Int = 3) throws {
        let voters = members.prefix(count)
        for node in nodes.prefix(count) {
            try node.create(group, Membership(voters: Array(voters)))
        }
    }

    // MARK: Time

    @discardableResult
    func run(_ milliseconds: Int64, until isDone: () -> Bool = { false }) -> Bool {
        simulation.run(for: .milliseconds(milliseconds), until: isDone)
    }

    /// Runs until one replica leads and is ready, and returns its node.
    func leader(_ group: UInt64 = 1, within milliseconds: Int64 = 5_000) throws -> SimulatedNode {
        var found: SimulatedNode?
        run(milliseconds) {
            found = readyLeader(group)
            return found != nil
        }
        guard let found else { throw ClusterProblem.noLeader(group) }
        return found
    }

    /// The one that leads in the highest term.
    func readyLeader(_ group: UInt64 = 1) -> SimulatedNode? {
        nodes.filter { $0.isOn && $0.replica(group)?.isReadyLeader == true }
            .max {
                ($0.replica(group)?.info.term ?? .zero) < ($1.replica(group)?.info.term ?? .zero)
            }
    }

    func followers(_ group: UInt64 = 1) -> [SimulatedNode] {
        nodes.filter { $0.isOn && $0.replica(group)?.info.isLeader == false }
    }

    /// Whether all replicas that are up hold and applied the same, and one leads.
    func isWhole(_ group: UInt64 = 1) -> Bool {
        let replicas = nodes.filter(\.isOn).compactMap { $0.replica(group) }
        guard let first = replicas.first, replicas.filter(\.info.isLeader).count == 1 else {
            return false
        }
        let values = nodes.filter(\.isOn).compactMap { $0.machines[group]?.values }
        guard values.allSatisfy({ $0 == values[0] }) else { return false }
        return replicas.allSatisfy {
            !$0.hasFailed && $0.info.term == first.info.term && $0.info.leader == first.info.leader
                && $0.info.lastIndex == first.info.lastIndex && $0.info.applied == $0.info.lastIndex
        }
    }

    /// Proposes on the leader, again until it is acknowledged.
    func write(_ group: UInt64 = 1, _ key: String, _ value: String) throws {
        for _ in 0..<20 {
            let leader = try leader(group)
            var result: Result<ByteSlice, RaftError>?
            leader.propose(group, key, value) { result = $0 }
            run(2_000) { result != nil }
            if case .success = result { return }
        }
        throw ClusterProblem.notAcknowledged(key)
    }
}

/// Carries what is not Sendable into a closure that says it must be.
final class Box<Value>: @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    var value: Value
    init(_ value: Value) { self.value = value }
}

enum ClusterProblem: Error {
    case noLeader(UInt64)
    case notAcknowledged(String)
    case notStarted(String)
}

/// What was applied at each index of each group, by whichever replica was first; every other must
/// agree.
final class AppliedLedger {
    private var entries: [UInt64: [LogIndex: RaftEntry]] = [:]
    private(set) var disagreements: [String] = []

    func applied(_ entry: RaftEntry, group: UInt64, by id: ReplicaID) {
        if let known = entries[group]?[entry.index] {
            guard known != entry else { return }
            disagreements.append("group \(group), entry \(entry.index): \(id) differs")
        } else {
            entries[group, default: [:]][entry.index] = entry
        }
    }

    func count(_ group: UInt64 = 1) -> Int { entries[group]?.count ?? 0 }

    /// Where each value of a key was committed.
    func indices(of key: String, in group: UInt64 = 1) -> [String: [LogIndex]] {
        var found: [String: [LogIndex]] = [:]
        for (index, entry) in entries[group] ?? [:] where entry.kind == .normal {
            let command = try? MemoryStateMachine.Command(decoding: ByteSlice(entry.payload))
            if case .set(key, let value) = command { found[value, default: []].append(index) }
        }
        return found
    }
}

/// One node: what outlives its lives, and its life of now.
final class SimulatedNode: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let id: ReplicaID
    let disk: SimulatedFileSystem
    private unowned let cluster: Cluster
    private let loops: Int
    private(set) var lives: UInt64 = 0
    private(set) var platform: SimulatedPlatform?
    private(set) var wal: GroupCommitWAL?
    private(set) var managers: [RaftReplicaManager] = []
    private(set) var dispatcher: RaftDispatcher?
    private(set) var calls: PeerCalls?
    /// Of its next life.
    var callLimits = PeerCalls.Limits()
    private(set) var machines: [UInt64: DurableMachine] = [:]
    private var kept: [UInt64: KeptState] = [:]
    private var recovered: [UInt64: WALRaftStorage] = [:]
    private var files: [UInt64] = []
    /// Groups that failed in this life, and why.
    private(set) var failures: [UInt64: any Error] = [:]
    /// Groups whose log turned out to have lost its end, in this life.
    private(set) var lostEnds: Set<UInt64> = []
    private(set) var isSilenced = false

    init(_ id: ReplicaID, loops: Int, in cluster: Cluster) {
        self.id = id
        self.loops = loops
        self.cluster = cluster
        disk = SimulatedFileSystem(cluster.simulation)
    }

    var isOn: Bool { platform?.isOn == true && !managers.isEmpty }

    func manager(of group: UInt64) -> RaftReplicaManager { managers[Int(group) % managers.count] }

    func replica(_ group: UInt64 = 1) -> PartitionReplica? {
        isOn ? manager(of: group).replica(group) : nil
    }

    func values(_ group: UInt64 = 1) -> [String: String] { machines[group]?.values ?? [:] }

    // MARK: Life

    /// Starts the process; groups it had before start again.
    func start() throws {
        if !disk.isOn { disk.powerOn() }
        lives += 1
        let platform = SimulatedPlatform(
            cluster.simulation,
            host: "node\(id.rawValue)",
            files: disk,
            loopCount: loops
        )
        self.platform = platform
        (managers, machines, failures, recovered) = ([], [:], [:], [:])
        lostEnds = []
        isSilenced = false
        let transport = WireEnd(cluster.wire, from: id)
        wal = try open(platform)
        let limits = SnapshotLimits(cluster.config)
        for loop in platform.loops {
            let made = Box<RaftReplicaManager?>(nil)
            loop.execute { [self] in made.value = makeManager(loop, platform, transport, limits) }
            cluster.run(1_000) { made.value != nil }
            guard let manager = made.value else { throw ClusterProblem.notStarted("node \(id)") }
            managers.append(manager)
        }
        // Not a generator of the world's: what is drawn there stays what it was.
        let calls = PeerCalls(
            transport: transport,
            loop: platform.loops[0],
            generator: SeededGenerator(seed: id.rawValue << 32 | lives),
            limits: callLimits
        )
        self.calls = calls
        let dispatcher = RaftDispatcher(
            managers: managers,
            transport: transport,
            calls: calls,
            incarnation: lives,
            placement: { [count = loops] in Int($0) % count }
        )
        self.dispatcher = dispatcher
        cluster.wire.connect(id, dispatcher)
        for group in kept.keys.sorted() {
            let storage = recovered.removeValue(forKey: group)
            try start(group, storage ?? WALRaftStorage(group: group, membership: Membership()))
        }
        dispatcher.follow(cluster.members)
    }

    private func makeManager(
        _ loop: EventLoop,
        _ platform: SimulatedPlatform,
        _ transport: WireEnd,
        _ limits: SnapshotLimits
    ) -> RaftReplicaManager? {
        guard let wal else { return nil }
        let manager = RaftReplicaManager(
            loop: loop,
            wal: wal,
            reader: platform.makeWorker(name: "reads"),
            replicaID: id,
            generator: platform.makeGenerator(),
            config: cluster.config,
            transport: transport,
            snapshotLimits: limits
        )
        manager.onLogPoisoned = { [unowned self] error in
            isSilenced = true
            dispatcher?.logIsPoisoned(error)
        }
        return manager
    }

    private func open(_ platform: SimulatedPlatform) throws -> GroupCommitWAL {
        var configuration = WALConfiguration(
            directory: "/wal",
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
            let storage =
                recovered[record.group]
                ?? WALRaftStorage(group: record.group, membership: Membership())
            recovered[record.group] = storage
            try storage.recover(
                kind: record.kind,
                term: record.term,
                index: record.index,
                payload: payload,
                at: position
            )
        }
    }

    /// The power fails: what was not synced survives in any part.
    func cutPower() {
        cluster.wire.disconnect(id)
        disk.cutPower()
        platform?.end()
    }

    /// The last writes to the log never reached the disk, though it said so.
    func loseEndOfLog() {
        let path = disk.paths.first { $0.hasSuffix(".wal") } ?? ""
        disk.damage(path) { bytes in
            let end = (bytes.lastIndex { $0 != 0 } ?? 0) / 4_096 * 4_096 + 4_096
            for at in max(end - 12_288, 4_096)..<end { bytes[at] = 0 }
        }
    }

    /// The process is killed and started again; the kernel keeps what it wrote.
    func restart() throws {
        cluster.wire.disconnect(id)
        platform?.end()
        try start()
    }

    // MARK: Groups

    /// Runs `body` on the loop of a group, and the simulation until it did.
    @discardableResult
    func on<T>(_ group: UInt64 = 1, _ body: @escaping (PartitionReplica?) throws -> T) throws -> T {
        let box = Box<Result<T, any Error>?>(nil)
        let work = Box(body)
        manager(of: group).loop.execute { [self] in
            box.value = Result { try work.value(replica(group)) }
        }
        cluster.run(1_000) { box.value != nil }
        guard let result = box.value else {
            throw ClusterProblem.notStarted("node \(id), group \(group)")
        }
        return try result.get()
    }

    /// Starts a replica of a new group, or from a log that is not as new.
    func create(
        _ group: UInt64,
        _ membership: Membership,
        from storage: WALRaftStorage? = nil
    ) throws {
        kept[group] = KeptState(index: LogIndex(1), term: Term(1), membership: membership)
        try start(group, storage ?? .bootstrapped(group: group, membership: membership))
    }

    /// Starts an empty replica that waits to be told everything.
    func join(_ group: UInt64) throws {
        kept[group] = KeptState(index: .zero, term: .zero, membership: Membership())
        try start(group, .joining(group: group))
    }

    private func start(_ group: UInt64, _ storage: WALRaftStorage) throws {
        guard let state = kept[group] else { return }
        let machine = try DurableMachine(group, id, state, cluster.ledger)
        machine.onKept = { [unowned self] in kept[group] = $0 }
        machines[group] = machine
        let manager = manager(of: group)
        let _: Void = try on(group) { [unowned self] _ in
            try storage.finishRecovery(
                applied: state.index,
                term: state.term,
                membership: state.membership
            )
            let replica = try manager.start(group: group, storage: storage, stateMachine: machine)
            machine.replica = replica
            replica.onStorageFailed = { [unowned self] in failures[group] = $0 }
            replica.onLogEndLost = { [unowned self] _, _ in lostEnds.insert(group) }
            replica.onReleaseWanted = { machine.keep() }
        }
    }

    func propose(
        _ group: UInt64 = 1,
        _ key: String,
        _ value: String,
        _ completion: @escaping (Result<ByteSlice, RaftError>) -> Void
    ) {
        let payload = RaftPayload(MemoryStateMachine.Command.set(key: key, value: value).encoded)
        let answer = Box(completion)
        manager(of: group).loop.execute { [self] in
            guard let replica = replica(group) else {
                answer.value(.failure(.unknownGroup(group)))
                return
            }
            replica.propose(payload, answer.value)
        }
    }

    /// Makes what is applied durable and drops the log up to there.
    func compact(_ group: UInt64 = 1) throws {
        try on(group) { [self] _ in machines[group]?.keep() }
    }
}

/// What a state machine keeps on its own disk.
struct KeptState {
    var index: LogIndex
    var term: Term
    var membership: Membership
    var content = ByteSlice([0, 0, 0, 0])
}

/// A map that can be made durable, all at once.
final class DurableMachine: StateMachine {
    private let group: UInt64
    private let id: ReplicaID
    private let map = MemoryStateMachine()
    private let ledger: AppliedLedger
    var onKept: ((KeptState) -> Void)?
    weak var replica: PartitionReplica?

    init(_ group: UInt64, _ id: ReplicaID, _ state: KeptState, _ ledger: AppliedLedger) throws {
        self.group = group
        self.id = id
        self.ledger = ledger
        try map.restore(state.content, lastIndex: state.index, lastTerm: state.term)
    }

    var values: [String: String] { map.values }
    var lastApplied: LogIndex { map.lastApplied }

    func apply(_ entry: RaftEntry) -> ByteSlice {
        ledger.applied(entry, group: group, by: id)
        return map.apply(entry)
    }

    func keep() {
        guard let replica, let term = try? replica.storage.term(at: lastApplied),
            let content = try? map.snapshot(lastIndex: lastApplied, lastTerm: term)
        else { return }
        let membership = replica.membership(at: lastApplied)
        onKept?(
            KeptState(index: lastApplied, term: term, membership: membership, content: content)
        )
        replica.truncatePrefix(through: lastApplied)
    }

    /// The values in an order that is this node's own, as a dictionary may have it.
    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        let pairs = map.values.sorted { $0.key < $1.key }
        let first = pairs.isEmpty ? 0 : Int(id.rawValue) * 3 % pairs.count
        var writer = ByteWriter()
        writer.write(UInt32(pairs.count))
        for (key, value) in pairs[first...] + pairs[..<first] {
            for text in [key, value] {
                writer.write(UInt32(text.utf8.count))
                writer.write(utf8: text)
            }
        }
        return writer.finishContiguous()
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        try map.restore(snapshot, lastIndex: lastIndex, lastTerm: lastTerm)
    }

    func makeSnapshotSink(_ metadata: SnapshotMetadata) throws -> any SnapshotSink {
        DurableSink(self, metadata)
    }

    fileprivate func install(_ content: ByteSlice, _ metadata: SnapshotMetadata) throws {
        try map.restore(content, lastIndex: metadata.index, lastTerm: metadata.term)
        onKept?(
            KeptState(
                index: metadata.index,
                term: metadata.term,
                membership: metadata.membership,
                content: content
            )
        )
    }
}

private final class DurableSink: SnapshotSink, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private let machine: DurableMachine
    private let metadata: SnapshotMetadata
    private var content: [UInt8] = []

    init(_ machine: DurableMachine, _ metadata: SnapshotMetadata) {
        self.machine = machine
        self.metadata = metadata
    }

    var received: UInt64 { UInt64(content.count) }

    func write(
        _ bytes: ByteSlice,
        isLast: Bool,
        _ completion: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        content += bytes.array
        completion(.success(()))
    }

    /// Takes a while, in which the replica goes on.
    func install(_ completion: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        guard let loop = machine.replica?.manager.loop else { return }
        loop.execute { [self] in
            completion(Result { try machine.install(ByteSlice(content), metadata) })
        }
    }

    func discard() {}
}
