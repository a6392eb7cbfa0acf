extension RaftNode {
    /// Asks for an index that, once applied, shows everything committed before this call (6.4).
    ///
    /// The answer comes as a `ReadState`. It may never come (leadership lost, messages lost): the
    /// caller asks again after a while, under a new context.
    ///
    /// - Parameter context: Given back with the answer.
    /// - Throws: `RaftProposalError` if there is nobody to ask.
    public mutating func readIndex(context: UInt64) throws(RaftProposalError) {
        wake()
        guard role == .leader else {
            guard let leader else { throw .notLeader(leader: nil) }
            send(.readIndex(context: context), to: leader, term: .zero)
            return
        }
        guard reads.count < configuration.maxPendingReads else {
            throw .tooManyPendingReads(reads.count)
        }
        takeRead(context: context, from: nil)
    }

    /// The clock stood still for longer than a tick: promises counted in ticks may be void.
    ///
    /// With lease reads the caller must say so before it asks for the next read; reads then wait
    /// for a majority until a later heartbeat is answered.
    public mutating func onClockStall() { reads.breakLease() }

    mutating func takeRead(context: UInt64, from follower: ReplicaID?) {
        guard reads.count < configuration.maxPendingReads else { return }
        let read = ReadQueue.Read(round: 0, index: .zero, context: context, follower: follower)
        if knowsCommit { begin(read) } else { reads.postpone(read) }
    }

    /// Until it has committed in its own term a leader does not know what is committed.
    private var knowsCommit: Bool {
        #if CHRONIK_PLANT
        if PlantedFault.inForce == .readBeforeNoOp { return true }
        #endif
        return log.commit >= termStart
    }

    mutating func releasePostponedReads() {
        guard !reads.postponed.isEmpty, log.commit >= termStart else { return }
        for read in reads.takePostponed() { begin(read) }
    }

    private mutating func begin(_ read: ReadQueue.Read) {
        var read = read
        read.index = log.commit
        let isAlone = membership.allVoters == [id]
        let hasLease =
            configuration.readMode == .lease && transferee == nil && reads.hasLease(at: tickCount)
        if isAlone || hasLease {
            answer(read)
            return
        }
        if !reads.isRoundOpen {
            reads.beginRound(at: tickCount)
            broadcastHeartbeats()
        }
        read.round = reads.currentRound
        reads.wait(read)
    }

    /// Answers the reads of all rounds that a majority of each voter set has answered.
    mutating func confirmReads() {
        let current = reads.currentRound
        let confirmed = membership.committedIndex { voter in
            LogIndex(voter == id ? current : progress.of(voter)?.answeredRound ?? 0)
        }
        guard confirmed > .zero, confirmed != .max else { return }
        let margin = max(1, configuration.electionTicks / 10)
        let ticks = UInt64(configuration.electionTicks - margin)
        for read in reads.confirm(confirmed.rawValue, leaseTicks: ticks) { answer(read) }
    }

    private mutating func answer(_ read: ReadQueue.Read) {
        if let follower = read.follower, follower != id {
            send(.readIndexResponse(index: read.index, context: read.context), to: follower)
        } else {
            readStates.append(ReadState(index: read.index, context: read.context))
        }
    }
}
