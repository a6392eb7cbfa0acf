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
    /// Uncommitted entries that are moved at most when files of the WAL are wanted back.
    ///
    /// Those of all managers are less than what has the WAL want files, or it would want at once
    /// those they were moved to.
    private let movableBytes: Int
    /// Reads what recovery left in the WAL.
    private let reader: Worker
    package let replicaID: ReplicaID
    private var generator: SeededGenerator
    private var replicas: [UInt64: PartitionReplica] = [:]
    private var dirty: [PartitionReplica] = []
    private var awake: [PartitionReplica] = []
    private var holders: [PartitionReplica] = []
    private var pressures: [Pressure] = []
    /// What is kept of groups whose replica was removed from this node: term and vote.
    private var removed: [UInt64: WALRaftStorage] = [:]
    /// While true, what recovery left in the WAL stays there: memory is short.
    package var isThrottled: () -> Bool = { false }

    /// Messages of a group this node has no replica of; without it they are only counted.
    package var onUnknownGroup: ((_ group: UInt64, _ message: Message) -> Void)?
    /// Called when nodes have come or gone, after the replicas have been told.
    package var onPeersChanged: (() -> Void)?
    /// Called when a group begins to be ticked.
    package var onAwake: (() -> Void)?
    /// Called once when the WAL can no longer be written.
    package var onLogPoisoned: ((any Error) -> Void)?

    private var outbox: Outbox
    private var elections: Elections
    private var resignations = Resignations()
    private var earlyVotes = EarlyVotes(patience: .milliseconds(100))
    package private(set) var peers = PeerView()
    private var lastReturns: [ReplicaID: Int64] = [:]
    let sending = SnapshotSenders()
    private var receivingSnapshots: [PartitionReplica] = []
    let snapshotLimits: SnapshotLimits
    private(set) var ticks: UInt64 = 0
    private var lastTick: Int64 = 0
    /// Whether ticks are counted: something here needs them.
    package private(set) var keepsTime = false
    private var isPoisoned = false

    /// - Parameters:
    ///   - loop: Where all groups of this manager live.
    ///   - wal: Shared with the managers of other loops.
    ///   - managers: How many share the WAL, this one included.
    ///   - reader: For blocking reads of what recovery left in the WAL.
    ///   - replicaID: This node.
    ///   - generator: The randomness of election timeouts.
    ///   - config: Validated by whoever read it.
    ///   - transport: To the other nodes; without it every group has this replica alone.
    ///   - snapshotLimits: Shared with the managers of other loops; `nil`: limits of its own.
    ///   - metrics: Shared with the managers of other loops.
    package init(
        loop: EventLoop,
        wal: GroupCommitWAL,
        managers: Int = 1,
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
        movableBytes = wal.totalBytes / 4 / managers
        self.reader = reader
        self.replicaID = replicaID
        self.generator = generator
        self.config = config
        self.metrics = metrics
        self.snapshotLimits = snapshotLimits ?? SnapshotLimits(config)
        outbox = Outbox(transport, maxFrameBytes: config.maxFrameBytes)
        elections = Elections(limit: config.maxConcurrentElections)
        // The loop may outlive the manager.
        loop.atEndOfTurn { [weak self] in self?.turn() }
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
    ///   - priority: See `RaftNode.Configuration.priority`.
    /// - Returns: The replica, which lives until it is stopped.
    /// - Throws: when log, state machine and settings do not belong together.
    package func start(
        group: UInt64,
        storage: WALRaftStorage,
        stateMachine: any StateMachine,
        priority: Int = 1
    ) throws(RaftConfigurationError) -> PartitionReplica {
        precondition(replicas[group] == nil, "group \(group) started twice")
        let node = try RaftNode(
            configuration: configuration(priority: priority),
            log: storage,
            hardState: storage.hardState,
            membership: storage.base.membership,
            applied: stateMachine.lastApplied,
            abstainUntilTerm: storage.abstention?.until,
            earlierEnd: storage.earlierEnd
        )
        let replica = PartitionReplica(
            group: group,
            node: node,
            storage: storage,
            stateMachine: stateMachine,
            manager: self
        )
        replicas[group] = replica
        removed[group] = nil
        resignations.end(group)
        if replica.needsTicks { keepAwake(replica) }
        if storage.hasPending { markDirty(replica) }
        let asked = earlyVotes.take(group, now: loop.clock.monotonicNanoseconds)
        if !asked.isEmpty {
            // Its owner is not done with it yet.
            loop.execute { for message in asked { replica.step(message) } }
        }
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

    func remove(_ replica: PartitionReplica) {
        replicas[replica.group] = nil
        if replica.election != .outside { electionEnded(replica) }
        sending.drop(group: replica.group)
        reportRelief()
    }

    /// Keeps what is remembered of a replica that was removed from this node, until the whole group
    /// is deleted; found again by recovery.
    ///
    /// `written` is called on the loop, with whether it is durable: then what the state machine had
    /// of the group may go.
    package func keepRemoved(
        _ storage: WALRaftStorage,
        written: @escaping @Sendable (_ isDurable: Bool) -> Void = { _ in }
    ) {
        precondition(storage.isRemoved, "group \(storage.group) was not removed")
        removed[storage.group] = storage
        guard storage.hasPending else { return written(true) }
        writeRemoved([storage], written)
    }

    /// Forgets a removed replica: its group is deleted everywhere, and its number is never used
    /// again.
    package func forgetRemoved(_ group: UInt64) {
        removed[group] = nil
        reportRelief()
    }

    /// What is kept of a removed replica, for one that comes back; see
    /// ``WALRaftStorage/comeBack(as:)``.
    package func takeRemoved(_ group: UInt64) -> WALRaftStorage? {
        removed.removeValue(forKey: group)
    }

    private func writeRemoved(
        _ storages: [WALRaftStorage],
        _ written: @escaping @Sendable (Bool) -> Void = { _ in }
    ) {
        var records: [WALRecord] = []
        var places: [(storage: WALRaftStorage, records: Range<Int>)] = []
        for storage in storages {
            let start = records.count
            let count = storage.takePending(into: &records)
            places.append((storage, start..<start + count))
        }
        if !records.isEmpty { submit(records, of: places, written) }
    }

    private func submit(
        _ records: [WALRecord],
        of places: [(storage: WALRaftStorage, records: Range<Int>)],
        _ written: @escaping @Sendable (Bool) -> Void
    ) {
        wal.submit(
            WALBatch(records: records, loop: loop) { [self] result in
                guard case .success(let positions) = result else { return written(false) }
                for (storage, range) in places {
                    for record in range {
                        storage.recordIsDurable(records[record], at: positions[record])
                    }
                }
                written(true)
                reportRelief()
            }
        )
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
                let now = loop.clock.monotonicNanoseconds
                earlyVotes.keep(message.message, of: message.group, now: now)
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

    /// The replica has something to say that may wait; see ``HeldCommits``.
    func holdsCommits(_ replica: PartitionReplica) {
        holders.append(replica)
        guard holders.count == 1 else { return }
        let delay = Int64.milliseconds(Int64(config.commitDelayMilliseconds))
        _ = loop.schedule(after: delay) { [weak self] in self?.tellCommits() }
    }

    private func tellCommits() {
        let all = holders
        holders = []
        for replica in all { replica.tellCommits() }
    }

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
        onAwake?()
    }

    /// Groups that are ticked.
    package var awakeCount: Int { awake.count }

    private func keepTime() {
        guard !keepsTime else { return }
        keepsTime = true
        _ = loop.schedule(after: .milliseconds(Int64(config.tickMilliseconds))) { [weak self] in
            self?.keepsTime = false
            self?.tick()
        }
    }

    /// Whether more time has passed since the last tick than ticks tell.
    var isLate: Bool {
        let sinceTick = loop.clock.monotonicNanoseconds - lastTick
        return sinceTick > 2 * .milliseconds(Int64(config.tickMilliseconds))
    }

    private func tick() {
        ticks += 1
        if config.usesLeases && isLate { for replica in awake { replica.node.onClockStall() } }
        lastTick = loop.clock.monotonicNanoseconds
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

    /// Elections under way.
    package var runningElections: Int { elections.runningCount }

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
        let now = loop.clock.monotonicNanoseconds
        for peer in view.linked where !before.isLinked(peer) { lastReturns[peer] = now }
        for peer in restarted { lastReturns[peer] = now }
        onPeersChanged?()
    }

    /// When a node last was there again after it was gone, or was another process than before.
    package func cameBack(_ peer: ReplicaID) -> Int64? { lastReturns[peer] }

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
        var removed: [WALRaftStorage]
        /// Bytes of uncommitted entries that may yet be written again.
        var room: Int
        let relieved: (UInt64) -> Void

        var isOver: Bool { behind.isEmpty && removed.isEmpty }
    }

    /// Moves everything the groups need out of the files below `file`, then calls `relieved` with
    /// the lowest file still needed.
    ///
    /// A group that starts meanwhile writes into later files.
    package func relieve(below file: UInt64, _ relieved: @escaping (UInt64) -> Void) {
        precondition(loop.isCurrent, "WAL pressure outside the loop")
        let behind = replicas.values.filter { $0.storage.oldestFile < file }
            .sorted { $0.group < $1.group }
        let old = removed.values.filter { $0.oldestFile < file }.sorted { $0.group < $1.group }
        pressures.append(
            Pressure(
                below: file,
                behind: behind,
                removed: old,
                room: movableBytes,
                relieved: relieved
            )
        )
        for storage in old { storage.stageState() }
        writeRemoved(old)
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
        reportRelief()
    }

    /// Whether files of the log are wanted back that replicas have not let go of yet.
    package var isUnderPressure: Bool { !pressures.isEmpty }

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
            let below = pressures[place].below
            while let replica = pressures[place].behind.last {
                let isGone = replicas[replica.group] !== replica
                guard isGone || replica.storage.oldestFile >= below else {
                    replica.moveUncommitted(
                        outOfFilesBelow: below,
                        within: &pressures[place].room
                    )
                    break
                }
                pressures[place].behind.removeLast()
            }
            pressures[place].removed.removeAll { storage in
                removed[storage.group] !== storage || storage.oldestFile >= below
            }
            if pressures[place].isOver { relieved.append(pressures.remove(at: place)) }
        }
        guard !relieved.isEmpty else { return }
        let oldest = min(
            replicas.values.map(\.storage.oldestFile).min() ?? .max,
            removed.values.map(\.oldestFile).min() ?? .max
        )
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
                let failed = range.lowerBound + read.count
                if let failure, replica.storage.awaits(failed, from: positions[read.count]) {
                    replica.storageFailed(failure)
                } else {
                    replica.logIsReadable()
                }
                // Now it can be moved, if its file is wanted back.
                self.reportRelief()
            }
        }
    }
}
