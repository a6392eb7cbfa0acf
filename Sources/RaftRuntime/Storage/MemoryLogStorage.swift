public import Raft

/// A log in memory: for tests, and for groups that need not outlive the process.
public final class MemoryLogStorage: RaftLogStorage {
    public private(set) var hardState = HardState()
    public private(set) var base: SnapshotMetadata
    private var window: LogWindow<RaftEntry>

    public init(membership: Membership) {
        base = SnapshotMetadata(index: .zero, term: .zero, membership: membership)
        window = LogWindow(base: .zero, baseTerm: .zero) { $0.term }
    }

    public var firstIndex: LogIndex { window.firstIndex }
    public var lastIndex: LogIndex { window.lastIndex }

    public func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        try window.term(at: index)
    }

    public func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError)
        -> [RaftEntry]
    {
        try window.check(range)
        return page(of: range, maxBytes: maxBytes) { window[$0] }
    }

    public func snapshot() throws(RaftLogReadError) -> Snapshot {
        Snapshot(metadata: base, payload: .empty)
    }

    public func append(_ entries: [RaftEntry]) {
        guard let first = entries.first else { return }
        if first.index <= lastIndex { window.truncateSuffix(from: first.index) }
        for entry in entries {
            precondition(entry.index == lastIndex + 1, "entry \(entry.index) after \(lastIndex)")
            window.append(entry)
        }
    }

    public func setHardState(_ hardState: HardState) { self.hardState = hardState }

    public func get(_ index: LogIndex) throws(RaftLogReadError) -> RaftEntry? {
        window.contains(index) ? window[index] : nil
    }

    public func truncateSuffix(from index: LogIndex) { window.truncateSuffix(from: index) }

    public func truncatePrefix(through index: LogIndex) {
        guard index > window.base else { return }
        var next = window.firstIndex
        while next <= index {
            base.pass(window[next])
            next = next + 1
        }
        window.truncatePrefix(through: index)
    }

    public func reset(to snapshot: SnapshotMetadata) {
        base = snapshot
        window.reset(base: snapshot.index, term: snapshot.term)
        hardState.commit = max(hardState.commit, snapshot.index)
    }
}
