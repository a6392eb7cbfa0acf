/// How long the slowest voter of a partition has been behind its leader, as one sees it who looks
/// now and then.
///
/// Each look marks where the leader's log ends. The slowest voter is behind since the earliest mark
/// it has not reached; one that has reached all marks is not behind. So nothing is known between
/// two looks, and a voter has at least from one look to the next to catch up.
struct ReplicationLag: Sendable {
    private struct Mark {
        let nanoseconds: Int64
        let end: UInt64
    }
    private static let limit = 128

    /// The term the leader leads in.
    let term: Int32
    /// In the order of both their parts.
    private var marks: [Mark] = []

    init(term: Int32) { self.term = term }

    /// A look at `now`: the leader's log ends with `end`, and the slowest voter is known to have
    /// everything through `slowest`.
    ///
    /// - Returns: Nanoseconds.
    mutating func look(at now: Int64, end: UInt64, slowest: UInt64) -> Int64 {
        marks.removeAll { $0.end <= slowest }
        if end > slowest, end > marks.last?.end ?? 0 {
            if marks.count == Self.limit { thin() }
            marks.append(Mark(nanoseconds: now, end: end))
        }
        return marks.first.map { max(0, now - $0.nanoseconds) } ?? 0
    }

    /// Every other mark goes, but the first stays: it tells since when.
    private mutating func thin() {
        marks = stride(from: 0, to: marks.count, by: 2).map { marks[$0] }
    }
}
