import Bytes
package import Platform
package import Raft
package import WriteAheadLog

/// The Raft groups of one event loop.
///
/// Works once a turn: the dirty groups only, one frame for each peer, one WAL batch for all of them,
/// and one completion that marks them dirty again, so that the next turn says and applies what has
/// become durable. A tick touches only the groups that are awake.
package final class RaftReplicaManager: @unchecked Sendable {
    // Unchecked: confined to `loop`.
    package let loop: EventLoop
    package let config: RaftConfig
    package let metrics: RaftRuntimeMetrics
    private let wal: GroupCommitWAL
    /// Reads what recovery left in the WAL.
    private let reader: Worker
    package let replicaID: ReplicaID
    private var generator: SeededGenerator
    private var replicas: [UInt64: PartitionReplica] = [:]
    private var dirty: [PartitionReplica] = []
    private var awake: [PartitionReplica] = []
    private var pressures: [Pressure] = []
    /// While true, what recovery left in the WAL stays there: memory is short.
    package var isThrottled: () -> Bool = { false }

    /// Messages of a group this node has no replica of; without it they are only counted.
    package var onUnknownGroup: ((_ group: UInt64, _ message: Message) -> Void)?
    /// Called once when the WAL can no longer be written.
    package var onLogPoisoned: ((any Error) -> Void)?

    private var outbox: Outbox
    private var elections: Elections
    private var resignations = Resignations()
    private(set) var peers = PeerView()
    let sending = SnapshotSenders()
    private var receivingSnapshots: [PartitionReplica] = []
    let snapshotLimits: SnapshotLimits
    private(set) var ticks: UInt64 = 0
    private var hasTimer = false
    private var isPoisoned = false
    /// Replicas that left this node while their groups go on.
    private var tombstones: [UInt64: WALRaftStorage] = [:]
    private var retirements: [(storage: WALRaftStorage, durable: (Bool) -> Void)] = []

    /// - Parameters:
    ///   - loop: Where all groups of this manager live.
    ///   - wal: Shared with the managers of other loops.
    ///   - reader: For blocking reads of what recovery left in the WAL.
    ///   - replicaID: This node.
    ///   - generator: The randomness of election timeouts.
    ///   - config: Validated by whoever read it.
    ///   - transport: To the other nodes; without it every group has this replica alone.
    ///   - snapshotLimits: Shared with the managers of other loops; `nil`: limits of its own.
    package init(
        loop: EventLoop,
        wal: GroupCommitWAL,
        reader: Worker,
        replicaID: ReplicaID,
        generator: SeededGenerator,
        config: RaftConfig = RaftConfig(),
        transport: (any RaftTransport)? = nil,
        snapshotLimits: SnapshotLimits? = nil,
        metrics: RaftRuntimeMetrics = RaftRuntimeMetrics()
    ) {
        precondition(loop.isCurrent, "a manager made outside its loop")
        precondition(config.tickMilliseconds > 0, "a RaftConfig that was not validated")
        self.loop = loop
        self.wal = wal
        self.reader = reader
        self.replicaID = replicaID
        self.generator = generator
        self.config = config
        self.metrics = metrics
        self.snapshotLimits = snapshotLimits ?? SnapshotLimits(config)
        outbox = Outbox(transport, maxFrameBytes: config.maxFrameBytes)
        elections = Elections(limit: config.maxConcurrentElections)
        loop.atEndOfTurn { [unowned self] in turn() }
    }

    // MARK: Groups come and go

    /// Starts a replica from its log.
    ///
    /// The membership is that of the storage's base: for a new group of several, see
    /// ``WALRaftStorage/bootstrapped(group:membership:)``. A group of one voter leads as soon as
    /// ``PartitionReplica/campaign()`` is called; others find their leader by themselves, sooner if
    /// one of them is told to campaign.
    ///
    /// - Parameters:
    ///   - group: A number that no other group ever had.
    ///   - storage: Its log, recovered or new.
    ///   - stateMachine: As far as it is durable by itself.
    ///   - abstainUntil: See `RaftNode.init`.
    ///   - priority: See `RaftNode.Configuration.priority`.
    package func start(
        group: UInt64,
        storage: WALRaftStorage,
        stateMachine: any StateMachine,
        abstainUntil: LogIndex? = nil,
        priority: Int = 1
    ) throws(RaftConfigurationError) -> PartitionReplica {
        precondition(replicas[group] == nil, "group \(group) started twice")
        tombstones[group] = nil
        let node = try RaftNode(
            configuration: configuration(priority: priority),
            log: storage,
            hardState: storage.hardState,
            membership: storage.base.membership,
            applied: stateMachine.lastApplied,
            // How far it had acknowledged is not known: a leader adds it anew.
            abstainUntil: storage.abstention == nil ? abstainUntil : LogIndex(.max)
        )
        let replica = PartitionReplica(
            group: group,
            node: node,
            storage: storage,
            stateMachine: stateMachine,
            manager: self
        )
        replicas[group] = replica
        resignations.end(group)
        if replica.needsTicks { keepAwake(replica) }
        return replica
    }

    private func configuration(priority: Int) -> RaftNode.Configuration {
        var raft = RaftNode.Configuration(id: replicaID, randomSeed: generator.next())
        raft.electionTicks = config.electionTicks
        raft.heartbeatTicks = config.heartbeatTicks
        raft.maxInflightMessages = config.maxInflightMessages
        raft.maxInflightBytes = config.maxInflightBytes
        raft.maxMessageBytes = config.maxMessageBytes
        raft.maxCommittedBytesPerReady = config.maxCommittedBytesPerTurn
        raft.maxUncommittedBytes = config.maxUncommittedBytes
        raft.readMode = config.usesLeases ? .lease : .readIndex
        raft.priority = priority
        // Progress is reported while a snapshot is on its way, and its end always.
        raft.snapshotTicks = 40 * config.snapshotRetryTicks
        return raft
    }

    package func replica(_ group: UInt64) -> PartitionReplica? { replicas[group] }

    /// All replicas, by rising group.
    package var all: [PartitionReplica] { replicas.values.sorted { $0.group < $1.group } }

    /// Stops a replica that leaves this node while its group goes on: term and vote are kept.
    ///
    /// - Parameter durable: Called on the loop with `true` once that is durable; what the state
    ///   machine has of the group may then go.
    package func retire(_ replica: PartitionReplica, _ durable: @escaping (Bool) -> Void) {
        replica.stop()
        let storage = replica.storage
        storage.remove()
        keepTombstone(storage)
        retirements.append((storage, durable))
        submitTombstones([storage])
    }

    /// Keeps what was found of a replica that left this node before.
    package func keepTombstone(_ storage: WALRaftStorage) {
        precondition(storage.isRemoved, "group \(storage.group) is no tombstone")
        precondition(replicas[storage.group] == nil, "group \(storage.group) has a replica")
        tombstones[storage.group] = storage
    }

    /// A replica comes back, or the group is deleted for good.
    @discardableResult
    package func takeTombstone(_ group: UInt64) -> WALRaftStorage? {
        tombstones.removeValue(forKey: group)
    }

    private func submitTombstones(_ storages: [WALRaftStorage]) {
        var pending: [WALRecord] = []
        var takenFrom: [WALRaftStorage] = []
        for storage in storages {
            let count = storage.takePending(into: &pending)
            takenFrom += Array(repeating: storage, count: count)
        }
        guard !pending.isEmpty else { return }
        let (records, owners) = (pending, takenFrom)
        wal.submit(
            WALBatch(records: records, loop: loop) { [self] result in
                var isDurable = false
                if case .success(let positions) = result {
                    isDurable = true
                    for place in records.indices {
                        owners[place].recordIsDurable(records[place], at: positions[place])
                    }
                }
                let done = retirements.filter { one in owners.contains { $0 === one.storage } }
                retirements.removeAll { one in owners.contains { $0 === one.storage } }
                for retirement in done { retirement.durable(isDurable) }
                reportRelief()
            }
        )
    }

    func remove(_ replica: PartitionReplica) {
        replicas[replica.group] = nil
        if replica.election != .outside { electionEnded(replica) }
        sending.drop(group: replica.group)
        reportRelief()
    }

    func markDirty(_ replica: PartitionReplica) {
        guard !replica.isDirty else { return }
        replica.isDirty = true
        dirty.append(replica)
    }

    // MARK: What arrives

    /// Takes what one frame brought for the groups of this loop.
    package func receive(_ messages: [GroupMessage], from peer: ReplicaID) {
        precondition(loop.isCurrent, "messages taken outside the loop")
        for message in messages where message.message.from == peer {
            resignations.heard(message.group, message.message.term)
            guard let replica = replicas[message.group] else {
                metrics.strayMessages.increment()
                onUnknownGroup?(message.group, message.message)
                continue
            }
            replica.step(message.message)
        }
    }

    package func receive(_ chunk: SnapshotChunk, from peer: ReplicaID) {
        precondition(loop.isCurrent, "a snapshot taken outside the loop")
        guard let replica = replicas[chunk.group] else { return }
        replica.receiving.received(chunk, from: peer, for: replica)
    }

    package func receive(_ answer: SnapshotAnswer, from peer: ReplicaID) {
        precondition(loop.isCurrent, "a snapshot's answer taken outside the loop")
        sending.received(answer, from: peer)
    }

    // MARK: What leaves

    func post(_ message: Message, of group: UInt64) { outbox.post(message, of: group) }

    func send(_ frame: PeerFrame, to peer: ReplicaID) { outbox.send(frame, to: peer) }

    // MARK: The turn

    private struct Staged {
        let replica: PartitionReplica
        let records: Range<Int>
        /// 0 when no Ready waits for them.
        let number: UInt64
    }

    private func turn() {
        if dirty.isEmpty && elections.isIdle {
            outbox.flush()
            return
        }
        var records: [WALRecord] = []
        var staged: [Staged] = []
        // Applying may make groups dirty again; they are taken in the same turn.
        repeat {
            let now = dirty
            dirty = []
            for replica in now {
                replica.isDirty = false
                let start = records.count
                guard let work = replica.process(into: &records) else { continue }
                staged.append(
                    Staged(
                        replica: replica,
                        records: start..<start + work.count,
                        number: work.number
                    )
                )
            }
            beginElections()
        } while !dirty.isEmpty
        // The others write while this node does.
        outbox.flush()
        submit(records, staged)
    }

    private func submit(_ records: [WALRecord], _ staged: [Staged]) {
        guard !records.isEmpty else { return }
        wal.submit(
            WALBatch(records: records, loop: loop) { [self] result in
                switch result {
                case .success(let positions):
                    for work in staged {
                        for record in work.records {
                            work.replica.storage.recordIsDurable(
                                records[record],
                                at: positions[record]
                            )
                        }
                        work.replica.persisted(work.number)
                    }
                    reportRelief()
                case .failure(let error):
                    for work in staged { work.replica.storageFailed(error) }
                    if case .poisoned = error { logIsPoisoned(error) }
                }
            }
        )
    }

    /// Nothing can be written any more: no group with other replicas goes on here.
    package func logIsPoisoned(_ error: any Error) {
        guard !isPoisoned else { return }
        isPoisoned = true
        for replica in all where !replica.isAlone { replica.storageFailed(error) }
        onLogPoisoned?(error)
    }

    // MARK: Time

    func keepAwake(_ replica: PartitionReplica) {
        guard !replica.isAwake else { return }
        replica.isAwake = true
        awake.append(replica)
        keepTime()
    }

    /// Groups that are ticked.
    package var awakeCount: Int { awake.count }

    private func keepTime() {
        guard !hasTimer else { return }
        hasTimer = true
        _ = loop.schedule(after: .milliseconds(Int64(config.tickMilliseconds))) { [weak self] in
            self?.hasTimer = false
            self?.tick()
        }
    }

    private func tick() {
        ticks += 1
        var place = 0
        while place < awake.count {
            let replica = awake[place]
            replica.tick()
            if replica.mayRest() {
                replica.isAwake = false
                awake.swapAt(place, awake.count - 1)
                awake.removeLast()
            } else {
                place += 1
            }
        }
        elections.expire(ticks)
        sending.tick(self)
        receivingSnapshots.removeAll { !$0.receiving.tick(self) }
        for (group, message) in resignations.due(ticks, every: UInt64(config.electionTicks)) {
            post(message, of: group)
        }
        if !awake.isEmpty || !sending.isEmpty || !receivingSnapshots.isEmpty
            || !resignations.isEmpty
        {
            keepTime()
        }
    }

    /// Starts the clock for a snapshot that is sent.
    func snapshotIsUnderWay() { keepTime() }

    /// Starts the clock for a snapshot that is received.
    func snapshotIsUnderWay(to replica: PartitionReplica) {
        if !receivingSnapshots.contains(where: { $0 === replica }) {
            receivingSnapshots.append(replica)
        }
        keepTime()
    }

    // MARK: Elections

    /// Whether the replica may campaign now; if not, it is called when it may.
    func mayHoldElection(_ replica: PartitionReplica) -> Bool {
        elections.enter(replica, until: ticks + 2 * UInt64(config.electionTicks))
    }

    func electionEnded(_ replica: PartitionReplica) { elections.leave(replica) }

    private func beginElections() {
        let until = ticks + 2 * UInt64(config.electionTicks)
        while let replica = elections.next(until: until) { replica.electionMayBegin() }
    }

    /// A replica that leads ends, and the others must know.
    func resign(_ replica: PartitionReplica) {
        let first = resignations.begin(replica, linked: peers.linked, now: ticks)
        for message in first { post(message, of: replica.group) }
        keepTime()
    }

    // MARK: Other nodes

    /// Takes what the ``RaftDispatcher`` knows of the other nodes.
    ///
    /// - Parameters:
    ///   - view: Who is there now.
    ///   - returned: Those that may have missed something that was sent before.
    ///   - restarted: Those that run another process than before.
    package func peersChanged(
        _ view: PeerView,
        returned: [ReplicaID] = [],
        restarted: [ReplicaID] = []
    ) {
        precondition(loop.isCurrent, "peers changed outside the loop")
        let before = peers
        peers = view
        let gone = before.heard.filter { !view.isHeard($0) } + restarted
        let unlinked = before.linked.filter { !view.isLinked($0) }
        let back = view.linked.filter { !before.isLinked($0) || returned.contains($0) } + restarted
        guard !gone.isEmpty || !unlinked.isEmpty || !back.isEmpty else { return }
        for replica in all {
            for peer in gone { replica.leaderIsGone(peer) }
            for peer in unlinked { replica.peerIsGone(peer) }
            for peer in back { replica.peerIsBack(peer) }
        }
    }

    /// What was sent to a peer may be lost.
    package func peerIsUnreachable(_ peer: ReplicaID) {
        precondition(loop.isCurrent, "a peer reported outside the loop")
        for replica in awake { replica.peerIsUnreachable(peer) }
    }

    // MARK: WAL space

    private struct Pressure {
        let below: UInt64
        /// Replicas that may still need a file below; whoever is looked at and needs none leaves.
        var behind: [PartitionReplica]
        let relieved: (UInt64) -> Void
    }

    /// Moves everything the groups need out of the files below `file`, then calls `relieved` with
    /// the lowest file still needed.
    ///
    /// A group that starts meanwhile writes into later files.
    package func relieve(below file: UInt64, _ relieved: @escaping (UInt64) -> Void) {
        precondition(loop.isCurrent, "WAL pressure outside the loop")
        let behind = replicas.values.filter { $0.storage.oldestFile < file }
            .sorted { $0.group < $1.group }
        pressures.append(Pressure(below: file, behind: behind, relieved: relieved))
        var records: [WALRecord] = []
        var staged: [Staged] = []
        for replica in behind {
            if replica.storage.isStateOlder(than: file) {
                let start = records.count
                replica.storage.stageState()
                let count = replica.storage.takePending(into: &records)
                staged.append(Staged(replica: replica, records: start..<start + count, number: 0))
            }
            replica.onReleaseWanted?()
        }
        submit(records, staged)
        let old = tombstones.values.filter { $0.oldestFile < file }.sorted { $0.group < $1.group }
        for tombstone in old { tombstone.stageState() }
        submitTombstones(old)
        reportRelief()
    }

    /// Asks again those that are behind: what they had not applied yet they may have by now.
    package func urgeRelief() {
        for replica in pressures.flatMap(\.behind) { replica.onReleaseWanted?() }
        reportRelief()
    }

    /// Call after prefixes were dropped.
    package func reportRelief() {
        guard !pressures.isEmpty else { return }
        var relieved: [Pressure] = []
        for place in pressures.indices.reversed() {
            while let replica = pressures[place].behind.last {
                let isGone = replicas[replica.group] !== replica
                guard isGone || replica.storage.oldestFile >= pressures[place].below else { break }
                pressures[place].behind.removeLast()
            }
            let below = pressures[place].below
            if pressures[place].behind.isEmpty,
                tombstones.values.allSatisfy({ $0.oldestFile >= below })
            {
                relieved.append(pressures.remove(at: place))
            }
        }
        guard !relieved.isEmpty else { return }
        let kept = tombstones.values.map(\.oldestFile).min() ?? .max
        let oldest = min(kept, replicas.values.map(\.storage.oldestFile).min() ?? .max)
        for pressure in relieved.reversed() { pressure.relieved(oldest) }
    }

    // MARK: After a restart

    private static let throttleNanoseconds = Int64.milliseconds(2)

    func fetch(
        _ range: ClosedRange<LogIndex>,
        _ positions: [WALPosition],
        for replica: PartitionReplica
    ) {
        guard !isThrottled() else {
            _ = loop.schedule(after: Self.throttleNanoseconds) { [self] in
                fetch(range, positions, for: replica)
            }
            return
        }
        let wal = wal
        let loop = loop
        reader.execute {
            var payloads: [ByteSlice] = []
            var problem: (any Error)?
            for position in positions {
                do { payloads.append(try wal.read(position)) } catch {
                    problem = error
                    break
                }
            }
            let read = payloads
            let failure = problem
            loop.execute {
                replica.storage.fetched(range, read)
                if let failure { replica.storageFailed(failure) } else { replica.logIsReadable() }
            }
        }
    }
}
