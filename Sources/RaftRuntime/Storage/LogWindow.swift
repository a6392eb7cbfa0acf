import Raft

/// The entries a storage holds, from the one after its base: an array that loses its front cheaply.
///
/// `Slot` is what is kept of an entry beside its index.
struct LogWindow<Slot> {
    private(set) var base: LogIndex
    private(set) var baseTerm: Term
    private var slots: [Slot] = []
    private var dropped = 0
    private let term: (Slot) -> Term

    init(base: LogIndex, baseTerm: Term, term: @escaping (Slot) -> Term) {
        self.base = base
        self.baseTerm = baseTerm
        self.term = term
    }

    var firstIndex: LogIndex { base + 1 }
    var lastIndex: LogIndex { base + count }
    var count: Int { slots.count - dropped }
    var isEmpty: Bool { count == 0 }

    /// Of all entries, rising.
    var indices: some Sequence<LogIndex> { (0..<count).lazy.map { [base] in base + 1 + $0 } }

    func contains(_ index: LogIndex) -> Bool { index > base && index <= lastIndex }

    subscript(index: LogIndex) -> Slot {
        get {
            precondition(contains(index), "entry \(index) of \(firstIndex)...\(lastIndex)")
            return slots[dropped + base.distance(to: index) - 1]
        }
        set {
            precondition(contains(index), "entry \(index) of \(firstIndex)...\(lastIndex)")
            slots[dropped + base.distance(to: index) - 1] = newValue
        }
    }

    func term(at index: LogIndex) throws(RaftLogReadError) -> Term {
        if index == base { return baseTerm }
        try check(index)
        return term(self[index])
    }

    /// Throws unless an entry is here.
    func check(_ index: LogIndex) throws(RaftLogReadError) {
        guard index > base else { throw .compacted }
        guard index <= lastIndex else { throw .beyondLastIndex }
    }

    /// Throws unless all of a range is here.
    func check(_ range: Range<LogIndex>) throws(RaftLogReadError) {
        guard range.lowerBound > base else { throw .compacted }
        guard range.upperBound <= lastIndex + 1 else { throw .beyondLastIndex }
    }

    mutating func append(_ slot: Slot) { slots.append(slot) }

    mutating func truncateSuffix(from index: LogIndex) {
        precondition(index > base, "truncating from \(index), below the base \(base)")
        guard index <= lastIndex else { return }
        slots.removeLast(index.distance(to: lastIndex) + 1)
    }

    mutating func truncatePrefix(through index: LogIndex) {
        guard index > base else { return }
        precondition(index <= lastIndex, "dropping through \(index), past the end \(lastIndex)")
        let n = base.distance(to: index)
        baseTerm = term(self[index])
        base = index
        dropped += n
        // The dropped slots keep their memory until they are the larger part.
        if dropped == slots.count {
            slots.removeAll(keepingCapacity: slots.capacity < 4096)
            dropped = 0
        } else if dropped > 64 && dropped > slots.count / 2 {
            slots.removeFirst(dropped)
            dropped = 0
        }
    }

    /// Recovery did not know it: the entry was gone with its file.
    mutating func setBaseTerm(_ term: Term) { baseTerm = term }

    /// Starts over after a snapshot.
    mutating func reset(base: LogIndex, term: Term) {
        self.base = base
        baseTerm = term
        slots = []
        dropped = 0
    }
}

/// Entries from the start of a range, as many as fit the bytes but at least one.
func page(
    of range: Range<LogIndex>,
    maxBytes: Int,
    _ entry: (LogIndex) -> RaftEntry
) -> [RaftEntry] {
    var found: [RaftEntry] = []
    var bytes = 0
    var index = range.lowerBound
    while index < range.upperBound {
        let next = entry(index)
        bytes += next.byteCount
        if bytes > maxBytes && !found.isEmpty { break }
        found.append(next)
        index = index + 1
    }
    return found
}
