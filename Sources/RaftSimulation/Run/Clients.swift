internal import Raft

/// What clients proposed and read, and what came of it.
struct Clients {
    struct Proposal {
        /// Where it got its place; nil while a follower passes it on.
        var receipt: ProposalReceipt?
        var isForwarded = false
        var isAcknowledged = false
        var appliedAt: LogIndex?
    }

    private(set) var proposals: [Proposal] = []
    private var reads: [(committed: LogIndex, isPending: Bool)] = []
    private(set) var acknowledged = 0
    private(set) var answeredReads = 0

    /// New content, with some bytes more behind it.
    mutating func newContent(padding: Int) -> (content: Int, payload: RaftPayload) {
        proposals.append(Proposal())
        let content = proposals.count
        let bytes = UInt64(content).bigEndianBytes + [UInt8](repeating: 7, count: padding)
        return (content, RaftPayload(copying: bytes))
    }

    mutating func proposed(_ content: Int, _ receipt: ProposalReceipt) {
        proposals[content - 1].receipt = receipt
    }

    mutating func forwarded(_ content: Int) { proposals[content - 1].isForwarded = true }

    mutating func refused(_ content: Int) {
        // Nothing of it may ever be seen.
    }

    func isAcknowledged(_ content: Int) -> Bool { proposals[content - 1].isAcknowledged }

    /// An entry was applied somewhere; answers what is wrong with that.
    mutating func applied(_ entry: RaftEntry) -> String? {
        guard entry.kind == .normal, !entry.payload.isEmpty else { return nil }
        let content = Int(truncatingIfNeeded: UInt64(leadingBytes: entry.payload))
        guard content > 0, content <= proposals.count else { return "\(content) was not proposed" }
        let proposal = proposals[content - 1]
        guard proposal.isForwarded || proposal.receipt != nil else {
            return "\(content) was refused, and applied at \(entry.index)"
        }
        if let other = proposal.appliedAt, other != entry.index, !proposal.isForwarded {
            return "\(content) applied at \(other) and \(entry.index)"
        }
        proposals[content - 1].appliedAt = entry.index
        guard let receipt = proposal.receipt else { return nil }
        if receipt.first != entry.index || receipt.term != entry.term {
            return "\(content) applied at \(entry.index), its place was \(receipt.first)"
        }
        if !proposal.isAcknowledged {
            proposals[content - 1].isAcknowledged = true
            acknowledged += 1
        }
        return nil
    }

    mutating func newRead(committed: LogIndex) -> UInt64 {
        reads.append((committed, true))
        return UInt64(reads.count)
    }

    /// The answer to a read; what was committed when it began, or nil if it was answered before.
    mutating func answered(_ context: UInt64) -> LogIndex? {
        let place = Int(truncatingIfNeeded: context) - 1
        guard reads.indices.contains(place), reads[place].isPending else { return nil }
        reads[place].isPending = false
        answeredReads += 1
        return reads[place].committed
    }

    func isAnswered(_ context: UInt64) -> Bool { !reads[Int(context) - 1].isPending }
}
