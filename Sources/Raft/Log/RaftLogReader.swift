/// Why a part of the log cannot be read now.
public enum RaftLogReadError: Error, Sendable, Equatable {
    /// The entries are below the first index: a snapshot took their place.
    case compacted
    /// Being fetched; `RaftNode.onLogReadable()` is called once they can be read.
    case temporarilyUnavailable
    /// The log does not reach that far.
    case beyondLastIndex
}

/// The durable log as the core reads it.
///
/// It must show everything up to a Ready by the time `RaftNode.onPersisted` is called for it: its
/// entries, with whatever they replaced gone, and its snapshot. What is still in flight the core
/// reads from memory.
public protocol RaftLogReader: AnyObject {
    /// The first entry there is; one more than the last index when there is none.
    var firstIndex: LogIndex { get }

    /// The last entry there is, or the index of the snapshot the log starts from.
    var lastIndex: LogIndex { get }

    /// The term of an entry, or of the one just before the first.
    func term(at index: LogIndex) throws(RaftLogReadError) -> Term

    /// Entries from the start of the range, as many as fit the bytes but at least one.
    ///
    /// Fewer than asked for are fine; none is not.
    func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError) -> [RaftEntry]

    /// What an entry is, which a log may know before it can give the entry itself.
    func kind(at index: LogIndex) throws(RaftLogReadError) -> RaftEntry.Kind

    /// The latest snapshot, for a follower that is behind the first index.
    func snapshot() throws(RaftLogReadError) -> Snapshot
}

extension RaftLogReader {
    public func kind(at index: LogIndex) throws(RaftLogReadError) -> RaftEntry.Kind {
        let entries = try entries(in: index..<(index + 1), maxBytes: 1)
        guard let entry = entries.first else { throw .temporarilyUnavailable }
        return entry.kind
    }

    /// The given commit index, or a later one that the log itself tells of.
    ///
    /// A change of membership is proposed only once the one before is applied, so it shows that
    /// that is committed. A replica whose commit index was lost must know this: by the membership
    /// of two changes ago it could be elected by voters that no majority of today meets.
    func lastChangeKnownCommitted(after commit: LogIndex) throws(RaftLogReadError) -> LogIndex {
        var known = commit
        var pending: LogIndex?
        var index = commit + 1
        let last = lastIndex
        while index <= last {
            if try kind(at: index) == .configuration {
                if let pending { known = pending }
                pending = index
            }
            index = index + 1
        }
        return known
    }
}
