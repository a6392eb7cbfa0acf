internal import Raft

/// What a disk holds of one replica: a snapshot, the log after it, and the hard state.
struct LogImage {
    /// The entry before the first one: where the log was compacted, or the snapshot stands.
    private(set) var startIndex = LogIndex.zero
    private(set) var startTerm = Term.zero
    private(set) var entries: [RaftEntry] = []
    private(set) var snapshot: Snapshot?
    var hardState = HardState()

    var firstIndex: LogIndex { startIndex + 1 }
    var lastIndex: LogIndex { startIndex + entries.count }
    var lastTerm: Term { entries.last?.term ?? startTerm }

    func term(at index: LogIndex) -> Term? {
        if index == startIndex { return startTerm }
        guard index > startIndex, index <= lastIndex else { return nil }
        return entries[startIndex.distance(to: index) - 1].term
    }

    func entry(at index: LogIndex) -> RaftEntry? {
        guard index > startIndex, index <= lastIndex else { return nil }
        return entries[startIndex.distance(to: index) - 1]
    }

    mutating func append(_ new: ArraySlice<RaftEntry>) {
        guard let first = new.first else { return }
        precondition(
            first.index > startIndex && first.index <= lastIndex + 1,
            "entry \(first.index) into \(startIndex)...\(lastIndex)"
        )
        truncate(from: first.index)
        entries.append(contentsOf: new)
    }

    mutating func truncate(from index: LogIndex) {
        guard index <= lastIndex else { return }
        entries.removeSubrange((startIndex.distance(to: index) - 1)...)
    }

    /// The snapshot takes the place of the whole log.
    mutating func install(_ snapshot: Snapshot, keepingTail keepsTail: Bool = false) {
        let index = snapshot.metadata.index
        if keepsTail && index > startIndex && index < lastIndex {
            entries.removeFirst(startIndex.distance(to: index))
        } else {
            entries.removeAll()
        }
        startIndex = index
        startTerm = snapshot.metadata.term
        self.snapshot = snapshot
    }

    /// Keeps a snapshot of the state machine, and drops the log up to an index at most as far.
    mutating func compact(_ snapshot: Snapshot, through index: LogIndex) {
        if let own = self.snapshot, own.metadata.index >= snapshot.metadata.index { return }
        self.snapshot = snapshot
        drop(through: index)
    }

    /// Drops the log up to an index.
    mutating func drop(through index: LogIndex) {
        guard index > startIndex, let term = term(at: index) else { return }
        entries.removeFirst(startIndex.distance(to: index))
        startIndex = index
        startTerm = term
    }

    /// Nothing is left but the hard state.
    mutating func loseLog() {
        startIndex = .zero
        startTerm = .zero
        entries.removeAll()
        snapshot = nil
    }
}
