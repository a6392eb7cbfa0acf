extension RaftNode {
    /// Appends what the leader sends, if the log matches (3.5).
    mutating func accept(
        _ append: Message.Append,
        from leader: ReplicaID
    ) throws(RaftStepError) {
        if append.previousIndex < log.commit {
            // Old: everything committed matches.
            acknowledge(log.commit, to: leader)
            return
        }
        guard try matches(append.previousIndex, append.previousTerm) else {
            reject(append, from: leader)
            return
        }
        let last = append.previousIndex + append.entries.count
        if let conflict = try firstNew(of: append) {
            let index = append.entries[conflict].index
            guard index > log.commit else {
                throw .conflictsWithCommitted(index: index, commit: log.commit)
            }
            log.replace(with: append.entries[conflict...])
        }
        log.commit(through: min(append.commit, last))
        liftAbstention()
        acknowledge(last, to: leader)
    }

    private mutating func acknowledge(_ index: LogIndex, to leader: ReplicaID) {
        send(.appendResponse(Message.AppendResponse(index: index)), to: leader)
    }

    private func matches(_ index: LogIndex, _ term: Term) throws(RaftStepError) -> Bool {
        do throws(RaftLogReadError) {
            return try log.matches(index, term)
        } catch {
            throw .logUnavailable
        }
    }

    /// The first entry the log does not hold; those it holds are never written again, however old
    /// or repeated the message is.
    private func firstNew(of append: Message.Append) throws(RaftStepError) -> Int? {
        if append.entries.isEmpty { return nil }
        #if CHRONIK_PLANT
        if PlantedFault.inForce == .staleAppendTruncates {
            return append.entries.firstIndex { $0.index > log.commit }
        }
        #endif
        if append.previousIndex == log.lastIndex { return 0 }
        for place in append.entries.indices {
            let entry = append.entries[place]
            if entry.index > log.lastIndex { return place }
            if try !matches(entry.index, entry.term) { return place }
        }
        return nil
    }

    private mutating func reject(_ append: Message.Append, from leader: ReplicaID) {
        let (index, term) = log.lastIndex(
            upTo: min(append.previousIndex, log.lastIndex),
            termAtMost: append.previousTerm
        )
        let rejection = Message.Rejection(index: index, term: term ?? .zero)
        send(
            .appendResponse(
                Message.AppendResponse(index: append.previousIndex, rejection: rejection)
            ),
            to: leader
        )
        reportLostEntries(to: leader)
    }

    /// A leader that counts on entries this replica has lost would not look for them.
    private mutating func reportLostEntries(to leader: ReplicaID) {
        if isAbstaining { send(.lostEntries(last: log.lastIndex), to: leader) }
    }

    mutating func accept(
        _ heartbeat: Message.Heartbeat,
        from leader: ReplicaID
    ) throws(RaftStepError) {
        if heartbeat.commit > log.lastIndex {
            reportLostEntries(to: leader)
            throw .commitBeyondLog(commit: heartbeat.commit, last: log.lastIndex)
        }
        log.commit(through: heartbeat.commit)
        liftAbstention()
        if heartbeat.quiesce && heartbeat.commit == log.lastIndex {
            isQuiescent = true
        } else {
            send(.heartbeatResponse(round: heartbeat.round), to: leader)
        }
    }

    /// Starts over from a snapshot, unless the log holds what it stands for (5).
    mutating func accept(
        _ snapshot: Snapshot,
        from leader: ReplicaID
    ) throws(RaftStepError) {
        let metadata = snapshot.metadata
        // It may be older than this replica's membership: the log that follows will add it.
        if metadata.index <= log.commit {
            acknowledge(log.commit, to: leader)
            return
        }
        if try matches(metadata.index, metadata.term) {
            log.commit(through: metadata.index)
            liftAbstention()
            acknowledge(log.commit, to: leader)
            return
        }
        log.restore(snapshot)
        handedChanges.removeAll()
        membership = metadata.membership
        followMembership()
        liftAbstention()
        acknowledge(log.lastIndex, to: leader)
    }

    /// Goes on without entries that it had acknowledged and has no more, as the leader's word shows:
    /// ``RaftStepError/commitBeyondLog(commit:last:)``.
    ///
    /// As after a start that finds them lost it listens to no leader of before, so that the next one
    /// is elected by those that have everything: see `init(…, abstainUntilTerm:)`.
    ///
    /// - Parameters:
    ///   - term: Above all terms in which it may have voted or acknowledged; it goes there.
    ///   - abstaining: `false` of two voters: the other has everything and needs its vote.
    public mutating func goOnWithoutLostEntries(in term: Term, abstaining: Bool) {
        precondition(term > self.term, "term \(term) is not above \(self.term)")
        becomeFollower(term: term, leader: nil)
        if abstaining { abstainUntilTerm = max(term, abstainUntilTerm ?? .zero) }
    }

    /// What it may have promised is committed again, and here.
    private mutating func liftAbstention() {
        if let abstainUntil, log.commit >= abstainUntil { self.abstainUntil = nil }
        if let abstainUntilTerm, let term = try? log.term(at: log.commit), term >= abstainUntilTerm
        {
            self.abstainUntilTerm = nil
        }
    }
}
