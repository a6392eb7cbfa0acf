#if CHRONIK_PLANT
/// Mistakes that code makes on purpose in builds with `CHRONIK_PLANT`, and in no others.
///
/// They show that the simulation of whole clusters would find them. One is in force at a time, for
/// the whole process. Those of the Raft core are `PlantedFault`.
package enum PlantedMistake: Sendable {
    /// The log is written, and not synced.
    case logNotSynced
    /// An fdatasync that failed is passed over.
    case syncErrorIgnored
    /// Recovery passes over the last record of each batch.
    case recoveryDropsRecords
    /// What a vote was given to is not kept.
    case voteForgotten
    /// No batch is taken for one that was sent before.
    case duplicateTaken
    /// A checkpoint has no producers.
    case producersForgotten
    /// A checkpoint vouches for segments that are not synced.
    case checkpointBeforeSync
    /// A log that came as a snapshot begins where the sender's does.
    case logStartGoesBack
    /// A batch is acknowledged when it is appended.
    case acknowledgedAtAppend
    /// A read begins one batch too late, now and then.
    case fetchSkips
    /// A commit of offsets is acknowledged whatever became of its record.
    case offsetsNotAwaited
    /// Offsets are replayed only by the replica that leads.
    case followersDoNotReplay
    /// Groups are written to their log once more whatever is under way.
    case groupsNotAwaited
    /// Decisions on metadata are answered when the node that makes them has written them.
    case decisionNotAwaited

    // Set once, before the first node is made.
    nonisolated(unsafe) package static var inForce: PlantedMistake?
}
#endif
