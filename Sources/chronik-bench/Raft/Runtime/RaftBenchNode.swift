import Bytes
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// A node with one replica of every group: one event loop, one log of real files.
final class RaftBenchNode: @unchecked Sendable {
    // Unchecked: confined to `loop`, apart from what is Sendable itself.
    static let entryBytes = 16
    /// Entries a group keeps for followers that are behind, and how many pass between two cuts.
    private static let keptEntries = 64

    let id: ReplicaID
    let loop: EventLoop
    let log = WALMetrics()
    /// Entries that were proposed here and committed.
    let committed = Counter()
    /// Proposals whose outcome is not known, or that were refused.
    let failed = Counter()
    /// Groups that lead here and are ready.
    let leading = Gauge()
    private let wal: GroupCommitWAL
    private let manager: RaftReplicaManager
    private let dispatcher: RaftDispatcher
    private var isProposing = false

    /// - Throws: When the log cannot be made.
    init(
        _ id: ReplicaID,
        on loop: EventLoop,
        of platform: RealPlatform,
        directory: String,
        wire: MemoryWire,
        config: RaftConfig
    ) throws(WALError) {
        self.id = id
        self.loop = loop
        wal = try GroupCommitWAL.open(
            WALConfiguration(directory: directory, totalBytes: 4 << 30),
            files: platform.files,
            worker: platform.makeWorker(name: "wal"),
            preparer: platform.makeWorker(name: "files"),
            clock: platform.clock,
            generator: platform.makeGenerator(),
            metrics: log
        ) { _, _, _ in }
        let transport = wire.end(of: id)
        manager = RaftReplicaManager(
            loop: loop,
            wal: wal,
            reader: platform.makeWorker(name: "reads"),
            replicaID: id,
            generator: platform.makeGenerator(),
            config: config,
            transport: transport
        )
        dispatcher = RaftDispatcher(
            managers: [manager],
            transport: transport,
            incarnation: UInt64(max(1, platform.clock.wallMilliseconds)) * 1_000_000,
            placement: { _ in 0 }
        )
        wire.connect(id, dispatcher)
        // The loop lives as long as the process and knows the manager until then.
        loop.atEndOfTurn { [manager] in withExtendedLifetime(manager) {} }
    }

    /// Groups that are ticked.
    var awakeCount: Int { manager.awakeCount }

    /// Starts a replica of each group.
    func start(groups: Int, membership: Membership) throws {
        for group in 1...UInt64(groups) {
            let storage = WALRaftStorage.bootstrapped(group: group, membership: membership)
            try storage.finishRecovery(
                applied: LogIndex(1),
                term: Term(1),
                membership: membership
            )
            let machine = CountingMachine(lastApplied: LogIndex(1))
            let replica = try manager.start(group: group, storage: storage, stateMachine: machine)
            replica.onLeadership = { [unowned self, unowned replica] leads, _ in
                leading.add(leads ? 1 : -1)
                if leads && isProposing { propose(on: replica) }
            }
            replica.onApplied = { [unowned replica] in
                let kept = UInt64(Self.keptEntries)
                guard machine.lastApplied.rawValue % kept == 0 else { return }
                replica.truncatePrefix(
                    through: LogIndex(max(kept, machine.lastApplied.rawValue) - kept)
                )
            }
        }
        dispatcher.follow(membership.voters)
    }

    /// Has this node lead its share of the groups.
    func campaign(share: UInt64, of count: UInt64) {
        for replica in manager.all where replica.group % count == share { replica.campaign() }
    }

    // MARK: Proposals

    /// Keeps one entry of each group that leads here under way.
    func beginProposing() {
        isProposing = true
        for replica in manager.all where replica.isReadyLeader { propose(on: replica) }
    }

    func endProposing() { isProposing = false }

    private func propose(on replica: PartitionReplica) {
        let payload = RaftPayload(copying: [UInt8](repeating: 7, count: Self.entryBytes))
        replica.propose(payload) { [unowned self, unowned replica] result in
            switch result {
            case .success:
                committed.increment()
                if isProposing { propose(on: replica) }
            case .failure: failed.increment()
            }
        }
    }

    // MARK: The end

    func stop() {
        isProposing = false
        dispatcher.fallSilent()
        for replica in manager.all { replica.stop() }
    }

    func closeLog() async throws { try await wal.close() }

    /// Runs `body` on the node's loop.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable (RaftBenchNode) throws -> Value
    ) async throws -> Value {
        let result: Result<Value, any Error> = await withUnsafeContinuation { continuation in
            loop.execute { [self] in
                continuation.resume(returning: Result { try body(self) })
            }
        }
        return try result.get()
    }
}

/// Does nothing with what is committed.
private final class CountingMachine: StateMachine {
    private(set) var lastApplied: LogIndex

    init(lastApplied: LogIndex) { self.lastApplied = lastApplied }

    func apply(_ entry: RaftEntry) -> ByteSlice {
        lastApplied = entry.index
        return ByteSlice()
    }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice { ByteSlice() }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        lastApplied = lastIndex
    }
}
