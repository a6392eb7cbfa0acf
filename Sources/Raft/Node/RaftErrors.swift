/// Why a proposal, a read or a transfer was not taken up; nothing has happened then.
public enum RaftProposalError: Error, Sendable, Equatable {
    /// Only the leader takes proposals; this is who it may be.
    case notLeader(leader: ReplicaID?)
    /// Leadership is being handed over; proposals are taken again if that fails.
    case transferInProgress(to: ReplicaID)
    /// This replica is no longer a member of the group it leads.
    case removed
    /// `maxUncommittedBytes` of proposals are waiting to be committed.
    case tooManyUncommittedBytes(Int)
    /// A change of membership is on its way: at most one at a time (thesis, 4.1).
    case changePending(through: LogIndex)
    /// A joint configuration must be left before anything else changes.
    case mustLeaveJoint
    /// There is no joint configuration to leave.
    case notJoint
    case invalidChange(MembershipError)
    /// `maxPendingReads` are waiting.
    case tooManyPendingReads(Int)
    /// The replica is not a voter, or not known at all.
    case notAVoter(ReplicaID)
    /// Handing over to oneself, or a second time to the same replica.
    case nothingToTransfer
}

/// Why a message was not accepted; the state has not changed.
public enum RaftStepError: Error, Sendable, Equatable {
    /// It is addressed to somebody else.
    case notAddressedHere(ReplicaID)
    /// An answer from a replica that is not a member.
    case unknownPeer(ReplicaID)
    /// It contradicts itself.
    case malformed(String)
    /// The part of the log needed to answer is still being fetched; the sender tries again.
    case logUnavailable
    /// The leader believes this replica has entries it has not: its log has lost some.
    ///
    /// It must not go on as a voter; see ``RaftNode/goOnWithoutLostEntries(in:abstaining:)``.
    case commitBeyondLog(commit: LogIndex, last: LogIndex)
    /// The leader's log contradicts a committed entry: one of the two is damaged.
    case conflictsWithCommitted(index: LogIndex, commit: LogIndex)
    /// A proposal forwarded by a peer was refused.
    case proposal(RaftProposalError)
}

/// Why a node cannot be made from this configuration or this log.
public enum RaftConfigurationError: Error, Sendable, Equatable {
    case invalid(String)
    case log(RaftLogReadError)
}
