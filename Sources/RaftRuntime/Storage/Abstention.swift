package import Raft

/// Why and until when a replica neither votes nor campaigns.
///
/// It may have voted, or acknowledged entries, and not know it any more. All that was in terms
/// below `until`. A leader of that term or a later one was elected without this replica's voice, so
/// it has everything that was ever committed with it; once an entry of such a term is committed
/// here, this log is as good as any other. Handed to `RaftNode.init(…, abstainUntilTerm:)`.
package struct Abstention: Equatable, Sendable {
    /// Never renumber: the values are on disk.
    package enum Reason: UInt8, Sendable {
        /// A part of the WAL that may have held records of the group is damaged.
        case damagedLog = 1
        /// It belongs to the group by what others say, and has no log at all.
        case missingLog = 2
        /// What the state machine had of the group is gone, though the WAL is not.
        case lostState = 3
    }

    package let until: Term
    package let reason: Reason

    package init(until: Term, reason: Reason) {
        self.until = until
        self.reason = reason
    }

    /// Nothing is known of the terms it voted in: it must come back under another id.
    package var isForGood: Bool { until == .unreachable }
}

extension Term {
    /// No replica ever gets there.
    package static var unreachable: Term { Term(.max) }

    /// The term after it; whatever a disk says, there is one.
    var fence: Term { self < .unreachable ? next : .unreachable }
}
