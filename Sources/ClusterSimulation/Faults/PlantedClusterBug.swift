#if CHRONIK_PLANT
import Platform
internal import Raft
#endif

/// Mistakes that can be made on purpose, to see that they are found.
///
/// But for the disk's they exist only in builds with `CHRONIK_PLANT`.
package enum PlantedClusterBug: String, Sendable, CaseIterable {
    case lyingSync = "lying-sync"
    case logNotSynced = "log-not-synced"
    case syncErrorIgnored = "sync-error-ignored"
    case recoveryDropsRecords = "recovery-drops-records"
    case voteForgotten = "vote-forgotten"
    case commitOfOldTerm = "commit-of-old-term"
    case staleAppendTruncates = "stale-append-truncates"
    case quorumOffByOne = "quorum-off-by-one"
    case duplicateTaken = "duplicate-taken"
    case producersForgotten = "producers-forgotten"
    case checkpointBeforeSync = "checkpoint-before-sync"
    case logStartGoesBack = "log-start-goes-back"
    case acknowledgedAtAppend = "acknowledged-at-append"
    case fetchSkips = "fetch-skips"
    case offsetsNotAwaited = "offsets-not-awaited"
    case followersDoNotReplay = "followers-do-not-replay"
    case groupsNotAwaited = "groups-not-awaited"
    case decisionNotAwaited = "decision-not-awaited"

    /// Whether this build has it.
    package var isAvailable: Bool {
        #if CHRONIK_PLANT
        true
        #else
        self == .lyingSync
        #endif
    }

    /// Makes the nodes make the mistake; `nil` lets them make none.
    static func plant(_ bug: PlantedClusterBug?) {
        #if CHRONIK_PLANT
        PlantedFault.inForce = bug?.fault
        PlantedMistake.inForce = bug?.mistake
        #endif
    }

    #if CHRONIK_PLANT
    private var fault: PlantedFault? {
        switch self {
        case .commitOfOldTerm: .commitOfOldTerm
        case .staleAppendTruncates: .staleAppendTruncates
        case .quorumOffByOne: .quorumOffByOne
        default: nil
        }
    }

    private var mistake: PlantedMistake? {
        switch self {
        case .logNotSynced: .logNotSynced
        case .syncErrorIgnored: .syncErrorIgnored
        case .recoveryDropsRecords: .recoveryDropsRecords
        case .voteForgotten: .voteForgotten
        case .duplicateTaken: .duplicateTaken
        case .producersForgotten: .producersForgotten
        case .checkpointBeforeSync: .checkpointBeforeSync
        case .logStartGoesBack: .logStartGoesBack
        case .acknowledgedAtAppend: .acknowledgedAtAppend
        case .fetchSkips: .fetchSkips
        case .offsetsNotAwaited: .offsetsNotAwaited
        case .followersDoNotReplay: .followersDoNotReplay
        case .groupsNotAwaited: .groupsNotAwaited
        case .decisionNotAwaited: .decisionNotAwaited
        default: nil
        }
    }
    #endif
}
