public import Raft

/// Why a replica did not do what was asked; nothing has happened unless the case says otherwise.
public enum RaftError: Error, Equatable, Sendable {
    case notLeader(leader: ReplicaID?)
    /// Too much is waiting to be committed; try again.
    case overloaded
    /// Leadership was lost before the entry was known to be committed: it may yet be.
    case outcomeUnknown
    /// The log could not be written; this replica takes no part any more.
    case storageFailed
    /// The replica was stopped or removed.
    case stopped
    case rejected(RaftProposalError)

    init(_ error: RaftProposalError) {
        self =
            switch error {
            case .notLeader(let leader): .notLeader(leader: leader)
            case .tooManyUncommittedBytes, .tooManyPendingReads, .transferInProgress: .overloaded
            default: .rejected(error)
            }
    }
}
