package import Bytes
import Platform
public import Raft
import WriteAheadLog

/// One replica of one Raft group: the core, its log and its state machine, on one event loop.
///
/// What is asked only changes the core and marks the group dirty; at the end of the turn the
/// `RaftReplicaManager` takes what the core wants done, for all dirty groups at once. Programs that
/// embed the library meet it as a ``RaftGroup``.
public final class PartitionReplica: @unchecked Sendable {
    // Unchecked: confined to the manager's loop.
    public struct Info: Sendable, Equatable {
        public let role: RaftRole
        public let term: Term
        public let commit: LogIndex
        public let applied: LogIndex
        public let firstIndex: LogIndex
        public let lastIndex: LogIndex
        public let leader: ReplicaID?
        public let membership: Membership
        public let isQuiescent: Bool

        public var isLeader: Bool { role == .leader }
    }

    package let group: UInt64
    package let storage: WALRaftStorage
    package let stateMachine: any StateMachine
    var node: RaftNode
    package unowned let manager: RaftReplicaManager

    /// Called when this replica becomes leader of a term with its no-op committed, or stops leading.
    package var onLeadership: ((_ leads: Bool, _ term: Term) -> Void)?
    /// Called when another replica is known to lead, or none.
    package var onLeaderChanged: ((_ leader: ReplicaID?, _ term: Term) -> Void)?
    /// Called when a change of the membership was applied, or came with a snapshot.
    ///
    /// A replica that is no member any more may be stopped.
    package var onMembershipChanged: ((Membership) -> Void)?
    /// Called when the entries through an index, of those proposed here, are durable here.
    ///
    /// With other voters they may be committed before, or never.
    package var onDurable: ((LogIndex) -> Void)?
    /// Called after a turn's committed entries were applied, or a snapshot was installed.
    package var onApplied: (() -> Void)?
    /// Called at the end of each turn in which there was something to do, as when another replica
    /// has more of the log.
    package var onTurn: (() -> Void)?
    /// Called when the WAL wants its space back: make what is applied durable elsewhere, then
    /// ``truncatePrefix(through:)``.
    package var onReleaseWanted: (() -> Void)?
    /// Called when the leader counts on entries, up to `commit`, that this log had once and ends
    /// before: it abstains until they are here again.
    package var onLogEndLost: ((_ commit: LogIndex, _ last: LogIndex) -> Void)?
    /// Called once when the log can no longer be written, or is not what it was promised to be.
    package var onStorageFailed: ((any Error) -> Void)?

    /// Messages this replica refused; see `RaftStepError`.
    package internal(set) var refusedMessages = 0
    /// Entries and changes of the membership that were appended here.
    package internal(set) var proposals = 0

    // MARK: What the manager keeps here

    var isDirty = false
    /// Whether it is among those that are ticked.
    package internal(set) var isAwake = false
    var election = ElectionPlace.outside

    // MARK: Time; see ReplicaTime

    /// Ticks since the leader was last heard of.
    var silentTicks = 0
    /// Ticks since there was last something to do.
    var idleTicks = 0
    /// Whether it campaigns as soon as it may, instead of when its timeout is over.
    var isFirstInLine = false

    var heldCommits = HeldCommits()
    /// Whether the others learn of every commit without delay; see
    /// ``RaftConfig/commitDelayMilliseconds``.
    package var tellsCommitsAtOnce = false

    // MARK: Membership

    /// Whether it is the only member: then nobody is sent anything, and no time passes.
    package internal(set) var isAlone = false
    var hasLearners = false
    /// Where an entry lies that was sent when the last change of the membership was applied.
    var settledFrom = LogIndex.zero
    /// The memberships from the log's base on, each from the entry that made it.
    var memberships: [(index: LogIndex, membership: Membership)] = []

    // MARK: Private parts

    /// A campaign waits until what is known to be committed is applied: a change of the membership
    /// may be among it.
    private var campaignIsDue = false
    private var campaignAsksFirst = true
    var isStopped = false
    private(set) var hasFailed = false
    private var announcedTerm: Term?
    private var announcedLeader: ReplicaID?
    private var announcedLeaderTerm = Term.zero
    private var waiting:
        [(index: LogIndex, term: Term, resume: (Result<ByteSlice, RaftError>) -> Void)] =
            []
    var reads = PendingReads()
    let receiving = SnapshotReceiver()

    /// Readies whose writes are under way, oldest first.
    private var inFlight: [Write] = []
    private var stagedNumber: UInt64 = 0
    /// A snapshot the state machine is taking over, and what was wanted since.
    var installing: (ready: Ready, held: [Ready])?
    /// When a snapshot that found no room on the disk is tried again.
    var roomTimer: LoopTimer?

    private struct Write {
        let number: UInt64
        /// The last Ready that follows it without writes of its own.
        var covers: UInt64
        /// What may be said once it is durable.
        var messages: [Message]
        /// The last entry it wrote.
        let last: LogIndex?
    }

    init(
        group: UInt64,
        node: RaftNode,
        storage: WALRaftStorage,
        stateMachine: any StateMachine,
        manager: RaftReplicaManager
    ) {
        self.group = group
        self.node = node
        self.storage = storage
        self.stateMachine = stateMachine
        self.manager = manager
        memberships = [(node.applied, node.membership)]
        followMembership()
        storage.fetch = { [unowned self] range, positions in
            self.manager.fetch(range, positions, for: self)
        }
    }

    package var info: Info {
        Info(
            role: node.role,
            term: node.term,
            commit: node.commit,
            applied: node.applied,
            firstIndex: node.firstIndex,
            lastIndex: node.lastIndex,
            leader: node.leader,
            membership: node.membership,
            isQuiescent: node.isQuiescent
        )
    }

    /// The end of the log.
    package var lastIndex: LogIndex { storage.lastIndex }

    /// Everything the core knows, what a leader knows of its followers included.
    package var status: RaftStatus { node.status }

    /// How far the replica furthest behind is, as far as a leader knows; otherwise anybody may be
    /// anywhere.
    package var lowestMatch: LogIndex {
        guard node.role == .leader else { return .zero }
        return node.status.peers.filter { $0.id != id }.map(\.match).min() ?? node.commit
    }

    /// Whether proposals are taken: it leads, and everything of earlier terms is applied.
    package var isReadyLeader: Bool { announcedTerm != nil }

    /// Whether it leads in this term and does not hand that over; known at once, where
    /// ``onLeadership`` comes at the end of the turn.
    package func takesProposals(in term: Term) -> Bool {
        !isStopped && !hasFailed && node.takesProposals(in: term)
    }

    var id: ReplicaID { node.id }

    // MARK: Requests

    /// Why nothing can be asked of it any more.
    func checkUsable() throws(RaftError) {
        guard !isStopped else { throw .stopped }
        guard !hasFailed else { throw .storageFailed }
    }

    /// Appends an entry to the leader's log, without waiting for anything.
    ///
    /// - Returns: Its index. It is committed once the state machine has applied it with the term
    ///   it was proposed in.
    /// - Throws: ``RaftError`` when nothing was appended.
    @discardableResult
    package func propose(_ payload: RaftPayload) throws(RaftError) -> LogIndex {
        try checkUsable()
        let index: LogIndex
        do {
            index = try node.propose(payload).first
        } catch {
            throw RaftError(error)
        }
        proposals &+= 1
        manager.markDirty(self)
        return index
    }

    /// Appends an entry and waits until it is applied; returns what the state machine answered.
    package func proposeAndWait(_ payload: RaftPayload) async throws(RaftError) -> ByteSlice {
        let index = try propose(payload)
        return try await applied(index)
    }

    /// Like ``proposeAndWait(_:)``, for callers that do not wait themselves; `completion` is called
    /// on the loop.
    package func propose(
        _ payload: RaftPayload,
        _ completion: @escaping (Result<ByteSlice, RaftError>) -> Void
    ) {
        do {
            let index = try propose(payload)
            waiting.append((index, node.term, completion))
        } catch {
            completion(.failure(error))
        }
    }

    /// Waits until the entry that was just proposed is applied.
    func applied(_ index: LogIndex) async throws(RaftError) -> ByteSlice {
        let term = node.term
        let result: Result<ByteSlice, RaftError> = await withUnsafeContinuation { continuation in
            waiting.append((index, term, { continuation.resume(returning: $0) }))
        }
        return try result.get()
    }

    /// Campaigns as soon as everything known to be committed is applied; see `RaftNode.campaign`.
    package func campaign(asksFirst: Bool = true) {
        campaignIsDue = true
        campaignAsksFirst = asksFirst
        manager.markDirty(self)
    }

    private func startDueCampaign() {
        guard campaignIsDue, node.applied == node.commit else { return }
        campaignIsDue = false
        node.campaign(asksFirst: campaignAsksFirst)
    }

    /// Hands leadership to another voter, once that has the whole log.
    ///
    /// Proposals are refused meanwhile, and taken again after an election timeout if that fails.
    package func transferLeadership(to target: ReplicaID) throws(RaftError) {
        try checkUsable()
        do {
            try node.transferLeadership(to: target)
        } catch {
            throw RaftError(error)
        }
        manager.markDirty(self)
    }

    /// Tells that the state machine holds everything through `index` durably by itself.
    package func truncatePrefix(through index: LogIndex) {
        // One that has left this node may learn late of what was written before; its log is gone.
        guard !isStopped else { return }
        storage.truncatePrefix(through: min(index, node.applied))
        while memberships.count > 1, memberships[1].index <= storage.base.index {
            memberships.removeFirst()
        }
        if storage.hasPending { manager.markDirty(self) }
    }

    /// Has what cannot be committed now written again, and so moved out of the WAL's oldest files.
    ///
    /// What is committed leaves them with ``truncatePrefix(through:)``. Entries that too few
    /// replicas are there to commit would keep those files, and with them all that is written after
    /// by other groups, for as long as a majority is away.
    func moveUncommitted(outOfFilesBelow file: UInt64, within room: inout Int) {
        guard !isStopped, !hasFailed, storage.firstIndex > node.commit else { return }
        if storage.moveEntries(outOfFilesBelow: file, within: &room) { manager.markDirty(self) }
    }

    /// Takes no further part; whoever waits learns that the outcome is unknown.
    ///
    /// - Parameter handsOver: Whether the group goes on without it, and so needs another leader; false
    ///   when the group is deleted.
    package func stop(handsOver: Bool = true) {
        guard !isStopped else { return }
        let mustResign = handsOver && node.role == .leader && !isAlone && !hasFailed
        isStopped = true
        fail(waitingWith: .stopped)
        failReads(with: .stopped)
        endWaitForRoom()
        receiving.abandon(in: manager)
        if mustResign { manager.resign(self) }
        manager.remove(self)
    }

    /// Leaves this node: log and membership are forgotten, term and vote are kept; see
    /// ``RaftReplicaManager/forgetRemoved(_:)``.
    ///
    /// What the state machine holds is its owner's to delete, once `written` tells that this is
    /// durable.
    package func remove(written: @escaping @Sendable (_ isDurable: Bool) -> Void = { _ in }) {
        stop()
        storage.remove()
        manager.keepRemoved(storage, written: written)
    }

    // MARK: Messages

    /// Takes a message of another replica; one that makes no sense is counted and forgotten.
    package func step(_ message: Message) {
        guard !isStopped && !hasFailed else { return }
        switch message.body {
        case .propose(let proposals) where proposals.isEmpty:
            // Somebody asks whether this group's leader still leads; see ReplicaTime.
            node.wake()
            manager.markDirty(self)
            return
        case .snapshot(let snapshot)
        where message.to == id && message.term >= node.term
            && snapshot.metadata.index > node.commit:
            receiving.offered(message, snapshot, to: self)
            return
        default: break
        }
        if isEcho(message) { return }
        stepCore(message)
        if message.from == node.leader { silentTicks = 0 }
        if !message.body.isRoutine { idleTicks = 0 }
        manager.markDirty(self)
    }

    func stepCore(_ message: Message) {
        do throws(RaftStepError) {
            try node.step(message)
        } catch {
            refusedMessages += 1
            manager.metrics.refusedMessages.increment()
            switch error {
            // Said of a replica that knows it lost all: the core has told the leader.
            case .commitBeyondLog where storage.abstention?.isForGood == true: break
            case .commitBeyondLog(let commit, let last):
                lostEnd(commit: commit, last: last, toldBy: message.from)
            case .conflictsWithCommitted(let index, let commit):
                fail(.logConflict(index: index, commit: commit))
            default: break
            }
        }
    }

    /// The leader counts on entries that are gone, in a way recovery takes for a crash's.
    private func lostEnd(commit: LogIndex, last: LogIndex, toldBy leader: ReplicaID) {
        CoverageMark.logEndLost.hit()
        let (term, abstains) = storage.lostEnd(in: node.term, of: id, toldBy: leader)
        node.goOnWithoutLostEntries(in: term, abstaining: abstains)
        onLogEndLost?(commit, last)
    }

    func send(_ messages: [Message]) {
        for message in messages {
            switch message.body {
            case .snapshot: manager.sending.offer(message, from: self)
            case .append(let append): sendAppend(message, isEmpty: append.entries.isEmpty)
            case .voteResponse(granted: true, _):
                CoverageMark.voteGranted.hit()
                manager.post(message, of: group)
            default: manager.post(message, of: group)
            }
        }
    }

    // MARK: The turn

    /// Takes everything the core wants done; tells how many records were added for the WAL.
    func process(into records: inout [WALRecord]) -> (count: Int, number: UInt64)? {
        guard !isStopped && !hasFailed else { return nil }
        while true {
            startDueCampaign()
            guard node.hasReady else { break }
            let ready = node.ready()
            if !ready.messages.isEmpty { send(ready.messages) }
            if installing != nil {
                installing?.held.append(ready)
            } else if ready.snapshot != nil {
                install(ready)
            } else {
                stage(ready)
            }
            if !ready.readStates.isEmpty { reads.confirmed(ready.readStates) }
            apply(ready.committedEntries)
            if let soft = ready.softState { follow(soft) }
            if isStopped || hasFailed { return nil }
        }
        announceLeader()
        if announcedTerm == nil { announceLeadership() }
        if !reads.isEmpty { serveReads() }
        onTurn?()
        if !isAwake && needsTicks { manager.keepAwake(self) }
        if !node.isAbstaining { storage.endAbstention() }
        if !node.isCatchingUp { storage.forgetEarlierEnd() }
        let staged = storage.takePending(into: &records)
        return staged > 0 ? (staged, stagedNumber) : nil
    }

    /// Puts what must be written into the turn's batch.
    func stage(_ ready: Ready) {
        if ready.mustSync || !ready.entries.isEmpty {
            storage.append(ready.entries)
            if let hardState = ready.hardState { storage.setHardState(hardState) }
            expect(ready)
            if !isAlone { idleTicks = 0 }
        } else if inFlight.isEmpty {
            node.onPersisted(ready.number)
            if !ready.persistedMessages.isEmpty { send(ready.persistedMessages) }
        } else {
            let last = inFlight.count - 1
            inFlight[last].covers = ready.number
            if !ready.persistedMessages.isEmpty {
                inFlight[last].messages += ready.persistedMessages
            }
        }
    }

    func expect(_ ready: Ready) {
        stagedNumber = ready.number
        inFlight.append(
            Write(
                number: ready.number,
                covers: ready.number,
                messages: ready.persistedMessages,
                last: ready.entries.last?.index
            )
        )
    }

    private func apply(_ entries: [RaftEntry]) {
        guard let last = entries.last else { return }
        for entry in entries {
            let answer = stateMachine.apply(entry)
            if entry.kind == .configuration { changeMembership(at: entry.index) }
            if let first = waiting.first, first.index <= entry.index {
                waiting.removeFirst()
                first.resume(
                    first.term == entry.term ? .success(answer) : .failure(.outcomeUnknown)
                )
            }
        }
        node.onApplied(last.index)
        onApplied?()
    }

    /// Leadership counts once an entry of its own term is applied: then all before it are, too.
    private func announceLeadership() {
        guard node.role == .leader, (try? storage.term(at: node.applied)) == node.term else {
            return
        }
        announcedTerm = node.term
        manager.metrics.elections.increment()
        onLeadership?(true, node.term)
    }

    private func follow(_ soft: SoftState) {
        if soft.role != .leader {
            stopLeading()
        } else if !isAlone {
            CoverageMark.electionWon.hit(group, node.term.rawValue)
        }
        if soft.leader != nil, election != .outside { manager.electionEnded(self) }
        if soft.leader != announcedLeader, soft.leader != nil {
            silentTicks = 0
            isFirstInLine = false
        }
    }

    /// The same replica may lead again, in a later term, without a moment without a leader.
    private func announceLeader() {
        let (leader, term) = (node.leader, node.term)
        guard leader != announcedLeader || (leader != nil && term != announcedLeaderTerm) else {
            return
        }
        announcedLeader = leader
        announcedLeaderTerm = term
        onLeaderChanged?(leader, term)
    }

    private func stopLeading() {
        if let term = announcedTerm {
            announcedTerm = nil
            onLeadership?(false, term)
        }
        if !waiting.isEmpty { fail(waitingWith: .outcomeUnknown) }
    }

    /// The records staged with Ready `number` are durable.
    func persisted(_ number: UInt64) {
        guard !isStopped && !hasFailed else { return }
        while let first = inFlight.first, first.number <= number {
            inFlight.removeFirst()
            node.onPersisted(first.covers)
            if !first.messages.isEmpty { send(first.messages) }
            if let last = first.last, !isAlone { onDurable?(last) }
        }
        manager.markDirty(self)
    }

    func logIsReadable() {
        guard !isStopped && !hasFailed else { return }
        node.onLogReadable()
        manager.markDirty(self)
    }

    // MARK: Ends

    /// The log could not be written: nothing is acknowledged any more.
    func storageFailed(_ error: any Error) { fail(.storageFailed, because: error) }

    /// Takes no part any more, and lets the others know.
    func fail(_ error: RaftError, because reason: (any Error)? = nil) {
        guard !hasFailed && !isStopped else { return }
        hasFailed = true
        if node.role == .leader && !isAlone { manager.resign(self) }
        if election != .outside { manager.electionEnded(self) }
        stopLeading()
        fail(waitingWith: error)
        failReads(with: error)
        endWaitForRoom()
        receiving.abandon(in: manager)
        onStorageFailed?(reason ?? error)
    }

    private func fail(waitingWith error: RaftError) {
        let all = waiting
        waiting = []
        for waiter in all { waiter.resume(.failure(error)) }
    }
}

extension Message.Body {
    /// What goes to and fro in a group where nothing happens.
    var isRoutine: Bool {
        switch self {
        case .heartbeat, .heartbeatResponse: true
        default: false
        }
    }
}
