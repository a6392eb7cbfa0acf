#if CHRONIK_PLANT
/// Mistakes the core makes on purpose in builds with `CHRONIK_PLANT`, and in no others.
///
/// They show that the simulator would find them. One is in force at a time, for the whole process.
package enum PlantedFault: Sendable {
    /// A leader counts replicas of an entry of an earlier term.
    case commitOfOldTerm
    /// Any append cuts the log after its last entry.
    case staleAppendTruncates
    /// A new leader answers reads before it has committed in its term.
    case readBeforeNoOp
    /// Half of the voters make a majority.
    case quorumOffByOne

    // Set once, before the first node is made.
    nonisolated(unsafe) package static var inForce: PlantedFault?
}
#endif
