/// Reads that wait for a majority to confirm that their leader still leads (6.4).
///
/// Each batch of reads belongs to a numbered heartbeat round that left after they came. An answer
/// carries the number of the round it answers, so a late answer to an earlier round, or a repeated
/// one, never confirms a read that came after.
struct ReadQueue {
    struct Read {
        var round: UInt64
        var index: LogIndex
        var context: UInt64
        /// The follower that asked, or nil for this replica.
        var follower: ReplicaID?
    }

    /// The last round begun; heartbeats carry it.
    private(set) var currentRound: UInt64 = 0
    /// Whether the current round's heartbeats are still here, so that further reads may join it.
    private(set) var isRoundOpen = false
    private(set) var waiting: [Read] = []

    /// Reads that came before the leader committed an entry of its own term.
    private(set) var postponed: [Read] = []

    /// When rounds began, for the lease; oldest first.
    private var begun: [(round: UInt64, tick: UInt64)] = []
    private var leaseUntil: UInt64 = 0
    private var isLeaseForfeited = false

    var count: Int { waiting.count + postponed.count }

    mutating func reset() { self = ReadQueue() }

    mutating func beginRound(at tick: UInt64) {
        currentRound += 1
        isRoundOpen = true
        begun.append((currentRound, tick))
        if begun.count > 64 { begun.removeFirst(32) }
    }

    mutating func closeRound() { isRoundOpen = false }

    mutating func wait(_ read: Read) { waiting.append(read) }

    mutating func postpone(_ read: Read) { postponed.append(read) }

    mutating func takePostponed() -> [Read] {
        let reads = postponed
        postponed.removeAll()
        return reads
    }

    /// A majority has answered this round: takes out the reads that waited for it.
    mutating func confirm(_ round: UInt64, leaseTicks: UInt64) -> [Read] {
        var latest: UInt64?
        while let first = begun.first, first.round <= round {
            latest = first.tick
            begun.removeFirst()
        }
        if let latest { leaseUntil = max(leaseUntil, latest + leaseTicks) }
        let count = waiting.firstIndex { $0.round > round } ?? waiting.count
        guard count > 0 else { return [] }
        let confirmed = Array(waiting[..<count])
        waiting.removeFirst(count)
        return confirmed
    }

    func hasLease(at tick: UInt64) -> Bool { !isLeaseForfeited && tick < leaseUntil }

    /// No lease any more in this term: somebody was told to campaign regardless of it.
    mutating func forfeitLease() { isLeaseForfeited = true }

    /// What was promised before now is not relied on.
    mutating func breakLease() {
        leaseUntil = 0
        begun.removeAll()
    }
}
