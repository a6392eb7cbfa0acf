import Bytes
import Platform
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
    struct Slot {
        var term: Term
        var kind: RaftEntry.Kind
        var isLoaded: Bool
        var payload: RaftPayload
        /// Where the WAL has it; `nil` until its batch is durable.
        var position: WALPosition?
    }

    package let group: UInt64
    /// Whose log it is, where it was read from a WAL.
    var replica: ReplicaID?
    package internal(set) var hardState: HardState
    package internal(set) var base: SnapshotMetadata
    /// Set while this replica must neither vote nor campaign.
    package internal(set) var abstention: Abstention?
    /// The replica was removed from this node; only its term, its vote and where its log ended are
    /// still remembered.
    package internal(set) var isRemoved = false
    /// Where the log ended when the replica left this node, for one that came back and has not come
    /// as far yet; for `RaftNode.init(…, earlierEnd:)`.
    package internal(set) var earlierEnd = LogPosition.zero
    var window: LogWindow<Slot>
    /// Changes of membership in the log, by rising index.
    var changes: [LogIndex] = []
    /// What recovery could not make sure of; `nil` when nothing is missing.
    var doubt: Doubt?
    /// Above every term of the records that damage may have taken; `nil` when there was none, or
    /// nobody has them.
    var lost: Term?
    /// The base that the last state record tells, or the snapshot; recovery guesses another where
    /// entries are gone with their files.
    var recordedBase: SnapshotMetadata
    private var pending: [WALRecord] = []
    /// How many of those may wait for the next: nothing depends on them.
    private var resting = 0
    /// The file of what the first entry replaces, until that is durable.
    var replacedFile: UInt64?
    /// A file that is needed until a state record from this base on is durable.
    private var held: (file: UInt64, until: LogIndex)?
    /// The entries are on their way to a later file.
    private var isMoving = false
    /// The file that holds the group's latest state record.
    var stateFile: UInt64 = 0
    /// Fetches `count` entries starting at a place the caller remembers; set by the replica.
    var fetch: ((_ range: ClosedRange<LogIndex>, _ positions: [WALPosition]) -> Void)?
    private var isFetching = false

    /// A group that has never written anything.
    package init(group: UInt64, membership: Membership) {
        self.group = group
        hardState = HardState()
        base = SnapshotMetadata(index: .zero, term: .zero, membership: membership)
        recordedBase = base
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
        try window.check(range)
        guard !range.isEmpty else { return [] }
        var loadedEnd = range.lowerBound
        while loadedEnd < range.upperBound && window[loadedEnd].isLoaded {
            loadedEnd = loadedEnd + 1
        }
        guard loadedEnd > range.lowerBound else {
            startFetching(range)
            throw .temporarilyUnavailable
        }
        return page(of: range.lowerBound..<loadedEnd, maxBytes: maxBytes) { entry(at: $0) }
    }

    /// An entry that is in memory.
    func entry(at index: LogIndex) -> RaftEntry {
        let slot = window[index]
        return RaftEntry(index: index, term: slot.term, kind: slot.kind, payload: slot.payload)
    }

    package func kind(at index: LogIndex) throws(RaftLogReadError) -> RaftEntry.Kind {
        try window.check(index)
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
        if first.index <= lastIndex {
            CoverageMark.logTruncated.hit()
            truncateSuffix(from: first.index)
        }
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
            if entry.kind == .configuration { changes.append(entry.index) }
            stage(entry)
        }
    }

    private func stage(_ entry: RaftEntry) {
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

    package func setHardState(_ hardState: HardState) {
        self.hardState = hardState
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .voteForgotten { self.hardState.vote = nil }
        #endif
        stageState()
    }

    /// Writes the entries again if the first is in a file below `file`, so that it can go.
    ///
    /// All of them or none: where they were counts until they are durable where they go.
    ///
    /// - Parameters:
    ///   - file: A sequence of the WAL.
    ///   - room: Bytes that may be written; less what is.
    /// - Returns: Whether something is to be written; not while they are fetched or on their way.
    func moveEntries(outOfFilesBelow file: UInt64, within room: inout Int) -> Bool {
        guard !isMoving, !window.isEmpty, let position = window[firstIndex].position,
            position.file < file
        else { return false }
        let bytes = window.indices.reduce(0) { $0 + byteCount(at: $1) }
        guard bytes <= room else { return false }
        if let missing = window.indices.first(where: { !window[$0].isLoaded }) {
            startFetching(missing..<lastIndex + 1)
            return false
        }
        CoverageMark.entriesMoved.hit()
        room -= bytes
        isMoving = true
        for index in window.indices { stage(entry(at: index)) }
        return true
    }

    private func byteCount(at index: LogIndex) -> Int {
        let slot = window[index]
        return slot.isLoaded ? slot.payload.count : slot.position?.length ?? 0
    }

    /// Writes down that the entry is committed, without waiting for what else is to be written.
    func committed(_ index: LogIndex) {
        guard index > hardState.commit else { return }
        hardState.commit = index
        stageState()
    }

    /// Writes the group's state again, so that the file of the last such record can go.
    package func stageState() { stage(isRemoved ? .groupRemoved : .hardState) }

    func stage(_ kind: WALRecord.Kind) {
        let record = GroupStateRecord(
            hardState: hardState,
            base: base,
            last: lastIndex,
            lastTerm: lastTerm,
            abstention: abstention,
            earlierEnd: earlierEnd
        )
        pending.append(
            WALRecord(
                group: group,
                kind: kind,
                term: hardState.term.rawValue,
                index: base.index.rawValue,
                payload: record.encoded()
            )
        )
    }

    var lastTerm: Term { window.isEmpty ? window.baseTerm : window[lastIndex].term }

    /// The entries from `index` on are replaced by those written after them; the WAL needs no
    /// record of it, because on recovery another entry at an index drops all from there on.
    package func truncateSuffix(from index: LogIndex) {
        if index == firstIndex, !window.isEmpty, let file = window[index].position?.file {
            replacedFile = min(file, replacedFile ?? .max)
            isMoving = false
        }
        window.truncateSuffix(from: index)
        while let last = changes.last, last >= index { changes.removeLast() }
    }

    package func truncatePrefix(through index: LogIndex) {
        guard index > window.base else { return }
        let file = oldestFile
        guard dropPrefix(through: index) else { return }
        // Nothing but a state record knows the membership at the new base.
        hold(file)
        stageState()
    }

    /// Moves the base; true if the membership there is another.
    @discardableResult
    func dropPrefix(through index: LogIndex) -> Bool {
        guard index > window.base else { return false }
        let count = changes.firstIndex { $0 > index } ?? changes.count
        for change in changes[..<count] { base.pass(entry(at: change)) }
        changes.removeFirst(count)
        replacedFile = nil
        isMoving = false
        window.truncatePrefix(through: index)
        base.index = window.base
        base.term = window.baseTerm
        return count > 0
    }

    /// Keeps a file until the state as it is now is durable.
    private func hold(_ file: UInt64) { held = (min(file, held?.file ?? .max), base.index) }

    /// Starts over after a snapshot that the state machine holds durably.
    ///
    /// The record of it makes recovery start there too: nothing that was written before it is
    /// looked at, so that an entry that conflicts with the snapshot cannot come back.
    package func reset(to snapshot: SnapshotMetadata) {
        let file = oldestFile
        startOver(at: snapshot)
        hold(file)
        hardState.commit = max(hardState.commit, snapshot.index)
        stage(.snapshotMetadata)
    }

    func startOver(at snapshot: SnapshotMetadata) {
        replacedFile = nil
        isMoving = false
        base = snapshot
        window.reset(base: snapshot.index, term: snapshot.term)
        changes = []
    }

    /// The replica leaves this node: log and membership go; term, vote and where the log ended stay,
    /// should a replica of the group ever come back here.
    ///
    /// The record must be kept, and written again when its file is to go, until the whole group is
    /// deleted.
    package func remove() {
        earlierEnd = max(earlierEnd, LogPosition(term: lastTerm, index: lastIndex))
        startOver(at: SnapshotMetadata(index: .zero, term: .zero, membership: Membership()))
        hardState.commit = .zero
        isRemoved = true
        stageState()
    }

    /// A replica of a group that was here before comes back, with an empty log.
    package func comeBack(as membership: Membership) {
        precondition(isRemoved, "group \(group) comes back and was not removed")
        isRemoved = false
        base.membership = membership
        stageState()
    }

    /// The core abstains no longer: what was missing was repaired from a leader.
    package func endAbstention() {
        guard abstention != nil else { return }
        CoverageMark.abstentionEnded.hit()
        abstention = nil
        stageState()
    }

    /// The log has come as far as before.
    package func forgetEarlierEnd() {
        guard earlierEnd > .zero else { return }
        earlierEnd = .zero
        stageState()
    }

    /// Whether something waits to be written.
    package var hasPending: Bool { pending.count > resting }

    /// What is staged goes along with whatever is staged next.
    ///
    /// For a new log that would be begun in the same way again, should the process end before: it
    /// is written together with the first thing the replica promises, a vote or an entry.
    package func letPendingRest() { resting = pending.count }

    /// What was staged since the last call, in order.
    package func takeStaged() -> [WALRecord] {
        var records: [WALRecord] = []
        resting = 0
        _ = takePending(into: &records)
        return records
    }

    /// What was staged since the last call, in order; nothing if all of it may wait.
    func takePending(into records: inout [WALRecord]) -> Int {
        guard hasPending else { return 0 }
        resting = 0
        let count = pending.count
        records.append(contentsOf: pending)
        pending.removeAll(keepingCapacity: count <= 64)
        return count
    }

    /// A record of this group is durable.
    func recordIsDurable(_ record: WALRecord, at position: WALPosition) {
        switch record.kind {
        case .hardState, .snapshotMetadata, .groupRemoved:
            stateFile = max(stateFile, position.file)
            if let held, record.index >= held.until.rawValue { self.held = nil }
        default:
            let index = LogIndex(record.index)
            guard window.contains(index), window[index].term.rawValue == record.term else { return }
            window[index].position = position
            if index == firstIndex {
                replacedFile = nil
                isMoving = false
            }
        }
    }

    /// The file of the group's latest state record is below `file`.
    func isStateOlder(than file: UInt64) -> Bool { stateFile < file }

    /// The lowest WAL file that holds something the group still needs.
    package var oldestFile: UInt64 {
        // Nothing of it was ever written, nor is it on its way.
        if resting > 0 { return .max }
        let needed = min(stateFile, held?.file ?? .max, replacedFile ?? .max)
        guard !window.isEmpty, let position = window[window.firstIndex].position else {
            return needed
        }
        return min(needed, position.file)
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

    /// Whether the entry is wanted from there yet: one that was dropped while it was read, with its
    /// file, is not.
    func awaits(_ index: LogIndex, from position: WALPosition) -> Bool {
        window.contains(index) && !window[index].isLoaded && window[index].position == position
    }

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
