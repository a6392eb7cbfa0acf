internal import Raft

/// The log of a scripted replica, in memory; it starts from a snapshot.
final class ScriptLog: RaftLogReader {
    private(set) var entries: [RaftEntry] = []
    private var startIndex = LogIndex.zero
    private var startTerm = Term.zero

    /// What the state machine was after each entry it applied: the source of snapshots.
    var latestSnapshot: Snapshot?

    var firstIndex: LogIndex { startIndex + 1 }
    var lastIndex: LogIndex { startIndex + entries.count }

    func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        if index == startIndex { return startTerm }
        guard index > startIndex else { throw .compacted }
        guard index <= lastIndex else { throw .beyondLastIndex }
        return entries[firstIndex.distance(to: index)].term
    }

    func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError) -> [RaftEntry] {
        guard range.lowerBound >= firstIndex else { throw .compacted }
        guard range.upperBound <= lastIndex + 1 else { throw .beyondLastIndex }
        var bytes = 0
        var taken: [RaftEntry] = []
        let places =
            firstIndex.distance(to: range.lowerBound)..<firstIndex.distance(to: range.upperBound)
        for entry in entries[places] {
            bytes += entry.byteCount
            if bytes > maxBytes && !taken.isEmpty { break }
            taken.append(entry)
        }
        return taken
    }

    func snapshot() throws(RaftLogReadError) -> Snapshot {
        guard let latestSnapshot else { throw .temporarilyUnavailable }
        return latestSnapshot
    }

    func write(_ new: [RaftEntry]) {
        guard let first = new.first else { return }
        entries.removeSubrange(firstIndex.distance(to: first.index)...)
        entries.append(contentsOf: new)
    }

    func install(_ snapshot: Snapshot) {
        entries = []
        startIndex = snapshot.metadata.index
        startTerm = snapshot.metadata.term
        latestSnapshot = snapshot
    }

    /// Drops entries up to an index; false if it is not in the log.
    func compact(through index: LogIndex) -> Bool {
        guard index > startIndex, index <= lastIndex else { return false }
        let count = startIndex.distance(to: index)
        startTerm = entries[count - 1].term
        entries.removeFirst(count)
        startIndex = index
        return true
    }
}
