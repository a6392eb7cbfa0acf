#if CHRONIK_PLANT
internal import Raft
#endif

/// Mistakes made on purpose, to see that the simulator finds them.
///
/// Some are made around the core, by its storage or its network. Those within it exist only in
/// builds with `CHRONIK_PLANT`: released code has no trace of them.
package enum PlantedBug: String, CaseIterable, Sendable {
    /// The disk keeps the term, but not the vote given in it.
    case voteNotPersisted = "vote-not-persisted"
    /// A leader counts replicas of an entry of an earlier term.
    case commitOfOldTerm = "commit-of-old-term"
    /// Heartbeats carry the leader's commit index, whatever the follower has.
    case commitBeyondMatch = "commit-beyond-match"
    /// Acknowledgements leave while the disk still writes.
    case acknowledgementBeforeSync = "acknowledgement-before-sync"
    /// Any append cuts the log after its last entry.
    case staleAppendTruncates = "stale-append-truncates"
    /// A change of membership is taken while another is pending.
    case changeDuringPending = "change-during-pending"
    /// A snapshot installed leaves the entries after it on disk.
    case snapshotKeepsTail = "snapshot-keeps-tail"
    /// A new leader answers reads before it has committed in its term.
    case readBeforeNoOp = "read-before-no-op"
    /// A sync that failed is tried again, and then believed.
    case syncRetried = "sync-retried"
    /// Half of the voters make a majority.
    case quorumOffByOne = "quorum-off-by-one"

    /// Whether only a build with `CHRONIK_PLANT` has it.
    package var isWithinCore: Bool {
        switch self {
        case .commitOfOldTerm, .staleAppendTruncates, .readBeforeNoOp, .quorumOffByOne: true
        default: false
        }
    }

    /// Whether this build has it.
    package var isAvailable: Bool {
        #if CHRONIK_PLANT
        true
        #else
        !isWithinCore
        #endif
    }

    /// Makes the core make the mistake, if it is one of its own; nil lets it make none.
    static func plant(_ bug: PlantedBug?) {
        #if CHRONIK_PLANT
        switch bug {
        case .commitOfOldTerm: PlantedFault.inForce = .commitOfOldTerm
        case .staleAppendTruncates: PlantedFault.inForce = .staleAppendTruncates
        case .readBeforeNoOp: PlantedFault.inForce = .readBeforeNoOp
        case .quorumOffByOne: PlantedFault.inForce = .quorumOffByOne
        default: PlantedFault.inForce = nil
        }
        #endif
    }
}
