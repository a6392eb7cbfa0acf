import Raft

/// A log in memory, as durable as a test says.
final class MemoryLog: RaftLogReader {
    private(set) var entries: [RaftEntry] = []
    /// What the log starts from: the entry before the first one.
    private(set) var start = (index: LogIndex.zero, term: Term.zero)
    private(set) var latestSnapshot: Snapshot?

    /// Reads of entries below this fail as if they were being fetched.
    var unavailableBelow = LogIndex.zero
    var snapshotSource: (() -> Snapshot?)?
    private(set) var reads = 0

    init() {}

    init(copying other: MemoryLog) {
        entries = other.entries
        start = other.start
        latestSnapshot = other.latestSnapshot
    }

    init(from snapshot: Snapshot) {
        install(snapshot)
    }

    var firstIndex: LogIndex { start.index + 1 }
    var lastIndex: LogIndex { start.index + entries.count }

    func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        if index == start.index { return start.term }
        guard index > start.index else { throw .compacted }
        guard index <= lastIndex else { throw .beyondLastIndex }
        return entries[firstIndex.distance(to: index)].term
    }

    func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError) -> [RaftEntry] {
        reads += 1
        guard range.lowerBound >= firstIndex else { throw .compacted }
        guard range.upperBound <= lastIndex + 1 else { throw .beyondLastIndex }
        guard range.lowerBound >= unavailableBelow else { throw .temporarilyUnavailable }
        let lower = firstIndex.distance(to: range.lowerBound)
        let upper = firstIndex.distance(to: range.upperBound)
        var bytes = 0
        var taken: [RaftEntry] = []
        for entry in entries[lower..<upper] {
            bytes += entry.byteCount
            if bytes > maxBytes && !taken.isEmpty { break }
            taken.append(entry)
        }
        return taken
    }

    func snapshot() throws(RaftLogReadError) -> Snapshot {
        if let snapshot = snapshotSource?() { return snapshot }
        guard let latestSnapshot else { throw .temporarilyUnavailable }
        return latestSnapshot
    }

    // MARK: - Writing

    func append(_ new: [RaftEntry]) {
        guard let first = new.first else { return }
        precondition(first.index > start.index && first.index <= lastIndex + 1)
        entries.removeSubrange(firstIndex.distance(to: first.index)...)
        entries.append(contentsOf: new)
    }

    func install(_ snapshot: Snapshot) {
        entries = []
        start = (snapshot.metadata.index, snapshot.metadata.term)
        latestSnapshot = snapshot
    }

    func keep(_ snapshot: Snapshot) { latestSnapshot = snapshot }

    /// Forgets entries up to an index.
    func compact(through index: LogIndex) {
        precondition(index <= lastIndex && index >= start.index)
        let term = index == start.index ? start.term : entries[firstIndex.distance(to: index)].term
        entries.removeSubrange(..<start.index.distance(to: index))
        start = (index, term)
    }

    /// Loses the newest entries, as a damaged disk does.
    func lose(from index: LogIndex) {
        entries.removeSubrange(firstIndex.distance(to: index)...)
    }

    func write(_ ready: Ready) {
        if let snapshot = ready.snapshot { install(snapshot) }
        append(ready.entries)
    }
}
