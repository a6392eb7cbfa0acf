extension RaftNode {
    enum CampaignKind {
        case preVote
        case election
        /// Asked for by the leader itself.
        case transfer
    }

    /// Starts an election, as if the election timeout had passed.
    ///
    /// Nothing happens where it leads already, may not lead, or has committed changes of
    /// membership it has not applied: it would count the wrong majority.
    ///
    /// - Parameter asksFirst: Whether a pre-vote finds out whether it would win, where the
    ///   configuration has it so. Without one a term is spent, and a message to and fro is saved:
    ///   for a group that nobody can have led yet.
    public mutating func campaign(asksFirst: Bool = true) {
        wake()
        startCampaign(asksFirst && configuration.preVote ? .preVote : .election)
    }

    mutating func startCampaign(_ kind: CampaignKind) {
        guard role != .leader, mayCampaign else { return }
        runCampaign(kind)
    }

    private mutating func runCampaign(_ kind: CampaignKind) {
        let isPreVote = kind == .preVote
        if isPreVote { becomePreCandidate() } else { becomeCandidate() }
        let request = Message.VoteRequest(
            lastIndex: log.lastIndex,
            lastTerm: log.lastTerm,
            isTransfer: kind == .transfer
        )
        let term = isPreVote ? self.term.next : self.term
        for voter in membership.allVoters where voter != id {
            send(isPreVote ? .preVote(request) : .vote(request), to: voter, term: term)
        }
        // A pre-vote promises nothing, so the own one counts at once. The own vote counts in
        // onPersisted.
        if isPreVote { record(vote: true, of: id) }
    }

    /// Whether it would count the right majority.
    private var mayCampaign: Bool { isPromotable && !hasUnappliedChange }

    private var hasUnappliedChange: Bool {
        var index = log.applied + 1
        while index <= log.commit {
            guard
                let entries = try? log.entries(
                    in: index..<(log.commit + 1),
                    maxBytes: configuration.maxMessageBytes
                )
            else { return true }
            if entries.contains(where: { $0.kind == .configuration }) { return true }
            index = index + entries.count
        }
        return false
    }

    func hasVoted(_ id: ReplicaID) -> Bool { votes.contains { $0.id == id } }

    /// Counts a vote, the first of each replica, and acts on the outcome.
    mutating func record(vote granted: Bool, of voter: ReplicaID) {
        if !hasVoted(voter) { votes.append((voter, granted)) }
        let result = membership.voteResult { id in votes.first { $0.id == id }?.granted }
        switch (result, role) {
        case (.pending, _): break
        // It has heard of a change since it began, or is no voter any more.
        case (.won, .preCandidate) where !mayCampaign, (.won, .candidate) where !mayCampaign:
            becomeFollower(term: term, leader: nil)
        case (.won, .preCandidate): runCampaign(.election)
        case (.won, .candidate):
            // Its own vote must be durable too, even if the others suffice: a leader that forgot
            // its term over a crash could be elected in it again, with another log.
            if hasVoted(id) { becomeLeader() }
        case (.lost, _): becomeFollower(term: term, leader: nil)
        case (.won, _): break
        }
    }

    /// Decides on a request for a vote (3.4, 3.6.1) or a pre-vote (9.6).
    mutating func answer(_ request: Message.VoteRequest, of message: Message, isPreVote: Bool) {
        // Learners answer too: the candidate's membership may be newer than ours (4.2.1).
        let isFree =
            vote == message.from || (vote == nil && leader == nil)
            || (isPreVote && message.term > term)
        let end = LogPosition(term: request.lastTerm, index: request.lastIndex)
        let grants = isFree && !isAbstaining && end >= max(log.end, earlierEnd)
        if !isPreVote && grants {
            electionElapsed = 0
            vote = message.from
        }
        let commit = grants ? nil : commitPoint
        send(
            isPreVote
                ? .preVoteResponse(granted: grants, commit: commit)
                : .voteResponse(granted: grants, commit: commit),
            to: message.from,
            term: grants ? message.term : term
        )
    }

    var commitPoint: Message.CommitPoint? {
        guard let term = try? log.term(at: log.commit) else { return nil }
        return Message.CommitPoint(index: log.commit, term: term)
    }

    /// Commits what another replica knows to be committed, if it is here: true in any term.
    mutating func learn(_ commit: Message.CommitPoint) {
        guard role != .leader, commit.index > log.commit, commit.index <= log.lastIndex,
            (try? log.term(at: commit.index)) == commit.term
        else { return }
        log.commit(through: commit.index)
    }

    /// Whether it has heard from a leader so recently that it ignores candidates (9.6, 4.2.3).
    var hasLeaderLease: Bool {
        if tickCount < promisedUntil { return true }
        return configuration.checkQuorum && leader != nil
            && electionElapsed < configuration.electionTicks
    }

    // MARK: - Time

    mutating func drawElectionTimeout() {
        let ticks = configuration.electionTicks
        switch configuration.priority {
        case 0: electionTimeout = 2 * ticks + Int.random(in: 0..<ticks, using: &generator)
        case 1: electionTimeout = ticks + Int.random(in: 0..<ticks, using: &generator)
        default: electionTimeout = ticks + Int.random(in: 0..<(ticks + 1) / 2, using: &generator)
        }
    }

    /// Sets the election timeout now in force, for tests that need to know it.
    public mutating func setElectionTimeout(ticks: Int) { electionTimeout = ticks }

    /// A tick of the clock has passed.
    public mutating func tick() {
        guard !isQuiescent else { return }
        tickCount += 1
        if role == .leader { tickLeader() } else { tickElection() }
    }

    private mutating func tickElection() {
        electionElapsed += 1
        guard electionElapsed >= electionTimeout, isPromotable else { return }
        electionElapsed = 0
        startCampaign(configuration.preVote ? .preVote : .election)
    }

    private mutating func tickLeader() {
        heartbeatElapsed += 1
        electionElapsed += 1
        if electionElapsed >= configuration.electionTicks {
            electionElapsed = 0
            if configuration.checkQuorum { checkQuorum() }
            // The transferee had an election timeout to take over (3.10).
            if role == .leader { transferee = nil }
        }
        guard role == .leader, heartbeatElapsed >= configuration.heartbeatTicks else { return }
        heartbeatElapsed = 0
        if configuration.readMode == .lease { reads.beginRound(at: tickCount) }
        broadcastHeartbeats()
        repeatTransfer()
    }

    /// Steps down unless a majority has been heard from since the last time (6.2).
    private mutating func checkQuorum() {
        let result = membership.voteResult { voter in
            voter == id || progress.of(voter)?.isRecentlyActive == true
        }
        if result != .won {
            becomeFollower(term: term, leader: nil)
            return
        }
        for place in progress.replicas.indices where progress[place].id != id {
            progress[place].isRecentlyActive = false
        }
    }
}
