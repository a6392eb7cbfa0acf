package import Bytes
package import Raft
import WriteAheadLog

/// One replica of one Raft group: the core, its log and its state machine, on one event loop.
///
/// `propose` only hands the entry to the core and marks the group dirty; at the end of the turn the
/// ``RaftReplicaManager`` takes what the core wants done, for all dirty groups at once.
package final class PartitionReplica: @unchecked Sendable {
    // Unchecked: confined to the manager's loop.
    package struct Info: Sendable, Equatable {
        package let term: Term
        package let commit: LogIndex
        package let applied: LogIndex
        package let leader: ReplicaID?
        package let isLeader: Bool
    }

    package let group: UInt64
    package let storage: WALRaftStorage
    package let stateMachine: any StateMachine
    private var node: RaftNode
    private unowned let manager: RaftReplicaManager

    /// Called when this replica becomes leader of a term with its no-op committed, or stops leading.
    package var onLeadership: ((_ leads: Bool, _ term: Term) -> Void)?
    /// Called after a turn's committed entries were applied.
    package var onApplied: (() -> Void)?
    /// Called when the WAL wants its space back: make what is applied durable elsewhere, then
    /// ``truncatePrefix(through:)``.
    package var onReleaseWanted: (() -> Void)?
    /// Called once when the log can no longer be written.
    package var onStorageFailed: ((any Error) -> Void)?

    var isDirty = false
    /// A campaign waits until what is known to be committed is applied: a change of the membership
    /// may be among it.
    private var campaignIsDue = false
    private var isStopped = false
    private(set) var hasFailed = false
    private var announcedTerm: Term?
    private var waiting:
        [(index: LogIndex, term: Term, resume: (Result<ByteSlice, RaftError>) -> Void)] =
            []

    /// Readies whose writes are under way: the number of each, and of the last that follows it
    /// without writes of its own.
    private var inFlight: [(number: UInt64, covers: UInt64)] = []

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
        storage.fetch = { [unowned self] range, positions in
            self.manager.fetch(range, positions, for: self)
        }
    }

    package var info: Info {
        let status = node.status
        return Info(
            term: status.term,
            commit: status.commit,
            applied: status.applied,
            leader: status.leader,
            isLeader: status.role == .leader
        )
    }

    /// Whether proposals are taken: it leads, and everything of earlier terms is applied.
    package var isReadyLeader: Bool { announcedTerm != nil }

    // MARK: Requests

    /// Appends an entry to the leader's log, without waiting for anything.
    ///
    /// - Returns: Its index. It is committed once the state machine has applied it with the term
    ///   it was proposed in.
    /// - Throws: ``RaftError`` when nothing was appended.
    @discardableResult
    package func propose(_ payload: RaftPayload) throws(RaftError) -> LogIndex {
        guard !isStopped else { throw .stopped }
        guard !hasFailed else { throw .storageFailed }
        let index: LogIndex
        do {
            index = try node.propose([payload]).first
        } catch {
            throw RaftError(error)
        }
        manager.markDirty(self)
        return index
    }

    /// Appends an entry and waits until it is applied; returns what the state machine answered.
    package func proposeAndWait(_ payload: RaftPayload) async throws(RaftError) -> ByteSlice {
        let index = try propose(payload)
        let term = node.status.term
        let result: Result<ByteSlice, RaftError> = await withUnsafeContinuation { continuation in
            waiting.append((index, term, { continuation.resume(returning: $0) }))
        }
        return try result.get()
    }

    /// Campaigns as soon as everything known to be committed is applied.
    package func campaign() {
        campaignIsDue = true
        manager.markDirty(self)
    }

    private func startDueCampaign() {
        guard campaignIsDue, node.status.applied == node.status.commit else { return }
        campaignIsDue = false
        node.campaign()
    }

    package func tick() {
        node.tick()
        if node.hasReady { manager.markDirty(self) }
    }

    /// Tells that the state machine holds everything through `index` durably by itself.
    package func truncatePrefix(through index: LogIndex) {
        storage.truncatePrefix(through: min(index, node.status.applied))
    }

    /// Takes no further part; whoever waits learns that the outcome is unknown.
    package func stop() {
        isStopped = true
        fail(waitingWith: .stopped)
        manager.remove(self)
    }

    // MARK: The turn

    /// Takes everything the core wants done; true when records were added for the WAL.
    func process(into records: inout [WALRecord]) -> (count: Int, number: UInt64)? {
        guard !isStopped && !hasFailed else { return nil }
        var staged = 0
        var lastNumber: UInt64 = 0
        while true {
            startDueCampaign()
            guard node.hasReady else { break }
            let ready = node.ready()
            precondition(ready.messages.isEmpty, "group \(group) has no peers to send to")
            precondition(ready.snapshot == nil, "group \(group) was sent a snapshot")
            let mustWrite = ready.mustSync || !ready.entries.isEmpty
            if mustWrite {
                storage.append(ready.entries)
                if let hardState = ready.hardState { storage.setHardState(hardState) }
                lastNumber = ready.number
                inFlight.append((ready.number, ready.number))
            } else if inFlight.isEmpty {
                node.onPersisted(ready.number)
            } else {
                inFlight[inFlight.count - 1].covers = ready.number
            }
            apply(ready.committedEntries)
            if let soft = ready.softState, soft.role != .leader { stopLeading() }
        }
        announceLeadership()
        if !node.isAbstaining { storage.endAbstention() }
        staged = storage.takePending(into: &records)
        return staged > 0 ? (staged, lastNumber) : nil
    }

    private func apply(_ entries: [RaftEntry]) {
        guard let last = entries.last else { return }
        for entry in entries {
            let answer = stateMachine.apply(entry)
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
        let status = node.status
        guard announcedTerm == nil, status.role == .leader,
            (try? storage.term(at: status.applied)) == status.term
        else { return }
        announcedTerm = status.term
        onLeadership?(true, status.term)
    }

    private func stopLeading() {
        guard let term = announcedTerm else { return }
        announcedTerm = nil
        onLeadership?(false, term)
        fail(waitingWith: .outcomeUnknown)
    }

    /// The records staged with Ready `number` are durable.
    func persisted(_ number: UInt64) {
        guard !isStopped else { return }
        while let first = inFlight.first, first.number <= number {
            inFlight.removeFirst()
            node.onPersisted(first.covers)
        }
        manager.markDirty(self)
    }

    /// The log could not be written: nothing is acknowledged any more.
    func storageFailed(_ error: any Error) {
        guard !hasFailed else { return }
        hasFailed = true
        stopLeading()
        fail(waitingWith: .storageFailed)
        onStorageFailed?(error)
    }

    func logIsReadable() {
        node.onLogReadable()
        manager.markDirty(self)
    }

    private func fail(waitingWith error: RaftError) {
        let all = waiting
        waiting = []
        for waiter in all { waiter.resume(.failure(error)) }
    }
}
