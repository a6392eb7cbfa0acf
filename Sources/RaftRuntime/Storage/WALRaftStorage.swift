package import Bytes
package import Raft
package import WriteAheadLog

/// The log of one group, kept in the WAL that all groups of the node share.
///
/// What is appended is visible at once and goes into the turn's WAL batch; it is durable when that
/// batch is. Entries are kept in memory until the state machine holds them durably and the prefix
/// is dropped; after a restart only their places in the WAL are known and they are fetched, page by
/// page, on a worker.
package final class WALRaftStorage: RaftLogStorage, @unchecked Sendable {
    // Unchecked: filled while the node starts, then handed to the loop of its group for good.
    private struct Slot {
        var term: Term
        var kind: RaftEntry.Kind
        var isLoaded: Bool
        var payload: RaftPayload
        /// Where the WAL has it; `nil` until its batch is durable.
        var position: WALPosition?
    }

    package let group: UInt64
    package private(set) var hardState: HardState
    package private(set) var base: SnapshotMetadata
    private var window: LogWindow<Slot>
    private var pending: [WALRecord] = []
    /// The file that holds the group's latest state record.
    private var stateFile: UInt64 = 0
    /// Fetches `count` entries starting at a place the caller remembers; set by the replica.
    var fetch: ((_ range: ClosedRange<LogIndex>, _ positions: [WALPosition]) -> Void)?
    private var isFetching = false

    /// A group that has never written anything.
    package init(group: UInt64, membership: Membership) {
        self.group = group
        hardState = HardState()
        base = SnapshotMetadata(index: .zero, term: .zero, membership: membership)
        window = LogWindow(base: .zero, baseTerm: .zero) { $0.term }
    }

    // MARK: Reading

    package var firstIndex: LogIndex { window.firstIndex }
    package var lastIndex: LogIndex { window.lastIndex }

    package func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        try window.term(at: index)
    }

    package func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError)
        -> [RaftEntry]
    {
        guard range.lowerBound > window.base else { throw .compacted }
        guard range.upperBound <= lastIndex + 1 else { throw .beyondLastIndex }
        guard !range.isEmpty else { return [] }
        var loadedEnd = range.lowerBound
        while loadedEnd < range.upperBound && window[loadedEnd].isLoaded {
            loadedEnd = loadedEnd + 1
        }
        guard loadedEnd > range.lowerBound else {
            startFetching(range)
            throw .temporarilyUnavailable
        }
        return page(of: range.lowerBound..<loadedEnd, maxBytes: maxBytes) { index in
            let slot = window[index]
            return RaftEntry(
                index: index,
                term: slot.term,
                kind: slot.kind,
                payload: slot.payload
            )
        }
    }

    package func kind(at index: LogIndex) throws(RaftLogReadError) -> RaftEntry.Kind {
        guard index > window.base else { throw .compacted }
        guard index <= lastIndex else { throw .beyondLastIndex }
        return window[index].kind
    }

    package func get(_ index: LogIndex) throws(RaftLogReadError) -> RaftEntry? {
        guard window.contains(index) else { return nil }
        return try entries(in: index..<index + 1, maxBytes: .max).first
    }

    package func snapshot() throws(RaftLogReadError) -> Snapshot {
        Snapshot(metadata: base, payload: .empty)
    }

    // MARK: Writing

    package func append(_ entries: [RaftEntry]) {
        guard let first = entries.first else { return }
        if first.index <= lastIndex { truncateSuffix(from: first.index) }
        for entry in entries {
            precondition(
                entry.index == lastIndex + 1,
                "group \(group): entry \(entry.index) after \(lastIndex)"
            )
            window.append(
                Slot(
                    term: entry.term,
                    kind: entry.kind,
                    isLoaded: true,
                    payload: entry.payload,
                    position: nil
                )
            )
            pending.append(
                WALRecord(
                    group: group,
                    kind: entry.kind == .normal ? .entry : .configurationEntry,
                    term: entry.term.rawValue,
                    index: entry.index.rawValue,
                    payload: ByteSlice(entry.payload)
                )
            )
        }
    }

    package func setHardState(_ hardState: HardState) {
        self.hardState = hardState
        stageState()
    }

    /// Writes the group's state again, so that the file of the last such record can go.
    package func stageState() {
        let record = GroupStateRecord(hardState: hardState, base: base)
        pending.append(
            WALRecord(
                group: group,
                kind: .hardState,
                term: hardState.term.rawValue,
                index: base.index.rawValue,
                payload: record.encoded()
            )
        )
    }

    /// The entries from `index` on are replaced by those written after them; the WAL needs no
    /// record of it, because on recovery a later entry at an index drops all from there on.
    package func truncateSuffix(from index: LogIndex) { window.truncateSuffix(from: index) }

    package func truncatePrefix(through index: LogIndex) {
        window.truncatePrefix(through: index)
        base.index = window.base
        base.term = window.baseTerm
    }

    /// Starts over after a snapshot that the state machine holds durably.
    package func reset(to snapshot: SnapshotMetadata) {
        base = snapshot
        window.reset(base: snapshot.index, term: snapshot.term)
        hardState.commit = max(hardState.commit, snapshot.index)
        stageState()
    }

    /// What was staged since the last call, in order.
    func takePending(into records: inout [WALRecord]) -> Int {
        let count = pending.count
        records.append(contentsOf: pending)
        pending.removeAll(keepingCapacity: count <= 64)
        return count
    }

    /// A record of this group is durable.
    func recordIsDurable(_ record: WALRecord, at position: WALPosition) {
        switch record.kind {
        case .hardState: stateFile = max(stateFile, position.file)
        default:
            let index = LogIndex(record.index)
            guard window.contains(index), window[index].term.rawValue == record.term else { return }
            window[index].position = position
        }
    }

    /// The file of the group's latest state record is below `file`.
    func isStateOlder(than file: UInt64) -> Bool { stateFile < file }

    /// The lowest WAL file that holds something the group still needs.
    package var oldestFile: UInt64 {
        guard !window.isEmpty, let position = window[window.firstIndex].position else {
            return stateFile
        }
        return min(stateFile, position.file)
    }

    // MARK: Recovery

    /// Takes in a record the WAL found on start; called in log order.
    package func recover(
        kind: WALRecord.Kind,
        term: UInt64,
        index: UInt64,
        payload: ByteSlice,
        at position: WALPosition
    ) throws(MalformedBytes) {
        switch kind {
        case .hardState:
            let record = try GroupStateRecord(decoding: payload, term: term)
            hardState = record.hardState
            stateFile = position.file
            guard record.base.index > window.base else { return }
            base = record.base
            if window.contains(record.base.index) {
                window.truncatePrefix(through: record.base.index)
            } else {
                window.reset(base: record.base.index, term: record.base.term)
            }
        case .entry, .configurationEntry:
            let at = LogIndex(index)
            guard at > window.base else { return }
            if at <= lastIndex { window.truncateSuffix(from: at) }
            if at > lastIndex + 1 {
                // The entries between went with a file that was freed: the state machine has them,
                // or ``openGap(after:)`` will tell.
                window.reset(base: at - 1, term: .zero)
            }
            window.append(
                Slot(
                    term: Term(term),
                    kind: kind == .entry ? .normal : .configuration,
                    isLoaded: false,
                    payload: .empty,
                    position: position
                )
            )
        default: return
        }
    }

    /// Ends recovery: the state machine holds everything through `index`.
    ///
    /// - Throws: when entries that were acknowledged are nowhere, which is damage: `.compacted` if
    ///   they should lie between there and the first that was found, `.beyondLastIndex` if after
    ///   the last.
    package func finishRecovery(applied index: LogIndex, term: Term) throws(RaftLogReadError) {
        if index >= lastIndex {
            window.reset(base: index, term: term)
        } else {
            guard index >= window.base else { throw .compacted }
            window.truncatePrefix(through: index)
        }
        guard hardState.commit <= lastIndex else { throw .beyondLastIndex }
        base.index = window.base
        base.term = term
        hardState.commit = max(hardState.commit, window.base)
        if hardState.term < term { hardState.term = term }
    }

    // MARK: Fetching what recovery left in the WAL

    private func startFetching(_ range: Range<LogIndex>) {
        guard !isFetching, let fetch else { return }
        var positions: [WALPosition] = []
        var index = range.lowerBound
        var bytes = 0
        while index < range.upperBound, !window[index].isLoaded, bytes < Self.fetchBytes {
            guard let position = window[index].position else { break }
            positions.append(position)
            bytes += position.length
            index = index + 1
        }
        precondition(!positions.isEmpty, "group \(group): entry \(range.lowerBound) is nowhere")
        isFetching = true
        fetch(range.lowerBound...(index - 1), positions)
    }

    private static let fetchBytes = 4 << 20

    /// Takes in what was fetched; entries that were dropped meanwhile are passed over.
    func fetched(_ range: ClosedRange<LogIndex>, _ payloads: [ByteSlice]) {
        isFetching = false
        var index = range.lowerBound
        for payload in payloads {
            if window.contains(index), !window[index].isLoaded {
                window[index].payload = RaftPayload(payload)
                window[index].isLoaded = true
            }
            index = index + 1
        }
    }
}
