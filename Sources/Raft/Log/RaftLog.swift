/// The log as the algorithm sees it: what is durable, read through the reader, and the tail that
/// is in memory, parts of it on their way to disk.
///
///     first ... applied ... applying ... commit ... last
///                         stable: durable here, anywhere from commit's left to last
///
/// Invariants: applied <= applying <= commit <= last; stable <= last; the tail reaches down to
/// min(stable, applying) + 1 or further.
struct RaftLog {
    /// A Ready whose writes are not known to be durable yet.
    private struct InFlight {
        var number: UInt64
        /// The last entry it writes that no later append has replaced.
        var lastEntry: LogIndex?
        var snapshot: LogIndex?
        var hardState: HardState?
    }

    let reader: any RaftLogReader
    private(set) var tail: LogTail
    private(set) var lastTerm: Term
    private(set) var commit: LogIndex
    private(set) var applying: LogIndex
    private(set) var applied: LogIndex
    private(set) var stable: LogIndex

    /// A snapshot received and not yet durable and installed; the log begins after it.
    private(set) var pendingSnapshot: Snapshot?
    private(set) var snapshotHandedOut = false

    private var inFlight: [InFlight] = []

    /// Bytes handed out to be applied and not yet reported applied, entry by entry boundary.
    private var applyingBytes: [(through: LogIndex, bytes: Int)] = []
    private var applyingBytesTotal = 0

    /// The reader could not deliver committed entries; nothing is handed out until it can.
    var waitsForReader = false

    init(
        reader: any RaftLogReader,
        commit: LogIndex,
        applied: LogIndex
    ) throws(RaftLogReadError) {
        self.reader = reader
        let last = reader.lastIndex
        lastTerm = last == .zero ? .zero : try reader.term(at: last)
        tail = LogTail(startingAt: last + 1)
        stable = last
        self.commit = commit
        applying = applied
        self.applied = applied
    }

    var lastIndex: LogIndex { tail.end - 1 }

    var firstIndex: LogIndex {
        if let pendingSnapshot { return pendingSnapshot.metadata.index + 1 }
        return reader.firstIndex
    }

    func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        let last = lastIndex
        if index == last { return lastTerm }
        if index > last { throw .beyondLastIndex }
        if index >= tail.first { return tail[index].term }
        if let metadata = pendingSnapshot?.metadata {
            if index == metadata.index { return metadata.term }
            throw .compacted
        }
        if index == .zero { return .zero }
        return try reader.term(at: index)
    }

    /// Whether the log holds an entry of this term at this index.
    func matches(_ index: LogIndex, _ term: Term) throws(RaftLogReadError) -> Bool {
        do {
            return try self.term(at: index) == term
        } catch .temporarilyUnavailable {
            throw .temporarilyUnavailable
        } catch {
            return false
        }
    }

    /// Whether a log that ends so is at least as new as this one (thesis, 3.6.1).
    var end: LogPosition { LogPosition(term: lastTerm, index: lastIndex) }

    /// The last index up to the given one whose term is not above the given term.
    ///
    /// One answer of this kind skips a whole run of conflicting entries, where the paper's leader
    /// would step back entry by entry (thesis, 3.5, at its end). The term is nil where it is not
    /// known any more.
    func lastIndex(upTo index: LogIndex, termAtMost term: Term) -> (LogIndex, Term?) {
        var index = index
        while index > .zero {
            guard let own = try? self.term(at: index) else { return (index, nil) }
            if own <= term { return (index, own) }
            index = index - 1
        }
        return (.zero, .zero)
    }

    func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError) -> [RaftEntry] {
        guard !range.isEmpty else { return [] }
        if range.lowerBound >= tail.first { return tail.entries(in: range, maxBytes: maxBytes) }
        if range.lowerBound < firstIndex { throw .compacted }
        let stored = range.lowerBound..<min(range.upperBound, tail.first)
        var entries = try reader.entries(in: stored, maxBytes: maxBytes)
        precondition(
            entries.first?.index == stored.lowerBound,
            "asked for \(stored), read \(String(describing: entries.first?.index))"
        )
        guard range.upperBound > stored.upperBound,
            stored.lowerBound + entries.count == stored.upperBound
        else { return entries }
        let room = maxBytes - entries.reduce(0) { $0 + $1.byteCount }
        let rest = tail.entries(in: stored.upperBound..<range.upperBound, maxBytes: room)
        if let next = rest.first, next.byteCount <= room { entries.append(contentsOf: rest) }
        return entries
    }

    // MARK: - Growing

    mutating func append(_ entry: RaftEntry) {
        precondition(entry.term >= lastTerm, "term \(entry.term) after \(lastTerm)")
        tail.append(entry)
        lastTerm = entry.term
    }

    /// Replaces everything from the first entry on.
    mutating func replace(with entries: ArraySlice<RaftEntry>) {
        guard let first = entries.first else { return }
        precondition(first.index > commit, "entry \(first.index) at or below commit \(commit)")
        if first.index <= lastIndex { truncate(from: first.index) }
        for entry in entries { tail.append(entry) }
        lastTerm = entries[entries.endIndex - 1].term
    }

    /// Cuts the log, and with it what writes in flight will make durable.
    ///
    /// A write of entries that have been replaced since says nothing about the new ones at the
    /// same indexes, even if they come from the same leader: what its completion covers is cut
    /// here, once, and never compared by index again.
    private mutating func truncate(from index: LogIndex) {
        tail.truncate(from: index)
        stable = min(stable, index - 1)
        for place in inFlight.indices {
            if let last = inFlight[place].lastEntry {
                inFlight[place].lastEntry = min(last, index - 1)
            }
        }
    }

    mutating func commit(through index: LogIndex) {
        guard index > commit else { return }
        precondition(index <= lastIndex, "commit \(index) beyond last \(lastIndex)")
        commit = index
    }

    /// Starts over from a snapshot: the whole log goes, whatever it held.
    mutating func restore(_ snapshot: Snapshot) {
        let index = snapshot.metadata.index
        precondition(index > commit, "snapshot \(index) at or below commit \(commit)")
        for place in inFlight.indices {
            inFlight[place].lastEntry = nil
            inFlight[place].snapshot = nil
        }
        tail = LogTail(startingAt: index + 1)
        lastTerm = snapshot.metadata.term
        commit = index
        stable = index
        pendingSnapshot = snapshot
        snapshotHandedOut = false
    }

    // MARK: - Handing out

    /// The last index that may be applied now.
    ///
    /// Without `unpersisted` only what is durable here; with it also what this or an earlier Ready
    /// is making durable.
    private func applicable(unpersisted: Bool) -> LogIndex {
        if pendingSnapshot != nil { return applying }
        return unpersisted ? commit : min(commit, stable)
    }

    func hasCommitted(unpersisted: Bool, maxBytes: Int) -> Bool {
        !waitsForReader && applicable(unpersisted: unpersisted) > applying
            && (applyingBytesTotal < maxBytes || applyingBytes.isEmpty)
    }

    /// The next committed entries, as many as the bytes not yet applied leave room for.
    mutating func takeCommitted(unpersisted: Bool, maxBytes: Int) -> [RaftEntry] {
        guard hasCommitted(unpersisted: unpersisted, maxBytes: maxBytes) else { return [] }
        let range = (applying + 1)..<(applicable(unpersisted: unpersisted) + 1)
        let room = maxBytes - applyingBytesTotal
        let entries: [RaftEntry]
        do {
            entries = try self.entries(in: range, maxBytes: room)
        } catch .temporarilyUnavailable {
            waitsForReader = true
            return []
        } catch {
            preconditionFailure("committed entries \(range) cannot be read: \(error)")
        }
        applying = applying + entries.count
        let bytes = entries.reduce(0) { $0 + $1.byteCount }
        applyingBytes.append((applying, bytes))
        applyingBytesTotal += bytes
        return entries
    }

    mutating func takeSnapshot() -> Snapshot? {
        guard let pendingSnapshot, !snapshotHandedOut else { return nil }
        snapshotHandedOut = true
        return pendingSnapshot
    }

    var hasUnwrittenSnapshot: Bool { pendingSnapshot != nil && !snapshotHandedOut }

    mutating func takePending() -> [RaftEntry] { tail.takePending() }

    // MARK: - Coming back

    mutating func wrote(
        _ number: UInt64,
        lastEntry: LogIndex?,
        snapshot: LogIndex?,
        hardState: HardState?
    ) {
        guard lastEntry != nil || snapshot != nil || hardState != nil else { return }
        inFlight.append(
            InFlight(
                number: number,
                lastEntry: lastEntry,
                snapshot: snapshot,
                hardState: hardState
            )
        )
    }

    /// Takes note of everything durable through a Ready; answers the last hard state among it.
    mutating func persisted(through number: UInt64) -> HardState? {
        var hardState: HardState?
        var count = 0
        while count < inFlight.count, inFlight[count].number <= number {
            let write = inFlight[count]
            if let last = write.lastEntry, last > stable { stable = last }
            if let state = write.hardState { hardState = state }
            if let index = write.snapshot, index == pendingSnapshot?.metadata.index {
                pendingSnapshot = nil
                applying = max(applying, index)
                applied(through: index)
            }
            count += 1
        }
        if count == inFlight.count {
            inFlight.removeAll(keepingCapacity: true)
        } else {
            inFlight.removeFirst(count)
        }
        dropTail()
        return hardState
    }

    mutating func applied(through index: LogIndex) {
        precondition(index <= applying, "applied \(index) beyond \(applying), handed out last")
        guard index > applied else { return }
        applied = index
        var count = 0
        while count < applyingBytes.count, applyingBytes[count].through <= index {
            applyingBytesTotal -= applyingBytes[count].bytes
            count += 1
        }
        if count == applyingBytes.count {
            applyingBytes.removeAll(keepingCapacity: true)
        } else if count > 0 {
            applyingBytes.removeFirst(count)
        }
    }

    /// Frees what is durable and has been handed out; a slow follower reads it from the reader.
    mutating func dropTail() {
        let index = min(stable, applying)
        if index >= tail.first { tail.drop(through: index) }
    }
}
