package import Bytes
package import Raft
package import WriteAheadLog

/// What of a group may have been lost with a damaged part of the WAL.
///
/// | doubt | ends with | because |
/// |---|---|---|
/// | entries | an entry that follows the last one in its term, or the committed ones | none before it was replaced |
/// | entries | a state record that names the log's end as it was found | equal ends are equal logs |
/// | votes | a state record | it has term and vote as of then |
///
/// Until then entries are passed over: what lies between them and the log's end is not known.
struct Doubt {
    /// Above every term in which the group may have written what is lost or passed over.
    var fence: Term
    /// Known before the damage: up to here no entry was ever replaced.
    var committed: LogIndex
    var entries = true
    var votes = true
}

extension WALRaftStorage {
    /// Takes in a record the WAL found on start; called in log order.
    package func recover(
        kind: WALRecord.Kind,
        term: UInt64,
        index: UInt64,
        payload: ByteSlice,
        at position: WALPosition
    ) throws(MalformedBytes) {
        if let fence = doubt?.fence { doubt?.fence = max(fence, Term(term).fence) }
        switch kind {
        case .entry:
            recover(index, term, .normal, .empty, at: position)
        case .configurationEntry:
            // Few and small; needed to know the membership where the log begins.
            recover(index, term, .configuration, RaftPayload(copying: payload.array), at: position)
        case .hardState:
            let record = try GroupStateRecord(decoding: payload, term: term)
            take(record, at: position)
            isRemoved = false
            recover(base: record.base)
            if doubt == nil { recoverEnd(of: record) } else { resolveDoubt(record) }
        case .snapshotMetadata, .groupRemoved:
            let record = try GroupStateRecord(decoding: payload, term: term)
            take(record, at: position)
            isRemoved = kind == .groupRemoved
            recordedBase = record.base
            startOver(at: record.base)
            doubt = nil
        case .truncateSuffix: return
        }
    }

    private func take(_ record: GroupStateRecord, at position: WALPosition) {
        hardState = record.hardState
        abstention = record.abstention
        earlierEnd = record.earlierEnd
        stateFile = position.file
    }

    private func recover(base recorded: SnapshotMetadata) {
        if recorded.index >= recordedBase.index { recordedBase = recorded }
        guard recorded.index >= window.base else {
            // The entries between went with files that were freed; a change of membership among
            // them would have its own record, durable before its file could go.
            base.membership = recorded.membership
            return
        }
        if recorded.index == window.base {
            base = recorded
            window.setBaseTerm(recorded.term)
        } else if window.contains(recorded.index), window[recorded.index].term == recorded.term {
            dropPrefix(through: recorded.index)
            base = recorded
        } else {
            startOver(at: recorded)
        }
        if let committed = doubt?.committed { doubt?.committed = max(committed, recorded.index) }
    }

    /// What was found beyond the end that a state record names was no part of the log any more:
    /// damage that went with its file since had parted it from the rest.
    private func recoverEnd(of record: GroupStateRecord) {
        guard record.last < lastIndex else { return }
        guard record.last < window.base else { return truncateSuffix(from: record.last + 1) }
        startOver(
            at: SnapshotMetadata(
                index: record.last,
                term: record.lastTerm,
                membership: base.membership
            )
        )
    }

    private func recover(
        _ rawIndex: UInt64,
        _ rawTerm: UInt64,
        _ kind: RaftEntry.Kind,
        _ payload: RaftPayload,
        at position: WALPosition
    ) {
        let index = LogIndex(rawIndex)
        let term = Term(rawTerm)
        guard index > min(window.base, recordedBase.index) else { return }
        // Moved to a later file, maybe not together with those that follow it: where it was counts,
        // as long as that is there.
        if window.contains(index), window[index].term == term { return }
        if let doubt, doubt.entries {
            let follows = index == lastIndex + 1 && term == lastTerm
            guard follows || index <= doubt.committed + 1 else { return }
            self.doubt?.entries = false
        }
        if index > lastIndex + 1 || index <= window.base {
            // The entries before it went with a file that was freed: the state machine has them, or
            // ``finishRecovery(applied:term:)`` will tell. Or what was first so far, this one
            // replaces, and those it follows were in that file.
            startOver(before: index)
        } else if index <= lastIndex {
            truncateSuffix(from: index)
        }
        if kind == .configuration { changes.append(index) }
        window.append(
            Slot(
                term: term,
                kind: kind,
                isLoaded: kind == .configuration,
                payload: payload,
                position: position
            )
        )
    }

    private func startOver(before index: LogIndex) {
        let known = recordedBase.index < index ? recordedBase : base
        startOver(
            at: SnapshotMetadata(
                index: index - 1,
                term: known.index == index - 1 ? known.term : .zero,
                membership: index <= window.base ? known.membership : base.membership
            )
        )
    }

    // MARK: Damage

    /// Records of this group may have been lost here, none of a term above `highestTerm`.
    package func recoverDamage(highestTerm: Term) {
        let known = min(window.base, recordedBase.index)
        let committed = min(max(hardState.commit, known), lastIndex)
        let fence = max(highestTerm.fence, doubt?.fence ?? .zero)
        doubt = Doubt(fence: fence, committed: min(committed, doubt?.committed ?? committed))
        lost = fence
    }

    private func resolveDoubt(_ record: GroupStateRecord) {
        guard var doubt else { return }
        doubt.votes = false
        if doubt.entries, record.last >= window.base, record.last <= lastIndex,
            (try? window.term(at: record.last)) == record.lastTerm
        {
            truncateSuffix(from: record.last + 1)
            doubt.entries = false
        }
        self.doubt = doubt.entries ? doubt : nil
    }

    /// Whether entries or a vote may have been lost that this replica had promised to keep.
    package var isInDoubt: Bool { doubt != nil }

    /// Whether any other replica has what this one may have lost.
    package func hasOtherVoters(than replica: ReplicaID) -> Bool {
        let membership = memberships(from: hardState.commit)[0]
        return (membership.voters + membership.outgoingVoters).contains { $0 != replica }
    }

    /// The membership as of `commit`, and after each change that follows.
    private func memberships(from commit: LogIndex) -> [Membership] {
        var known = base
        var all = [known.membership]
        for change in changes {
            known.pass(entry(at: change))
            if change <= commit { all = [] }
            all.append(known.membership)
        }
        return all
    }

    /// Whether `replica` is one of its group's two voters, for sure, and `other`, if any is named, is
    /// the second: then that has all that was ever committed, and needs this one's vote.
    ///
    /// With a learner, the change that makes a third voter of it may be among what is lost.
    private func isOneOfTwo(
        _ replica: ReplicaID?,
        and other: ReplicaID? = nil,
        from commit: LogIndex
    ) -> Bool {
        memberships(from: commit).allSatisfy { membership in
            let voters = membership.voters
            return !membership.isJoint && voters.count == 2 && membership.members == voters
                && [replica, other ?? replica].allSatisfy { $0.map(voters.contains) ?? false }
        }
    }

    /// No other voter has what this one may have lost: a gap in its log is an error, whatever the
    /// reason.
    func cannotBeRepaired() { lost = nil }

    /// Everything this replica may ever have promised was in terms below `until`.
    package func abstain(until term: Term, _ reason: Abstention.Reason) {
        abstention = Abstention(until: max(term, abstention?.until ?? .zero), reason: reason)
    }

    /// Goes on without what may be lost, in a way that breaks no promise.
    ///
    /// A vote it forgot was for a term below the fence, and it takes part in none of those any
    /// more; of entries it abstains, unless it is one of two. The new state is staged at once: read
    /// after the damage, it says that this log is all there is.
    func settleDoubt() {
        guard let doubt else { return }
        self.doubt = nil
        if doubt.entries && !isOneOfTwo(replica, from: max(hardState.commit, doubt.committed)) {
            abstain(until: doubt.fence, .damagedLog)
        }
        if hardState.term < doubt.fence {
            hardState.term = doubt.fence
            hardState.vote = nil
        }
        hardState.commit = min(hardState.commit, lastIndex)
        stageState()
    }

    /// It has no entry, but knows of some that were committed: only the state machine had them, and
    /// the files of the log they had been in are freed.
    package var leavesAllToStateMachine: Bool {
        lastIndex == window.base && hardState.commit > lastIndex && !isInDoubt && abstention == nil
    }

    /// What the state machine had is gone: the replica starts over with an empty log, to be filled
    /// by a leader, in a way that breaks no promise.
    ///
    /// The entries it acknowledged were committed, or may have been; as after damage it goes to the
    /// fence and abstains, so that the next leader is elected by those that have them, unless it is one
    /// of two. That there are others is for the caller to make sure of.
    package func startOverWithoutState() { startOver(after: .zero, .zero, .lostState) }

    /// A leader of `term` counts on entries that are gone, and no damage was found: it was at the end
    /// of the WAL, where it looks as if a crash had torn what was being written.
    ///
    /// A vote may be gone with them, for a term that had no leader yet: not many above this one. What
    /// is left was all committed: `leader` counted on more.
    ///
    /// - Returns: The term to go on in, and whether to abstain in it.
    func lostEnd(
        in term: Term,
        of replica: ReplicaID,
        toldBy leader: ReplicaID
    ) -> (term: Term, abstains: Bool) {
        let fence = Term(term.rawValue + Self.lostVotes)
        let abstains = !isOneOfTwo(replica, and: leader, from: lastIndex)
        if abstains { abstain(until: fence, .damagedLog) }
        return (fence, abstains)
    }

    private static let lostVotes: UInt64 = 16

    /// Nothing of the log counts but what the state machine holds, through `index`.
    private func startOver(after index: LogIndex, _ term: Term, _ reason: Abstention.Reason) {
        let fence = max(hardState.term, lastTerm, doubt?.fence ?? .zero, lost ?? .zero).fence
        let membership = base.membership
        let abstains = !isOneOfTwo(replica, from: hardState.commit)
        doubt = nil
        startOver(at: SnapshotMetadata(index: index, term: term, membership: membership))
        if abstains { abstain(until: fence, reason) }
        hardState = HardState(term: fence, vote: nil, commit: index)
        stage(.snapshotMetadata)
    }

    /// Ends recovery: the state machine holds everything through `index`.
    ///
    /// - Parameters:
    ///   - index: The last entry applied.
    ///   - term: Its term.
    ///   - membership: The membership as of there, if the state machine keeps it; else it is what
    ///     the log knows.
    /// - Throws: when entries that were acknowledged are nowhere and there was no damage to explain
    ///   it: `.compacted` if they should lie between there and the first that was found,
    ///   `.beyondLastIndex` if after the last.
    package func finishRecovery(
        applied index: LogIndex,
        term: Term,
        membership: Membership? = nil
    ) throws(RaftLogReadError) {
        if index < window.base {
            // Moved to a file that is damaged, from one that was freed, and not all of them.
            guard lost != nil else { throw .compacted }
            startOver(after: index, term, .damagedLog)
        }
        dropPrefix(through: min(index, lastIndex))
        // A snapshot was installed that the log knows nothing of, or contradicts.
        if window.base < index || (window.baseTerm != .zero && window.baseTerm != term) {
            startOver(
                at: SnapshotMetadata(
                    index: index,
                    term: term,
                    membership: membership ?? base.membership
                )
            )
        }
        replacedFile = nil
        window.setBaseTerm(term)
        base.term = term
        if let membership { base.membership = membership }
        settleDoubt()
        if abstention != nil { hardState.commit = min(hardState.commit, lastIndex) }
        guard hardState.commit <= lastIndex else { throw .beyondLastIndex }
        hardState.commit = max(hardState.commit, window.base)
        if hardState.term < term { hardState.term = term }
    }
}
