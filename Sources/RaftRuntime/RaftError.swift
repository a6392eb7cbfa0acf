public import Raft

/// Why a replica did not do what was asked; nothing has happened unless the case says otherwise.
public enum RaftError: Error, Equatable, Sendable {
    /// Only the leader can do it; this is who it may be.
    case notLeader(leader: ReplicaID?)
    /// Too much is waiting to be committed; try again.
    case overloaded
    /// Leadership was lost before the entry was known to be committed: it may yet be.
    case outcomeUnknown
    /// A read was not confirmed in time; it may be asked again.
    case timedOut
    /// The log could not be written; this replica takes no part any more.
    case storageFailed
    /// The leader's log contradicts an entry this replica knows to be committed.
    case logConflict(index: LogIndex, commit: LogIndex)
    /// The state machine could not take over a snapshot.
    case snapshotFailed(String)
    /// This node has no replica of the group.
    case unknownGroup(UInt64)
    /// A change of the membership is under way; try again once it is through.
    case changePending
    /// Others cannot join a group whose log starts from nothing: they would not learn who
    /// belonged to it.
    case logHasNoBase
    /// The replica was stopped or removed.
    case stopped
    case rejected(RaftProposalError)

    init(_ error: RaftProposalError) {
        self =
            switch error {
            case .notLeader(let leader): .notLeader(leader: leader)
            // Nothing was appended, and another is about to lead.
            case .transferInProgress(let target): .notLeader(leader: target)
            case .tooManyUncommittedBytes, .tooManyPendingReads: .overloaded
            case .changePending: .changePending
            default: .rejected(error)
            }
    }
}
