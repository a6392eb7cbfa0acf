internal import Raft

/// A write a replica has asked for: what one Ready wants durable, or a compaction.
struct DiskWrite {
    /// The number of the Ready; nil for a compaction.
    var ready: UInt64?
    var entries: [RaftEntry] = []
    var hardState: HardState?
    var snapshot: Snapshot?
    /// The state machine's snapshot to keep, and up to where the log goes.
    var compaction: (snapshot: Snapshot, through: LogIndex)?
    var mustSync = true
    /// What waits for this write.
    var messages: [Message] = []
    var committed: [RaftEntry] = []
    /// It reached no platter although its sync was reported to have succeeded.
    var isDropped = false
}

/// The disk of one replica: what was written, what of it is durable, and what is damaged.
///
/// Writes are ordered. A sync covers all writes issued before it began; a crash keeps those that
/// were synced and any number of the others, oldest first. Entries are checksummed: damage is found
/// when an entry is read, and at the latest when the replica comes back.
final class SimulatedDisk: RaftLogReader {
    /// Everything written, as the replica reads it.
    private(set) var written = LogImage()
    /// What survives a crash in any case.
    private(set) var durable = LogImage()
    /// Writes that are not durable, oldest first; so many of them were reported as done, because
    /// nothing depends on their being durable.
    private(set) var writes: [DiskWrite] = []
    private(set) var reported = 0
    /// How many writes the sync that runs covers; 0 while none runs.
    private(set) var syncing = 0

    var isFull = false
    /// How many times slower than ordinary it is.
    var slowness = 1
    var failsNextSync = false
    /// Reads that cannot be answered at once, in a thousand.
    var unavailability = 0
    var random: RandomSource
    let plant: PlantedBug?

    private(set) var damaged: [LogIndex] = []
    private(set) var isSnapshotDamaged = false
    /// Somebody read a damaged entry.
    private(set) var hasMetDamage = false
    /// Somebody was told to come back for an entry.
    var owesReadable = false

    /// Durable beside the log: how far the replica may have acknowledged entries it has lost.
    private(set) var abstainUntil: LogIndex?
    /// What was durable once and was lost to damage, for those who ask what was promised.
    private(set) var lost: [(index: LogIndex, term: Term)] = []

    init(random: RandomSource, plant: PlantedBug?) {
        self.random = random
        self.plant = plant
    }

    /// A replica of the first membership starts from a snapshot all of them share.
    func format(with snapshot: Snapshot) {
        durable.install(snapshot)
        let metadata = snapshot.metadata
        durable.hardState = HardState(term: metadata.term, commit: metadata.index)
        written = durable
    }

    // MARK: - Reading

    var firstIndex: LogIndex { written.firstIndex }
    var lastIndex: LogIndex { written.lastIndex }

    func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        if let term = written.term(at: index) { return term }
        throw index > written.lastIndex ? .beyondLastIndex : .compacted
    }

    func entries(
        in range: Range<LogIndex>,
        maxBytes: Int
    ) throws(RaftLogReadError) -> [RaftEntry] {
        guard range.lowerBound >= firstIndex else { throw .compacted }
        guard range.upperBound <= lastIndex + 1 else { throw .beyondLastIndex }
        if random.chance(unavailability) {
            owesReadable = true
            throw .temporarilyUnavailable
        }
        var bytes = 0
        var taken: [RaftEntry] = []
        let lower = firstIndex.distance(to: range.lowerBound)
        for entry in written.entries[lower..<firstIndex.distance(to: range.upperBound)] {
            if isDamaged(entry) {
                hasMetDamage = true
                if taken.isEmpty { throw .temporarilyUnavailable }
                break
            }
            bytes += entry.byteCount
            if bytes > maxBytes && !taken.isEmpty { break }
            taken.append(entry)
        }
        return taken
    }

    func snapshot() throws(RaftLogReadError) -> Snapshot {
        guard let snapshot = written.snapshot else { throw .temporarilyUnavailable }
        if isSnapshotDamaged && snapshot.metadata.index == durable.snapshot?.metadata.index {
            hasMetDamage = true
            throw .temporarilyUnavailable
        }
        return snapshot
    }

    private func isDamaged(_ entry: RaftEntry) -> Bool {
        !damaged.isEmpty && damaged.contains(entry.index)
            && durable.term(at: entry.index) == entry.term
    }

    // MARK: - Writing

    func write(_ write: DiskWrite) {
        if let snapshot = write.snapshot { written.install(snapshot) }
        written.append(write.entries[...])
        if let state = write.hardState { written.hardState = state }
        if let (snapshot, index) = write.compaction { written.compact(snapshot, through: index) }
        writes.append(write)
    }

    /// Whether writes wait that nobody has been told about.
    var hasUnreported: Bool { reported < writes.count }

    /// Writes on which nothing durable depends, if nothing else is before them.
    func reportUnsynced() -> [DiskWrite] {
        guard syncing == 0, hasUnreported, !writes[reported...].contains(where: \.mustSync) else {
            return []
        }
        return reportRest()
    }

    /// Tells of everything that was not told of yet, durable or not.
    func reportRest() -> [DiskWrite] {
        let news = Array(writes[reported...])
        reported = writes.count
        return news
    }

    func beginSync() { syncing = writes.count }

    /// What the sync covered is durable; answers what of it nobody was told about.
    func finishSync() -> [DiskWrite] {
        for write in writes[..<syncing] { store(write) }
        return finishCovered()
    }

    /// What the sync covered is not on the platters, and will never be.
    func dropSynced() -> [DiskWrite] { finishCovered() }

    private func finishCovered() -> [DiskWrite] {
        let news = reported < syncing ? Array(writes[reported..<syncing]) : []
        writes.removeFirst(syncing)
        reported = max(0, reported - syncing)
        syncing = 0
        return news
    }

    /// Takes a write, or only its first entries, to the platters.
    private func store(_ write: DiskWrite, onlyEntries count: Int? = nil) {
        if let snapshot = write.snapshot {
            durable.install(snapshot, keepingTail: plant == .snapshotKeepsTail)
            damaged.removeAll()
            isSnapshotDamaged = false
        }
        let entries = write.entries.prefix(count ?? write.entries.count)
        // A gap is what a write that was dropped leaves; the log ends before it.
        if let first = entries.first, first.index <= durable.lastIndex + 1,
            first.index > durable.startIndex
        {
            durable.append(entries)
            damaged.removeAll { $0 >= first.index }
        }
        if count != nil { return }
        if var state = write.hardState {
            if plant == .voteNotPersisted {
                state.vote = state.term == durable.hardState.term ? durable.hardState.vote : nil
            }
            durable.hardState = state
        }
        if let (snapshot, index) = write.compaction {
            durable.compact(snapshot, through: index)
            damaged.removeAll { $0 <= durable.startIndex }
            if durable.snapshot?.metadata.index == snapshot.metadata.index {
                isSnapshotDamaged = false
            }
        }
        if let until = abstainUntil, durable.lastIndex >= until, mayForgetAbstention {
            abstainUntil = nil
        }
    }

    /// Set once the replica says that it is whole again.
    var mayForgetAbstention = false

    // MARK: - Crashing, and coming back

    /// How many writes a crash may or may not lose.
    var unsyncedCount: Int { writes.count }

    /// The power fails: the oldest writes had reached the platters, of the next one some entries.
    func crash(keeping count: Int, torn entries: Int?) {
        for write in writes.prefix(count) {
            // Nothing depends on a commit index: it may be lost where later writes are not.
            if !write.mustSync && random.oneIn(2) { continue }
            store(write)
        }
        if let entries, count < writes.count, writes[count].compaction == nil {
            store(writes[count], onlyEntries: min(entries, writes[count].entries.count))
        }
        writes.removeAll()
        reported = 0
        syncing = 0
        failsNextSync = false
        hasMetDamage = false
        owesReadable = false
        mayForgetAbstention = false
        written = durable
    }

    /// Reads everything: the log ends before the first damaged entry.
    func recover() {
        let last = durable.lastIndex
        if isSnapshotDamaged {
            note(lostFrom: durable.firstIndex)
            if let metadata = durable.snapshot?.metadata { note(lost: metadata) }
            durable.loseLog()
            durable.hardState.commit = .zero
            abstainUntil = max(abstainUntil ?? .zero, last)
        }
        // What a snapshot stands for is not needed any more.
        if let index = durable.snapshot?.metadata.index, damaged.contains(where: { $0 <= index }) {
            durable.drop(through: index)
            damaged.removeAll { $0 <= index }
        }
        if let first = damaged.min(), first <= last {
            note(lostFrom: first)
            durable.truncate(from: first)
            durable.hardState.commit = min(durable.hardState.commit, first - 1)
            abstainUntil = max(abstainUntil ?? .zero, last)
        }
        damaged.removeAll()
        isSnapshotDamaged = false
        hasMetDamage = false
        written = durable
    }

    private func note(lostFrom index: LogIndex) {
        for entry in durable.entries where entry.index >= index {
            lost.append((entry.index, entry.term))
        }
    }

    private func note(lost metadata: SnapshotMetadata) {
        lost.append((metadata.index, metadata.term))
    }

    /// Whether an entry of this term was durable here, be it damaged since.
    func hasHeld(_ index: LogIndex, _ term: Term) -> Bool {
        durable.startIndex > index || durable.term(at: index) == term
            || lost.contains { $0.index == index && $0.term == term }
    }

    // MARK: - Damage

    /// Flips bits of so many durable entries, in the newest half of the log.
    func damageEntries(_ count: Int) {
        for _ in 0..<count where !durable.entries.isEmpty {
            let back = random.below(min(durable.entries.count, 8))
            let index = durable.lastIndex - back
            if !damaged.contains(index) { damaged.append(index) }
        }
    }

    func damageSnapshot() { isSnapshotDamaged = durable.snapshot != nil }

    var isDamaged: Bool { !damaged.isEmpty || isSnapshotDamaged }
}
