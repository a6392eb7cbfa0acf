/// The newest entries, in memory.
///
/// What was handed out lies in immutable chunks, each of them the very array a Ready carried, so
/// that nothing is copied when a Ready is made and nothing handed out is ever written to. What was
/// appended since gathers in `pending`.
struct LogTail {
    private struct Chunk {
        var first: LogIndex
        var entries: [RaftEntry]

        var end: LogIndex { first + entries.count }
    }

    /// The first index held; one more than the last when nothing is.
    private(set) var first: LogIndex

    /// The index after the last one held.
    private(set) var end: LogIndex

    /// The first index that no Ready has carried yet.
    private(set) var pendingFirst: LogIndex

    private var chunks: [Chunk] = []
    private var head = 0
    private var pending: [RaftEntry] = []
    private var lastBatch = 0

    init(startingAt index: LogIndex) {
        first = index
        end = index
        pendingFirst = index
    }

    var hasPending: Bool { !pending.isEmpty }

    mutating func append(_ entry: RaftEntry) {
        precondition(entry.index == end, "entry \(entry.index) after \(end)")
        if pending.isEmpty { pending.reserveCapacity(lastBatch) }
        pending.append(entry)
        end = end + 1
    }

    /// Hands out what gathered; it belongs to a chunk from now on.
    mutating func takePending() -> [RaftEntry] {
        guard !pending.isEmpty else { return [] }
        let taken = pending
        lastBatch = min(taken.count, 1024)
        chunks.append(Chunk(first: pendingFirst, entries: taken))
        pending = []
        pendingFirst = end
        return taken
    }

    subscript(index: LogIndex) -> RaftEntry {
        precondition(index >= first && index < end, "\(index) outside \(first)..<\(end)")
        if index >= pendingFirst { return pending[pendingFirst.distance(to: index)] }
        let chunk = chunks[position(of: index)]
        return chunk.entries[chunk.first.distance(to: index)]
    }

    /// Entries of the range in order, as many as fit the bytes but at least one.
    ///
    /// A range that is just one chunk is shared, not copied.
    func entries(in range: Range<LogIndex>, maxBytes: Int) -> [RaftEntry] {
        precondition(
            range.lowerBound >= first && range.upperBound <= end,
            "\(range) outside \(first)..<\(end)"
        )
        guard !range.isEmpty else { return [] }
        let upper = limit(range, maxBytes: maxBytes)
        if range.lowerBound < pendingFirst {
            let chunk = chunks[position(of: range.lowerBound)]
            if chunk.first == range.lowerBound && chunk.end == upper { return chunk.entries }
        }
        var result: [RaftEntry] = []
        result.reserveCapacity(range.lowerBound.distance(to: upper))
        forEachRun(in: range.lowerBound..<upper) { result.append(contentsOf: $0) }
        return result
    }

    /// Where the range ends if it is to fit the bytes.
    private func limit(_ range: Range<LogIndex>, maxBytes: Int) -> LogIndex {
        var bytes = 0
        var upper = range.lowerBound
        var full = false
        forEachRun(in: range) { run in
            guard !full else { return }
            for entry in run {
                bytes += entry.byteCount
                if bytes > maxBytes && upper > range.lowerBound {
                    full = true
                    return
                }
                upper = upper + 1
            }
        }
        return upper
    }

    private func forEachRun(in range: Range<LogIndex>, _ body: (ArraySlice<RaftEntry>) -> Void) {
        var index = range.lowerBound
        if index < pendingFirst {
            var place = position(of: index)
            while index < range.upperBound && place < chunks.count {
                let chunk = chunks[place]
                let upper = min(chunk.end, range.upperBound)
                body(
                    chunk.entries[chunk.first.distance(to: index)..<chunk.first.distance(to: upper)]
                )
                index = upper
                place += 1
            }
        }
        if index < range.upperBound {
            let from = pendingFirst.distance(to: index)
            body(pending[from..<pendingFirst.distance(to: range.upperBound)])
        }
    }

    /// The chunk an index lies in; most look-ups are for the newest or the oldest.
    private func position(of index: LogIndex) -> Int {
        var low = head
        var high = chunks.count - 1
        if low == high || chunks[high].first <= index { return high }
        while low < high {
            let middle = (low + high + 1) / 2
            if chunks[middle].first <= index { low = middle } else { high = middle - 1 }
        }
        return low
    }

    /// Forgets everything from an index on, which may lie below the first one held.
    mutating func truncate(from index: LogIndex) {
        guard index < end else { return }
        guard index > first else {
            self = LogTail(startingAt: index)
            return
        }
        if index >= pendingFirst {
            pending.removeSubrange(pendingFirst.distance(to: index)...)
        } else {
            pending = []
            while let last = chunks.last, last.first >= index { chunks.removeLast() }
            let place = chunks.count - 1
            let kept = chunks[place].first.distance(to: index)
            if kept < chunks[place].entries.count {
                chunks[place].entries = Array(chunks[place].entries[..<kept])
            }
            pendingFirst = index
        }
        end = index
    }

    /// Frees chunks that hold nothing after an index.
    mutating func drop(through index: LogIndex) {
        while head < chunks.count, chunks[head].end <= index + 1 {
            chunks[head].entries = []
            head += 1
        }
        first = head < chunks.count ? chunks[head].first : pendingFirst
        if head == chunks.count {
            chunks.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 64 && head * 2 >= chunks.count {
            chunks.removeSubrange(..<head)
            head = 0
        }
    }
}
