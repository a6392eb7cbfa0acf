/// Where proposals got their place in the log.
///
/// They are committed if an entry of this term at `last` is applied; if another term's entry
/// appears there, they are lost.
public struct ProposalReceipt: Sendable, Equatable {
    public var first: LogIndex
    public var last: LogIndex
    public var term: Term

    public init(first: LogIndex, last: LogIndex, term: Term) {
        self.first = first
        self.last = last
        self.term = term
    }
}

extension RaftNode {
    /// Appends entries to the log of the leader, all or none.
    ///
    /// - Parameter payloads: At least one; each becomes an entry.
    /// - Returns: Where they are in the log.
    /// - Throws: `RaftProposalError`; then none of them is in the log.
    @discardableResult
    public mutating func propose(
        _ payloads: [RaftPayload]
    ) throws(RaftProposalError) -> ProposalReceipt {
        precondition(!payloads.isEmpty, "a proposal without payloads")
        var bytes = 0
        for payload in payloads { bytes += payload.count }
        try admit(bytes: bytes)
        let first = log.lastIndex + 1
        var index = first
        for payload in payloads {
            log.append(RaftEntry(index: index, term: term, payload: payload))
            index = index + 1
        }
        broadcastAppends()
        return ProposalReceipt(first: first, last: log.lastIndex, term: term)
    }

    /// Appends one entry to the log of the leader.
    @discardableResult
    public mutating func propose(
        _ payload: RaftPayload
    ) throws(RaftProposalError) -> ProposalReceipt {
        try admit(bytes: payload.count)
        let index = log.lastIndex + 1
        log.append(RaftEntry(index: index, term: term, payload: payload))
        broadcastAppends()
        return ProposalReceipt(first: index, last: index, term: term)
    }

    /// Appends a change of membership to the log of the leader.
    ///
    /// It takes effect on each replica when that applies it (`onApplied`). Only one is under way
    /// at any time (4.1): until the last one is applied here, others are refused.
    @discardableResult
    public mutating func propose(
        _ change: ConfigurationChange
    ) throws(RaftProposalError) -> ProposalReceipt {
        try admit(bytes: 0)
        try check(change)
        return append(change.encoded())
    }

    private mutating func append(_ payload: RaftPayload) -> ProposalReceipt {
        let index = log.lastIndex + 1
        uncommittedBytes += payload.count
        log.append(RaftEntry(index: index, term: term, kind: .configuration, payload: payload))
        pendingChangeIndex = index
        broadcastAppends()
        return ProposalReceipt(first: index, last: index, term: term)
    }

    /// Whether it leads in that term and appends what is proposed, as long as that is not too much.
    ///
    /// `mutating` only so that it is asked in place: a copy of a node counts references to all of
    /// its parts, and this is asked for every batch.
    public mutating func takesProposals(in term: Term) -> Bool {
        self.term == term && role == .leader && transferee == nil && progress.place(of: id) != nil
    }

    /// Whether this replica may append so much now.
    private mutating func admit(bytes: Int) throws(RaftProposalError) {
        guard role == .leader else { throw .notLeader(leader: leader) }
        guard progress.place(of: id) != nil else { throw .removed }
        if let transferee { throw .transferInProgress(to: transferee) }
        // A single proposal larger than the limit must get through some time.
        if bytes > 0 && uncommittedBytes > 0
            && uncommittedBytes + bytes > configuration.maxUncommittedBytes
        {
            throw .tooManyUncommittedBytes(uncommittedBytes)
        }
        wake()
        uncommittedBytes += bytes
    }

    /// Passes proposals on to the leader, which gives no receipt.
    public mutating func forwardProposal(
        _ payloads: [RaftPayload]
    ) throws(RaftProposalError) {
        guard let leader, leader != id, !configuration.disableProposalForwarding else {
            throw .notLeader(leader: leader)
        }
        wake()
        let proposals = payloads.map { Message.Proposal(payload: $0) }
        send(.propose(proposals), to: leader, term: .zero)
    }

    /// Takes proposals that a follower passed on, or passes them on in turn.
    mutating func take(_ proposals: [Message.Proposal]) throws(RaftProposalError) {
        guard role == .leader else {
            guard let leader, !configuration.disableProposalForwarding else {
                throw .notLeader(leader: leader)
            }
            send(.propose(proposals), to: leader, term: .zero)
            return
        }
        for proposal in proposals {
            switch proposal.kind {
            case .normal:
                try propose(proposal.payload)
            case .configuration:
                // Unreadable, it would change nothing: it is not worth an entry.
                guard let change = try? ConfigurationChange(decoding: proposal.payload) else {
                    break
                }
                try propose(change)
            }
        }
    }

    // MARK: - Membership (4)

    private func check(_ change: ConfigurationChange) throws(RaftProposalError) {
        if configuration.disableChangeValidation { return }
        if pendingChangeIndex > log.applied { throw .changePending(through: pendingChangeIndex) }
        if membership.isJoint && !change.leavesJoint { throw .mustLeaveJoint }
        if !membership.isJoint && change.leavesJoint { throw .notJoint }
        do throws(MembershipError) {
            _ = try membership.applying(change)
        } catch {
            throw .invalidChange(error)
        }
    }

    mutating func carryOutChanges(through index: LogIndex) {
        while let (place, change) = handedChanges.first, place <= index {
            handedChanges.removeFirst()
            // A change that does not fit changes nothing, on every replica alike.
            guard let next = try? membership.applying(change) else { continue }
            adopt(next)
        }
    }

    private mutating func adopt(_ next: Membership) {
        membership = next
        followMembership()
        guard role == .leader else { return }
        if !next.isVoter(id) && configuration.stepDownOnRemoval {
            becomeFollower(term: term, leader: nil)
            return
        }
        // Those that are left may be a majority that has answered already.
        confirmReads()
        if advanceCommit() {
            broadcastAppends()
        } else {
            // New replicas are asked at once how far they are.
            for place in progress.replicas.indices where progress[place].id != id {
                sendAppend(to: place, evenIfEmpty: false)
            }
        }
        if let transferee, !next.isVoter(transferee) { self.transferee = nil }
    }

    /// Ends a joint configuration that ends by itself, once nothing else is pending (4.3).
    mutating func leaveJointIfDue() {
        guard role == .leader, membership.autoLeave, log.applied >= pendingChangeIndex,
            progress.place(of: id) != nil
        else { return }
        _ = append(RaftPayload.empty)
    }
}
