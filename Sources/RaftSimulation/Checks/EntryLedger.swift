internal import Raft

/// Every entry that was ever in any log, by index and term, and which of them is committed.
struct EntryLedger {
    struct Known {
        var term: Term
        var hash: UInt64
        var previousTerm: Term
    }

    /// The first index there can be; the group starts from a snapshot at it.
    let start: LogIndex
    private var known: [[Known]] = []
    private var committed: [Term?] = []
    private var states: [UInt64?] = []
    /// Where leaders' commit indexes have been, with the terms they led; both grow.
    private(set) var frontiers: [(index: LogIndex, term: Term)] = []
    private(set) var highestCommit: LogIndex

    init(start: LogIndex, term: Term) {
        self.start = start
        highestCommit = start
        frontiers = [(start, term)]
    }

    private func place(_ index: LogIndex) -> Int { start.distance(to: index) }

    /// Takes note of an entry; answers what is wrong with it.
    mutating func note(_ entry: RaftEntry, hash: UInt64, previousTerm: Term?) -> String? {
        let place = place(entry.index)
        while known.count <= place { known.append([]) }
        if let other = known[place].first(where: { $0.term == entry.term }) {
            if other.hash != hash {
                return "two entries at \(entry.index) in term \(entry.term)"
            }
            if let previousTerm, other.previousTerm != previousTerm {
                return "entry \(entry.index) of term \(entry.term) follows term "
                    + "\(previousTerm) here and \(other.previousTerm) elsewhere"
            }
            return nil
        }
        let entry = Known(term: entry.term, hash: hash, previousTerm: previousTerm ?? .zero)
        known[place].append(entry)
        return nil
    }

    /// A leader's commit index has moved further than any did before.
    mutating func advance(to index: LogIndex, inTerm term: Term) {
        highestCommit = index
        frontiers.append((index, term))
    }

    /// Takes note of a committed entry; answers another term that was committed there.
    mutating func commit(_ index: LogIndex, term: Term) -> Term? {
        let place = place(index)
        while committed.count <= place { committed.append(nil) }
        if let other = committed[place] { return other == term ? nil : other }
        committed[place] = term
        return nil
    }

    func committedTerm(at index: LogIndex) -> Term? {
        let place = place(index)
        return place >= 0 && place < committed.count ? committed[place] : nil
    }

    /// Takes note of a state machine; answers whether another one was different there.
    mutating func state(at index: LogIndex, hash: UInt64) -> Bool {
        let place = place(index)
        guard place >= 0 else { return true }
        while states.count <= place { states.append(nil) }
        if let other = states[place] { return other == hash }
        states[place] = hash
        return true
    }

    /// The last place that a leader of an earlier term had committed.
    func frontier(before term: Term) -> (index: LogIndex, term: Term)? {
        frontiers.last { $0.term < term }
    }
}
