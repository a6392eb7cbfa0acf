/// What a leader knows of one replica, itself included.
///
/// | state | the leader | leaves it by |
/// |---|---|---|
/// | probe | sends one append and waits: where do the logs match? | an accepted one → replicate |
/// | replicate | streams, next ahead of match by what is in flight | a rejection → probe |
/// | snapshot | sends nothing | the follower's match reaching the log → replicate; report → probe |
///
/// Invariants: match < next; nothing is known about entries above match.
struct Progress {
    enum State: Equatable {
        case probe
        case replicate
        /// Waits for a snapshot at this index, or a report that it failed, to arrive.
        case snapshot(LogIndex)
    }

    let id: ReplicaID
    var isLearner: Bool
    var match: LogIndex
    var next: LogIndex
    private(set) var state: State
    private(set) var inflight: InflightWindow

    /// Nothing is sent until an answer or a heartbeat's answer comes.
    var isFlowPaused = false

    /// It has been heard from since the last check of the quorum.
    var isRecentlyActive: Bool

    /// The highest commit index it has been told, or will have learnt once `next` reaches it.
    var sentCommit = LogIndex.zero

    /// The latest heartbeat round it has answered.
    var answeredRound: UInt64 = 0

    /// Snapshots that failed one after the other, and the tick before which none is tried.
    var snapshotFailures = 0
    var snapshotBlockedUntil: UInt64 = 0

    /// When the last was heard of the snapshot on its way.
    var snapshotTick: UInt64 = 0

    init(id: ReplicaID, isLearner: Bool, next: LogIndex, window: InflightWindow) {
        self.id = id
        self.isLearner = isLearner
        match = .zero
        self.next = next
        state = .probe
        inflight = window
        isRecentlyActive = true
    }

    var isPaused: Bool {
        if case .snapshot = state { return true }
        return isFlowPaused
    }

    var pendingSnapshot: LogIndex? {
        if case .snapshot(let index) = state { return index }
        return nil
    }

    /// Starts over for a new term.
    mutating func reset(match: LogIndex, next: LogIndex) {
        self.match = match
        self.next = next
        isRecentlyActive = false
        sentCommit = .zero
        answeredRound = 0
        snapshotFailures = 0
        snapshotBlockedUntil = 0
        enter(.probe)
    }

    private mutating func enter(_ state: State) {
        self.state = state
        isFlowPaused = false
        inflight.removeAll()
    }

    mutating func becomeProbe() {
        if case .snapshot(let index) = state {
            next = max(match, index) + 1
        } else {
            next = match + 1
        }
        enter(.probe)
        sentCommit = min(sentCommit, next - 1)
    }

    /// The snapshot did not arrive: as if it had never been sent.
    mutating func abortSnapshot() {
        next = match + 1
        enter(.probe)
        sentCommit = min(sentCommit, next - 1)
    }

    /// It has lost entries it once acknowledged: nothing is known about it any more.
    mutating func restart(next: LogIndex) {
        match = .zero
        self.next = next
        enter(.probe)
        sentCommit = min(sentCommit, next - 1)
    }

    mutating func becomeReplicate() {
        next = match + 1
        enter(.replicate)
        snapshotFailures = 0
        snapshotBlockedUntil = 0
    }

    mutating func becomeSnapshot(at index: LogIndex) {
        next = index + 1
        sentCommit = index
        enter(.snapshot(index))
    }

    /// An append of so many entries is on its way.
    mutating func sent(entries: Int, bytes: Int) {
        switch state {
        case .replicate:
            if entries > 0 {
                next = next + entries
                inflight.add(next - 1, bytes: bytes)
            }
            isFlowPaused = inflight.isFull
        case .probe:
            isFlowPaused = true
        case .snapshot(let index):
            preconditionFailure(
                "replica \(id) gets no appends while it waits for snapshot \(index)"
            )
        }
    }

    /// Whether telling it the commit index would let it commit more.
    func canLearnCommit(_ commit: LogIndex) -> Bool {
        commit > sentCommit && sentCommit < next - 1
    }

    /// It has everything up to an index; answers whether that is news.
    mutating func acknowledge(_ index: LogIndex) -> Bool {
        guard index > match else { return false }
        match = index
        next = max(next, index + 1)
        isFlowPaused = false
        return true
    }

    mutating func freeInflight(through index: LogIndex) { inflight.free(through: index) }

    /// It refused an append after `rejected`; `hint` is where the logs may match.
    ///
    /// Answers false for an old answer that says nothing any more.
    mutating func decrease(rejected: LogIndex, hint: LogIndex) -> Bool {
        switch state {
        case .replicate:
            guard rejected > match else { return false }
            next = match + 1
        case .probe, .snapshot:
            guard next == rejected + 1 else { return false }
            next = max(min(rejected, hint + 1), match + 1)
        }
        isFlowPaused = false
        sentCommit = min(sentCommit, next - 1)
        return true
    }
}
