/// One replica of a Raft group: the whole algorithm, and nothing else.
///
/// It has no clock, socket, file, thread or source of randomness. What happens is told to it
/// (`step`, `tick`, `propose`, …), what it wants done it says in a `Ready`, and how far that got is
/// told to it again (`onPersisted`, `onApplied`). The same calls in the same order always have the
/// same outcome. It is a value with one owner.
///
/// Section numbers in comments refer to Ongaro's thesis, "Consensus: Bridging Theory and Practice".
///
/// | role | becomes | when |
/// |---|---|---|
/// | follower | pre-candidate | no leader for an election timeout |
/// | pre-candidate | candidate | a majority would vote for it |
/// | candidate | leader | a majority has voted, its own vote durable among them |
/// | any | follower | a higher term; a leader of this term; a majority refuses |
/// | leader | follower | no majority heard (check-quorum); removed from the group |
public struct RaftNode {
    public let configuration: Configuration
    public internal(set) var role = RaftRole.follower
    public internal(set) var term: Term
    public internal(set) var vote: ReplicaID?
    public internal(set) var leader: ReplicaID?

    /// The membership as of the last entry applied.
    public internal(set) var membership: Membership

    var log: RaftLog
    var progress = ProgressTable()
    var generator: SeededGenerator

    // MARK: Elections

    var electionElapsed = 0
    var heartbeatElapsed = 0
    /// The election timeout drawn for now.
    var electionTimeout = 0
    var tickCount: UInt64 = 0
    var votes: [(id: ReplicaID, granted: Bool)] = []

    /// The tick until which it keeps what it may have promised to a leader's lease before a restart.
    var promisedUntil: UInt64 = 0

    /// See `init(…, abstainUntil:)`.
    var abstainUntil: LogIndex?
    var abstainUntilTerm: Term?
    let earlierEnd: LogPosition

    // MARK: Leading

    /// The first entry of its own term: from here on counting replicas commits (3.6.2).
    var termStart = LogIndex.zero
    /// No change of membership is proposed until this index is applied.
    var pendingChangeIndex = LogIndex.zero
    /// Leadership is being handed to this replica; no proposals meanwhile.
    var transferee: ReplicaID?
    /// Bytes of payload proposed in this term and not yet committed and handed out.
    var uncommittedBytes = 0
    var reads = ReadQueue()

    /// Appends, or news of a commit, owed to followers when the next Ready is taken.
    var owesAppends = false

    // MARK: Output

    var messages: [Message] = []
    var persistedMessages: [Message] = []
    var readStates: [ReadState] = []
    var readyNumber: UInt64 = 0
    var handedHardState: HardState
    var handedSoftState: SoftState
    var durableTerm: Term
    var durableVote: ReplicaID?

    /// Changes of membership handed out to be applied, oldest first.
    var handedChanges: [(index: LogIndex, change: ConfigurationChange)] = []

    public internal(set) var isQuiescent = false

    /// A node as it comes back from disk, or new with everything empty.
    ///
    /// The first members of a group must agree on its membership without a log: their logs start
    /// from the same snapshot at an index above 0 if others are to join later. Those start with
    /// nothing and an empty membership, and get both from their leader.
    ///
    /// - Parameters:
    ///   - configuration: Its settings.
    ///   - reader: What is durable of its log.
    ///   - hardState: What is durable of term, vote and commit index.
    ///   - membership: The membership as of `applied`, from where the state machine or its
    ///     snapshot keeps it.
    ///   - applied: How far the state machine is; what follows is handed out again.
    ///   - abstainUntil: The last index this replica may have acknowledged, if entries up to there
    ///     are lost or damaged. Until a leader has told it that it is committed that far again, it
    ///     neither votes nor campaigns: its voice would count for a log it no longer has.
    ///   - abstainUntilTerm: The same where that index is not known: a term above all in which this
    ///     replica may have voted or acknowledged, which `hardState` must have reached. A leader of
    ///     it or a later one got there without this replica, so it has everything committed with
    ///     it before. Until an entry of such a term is committed here, it abstains.
    ///   - earlierEnd: Where the log of this replica ended when it left the group, if it comes back
    ///     with no more than term and vote; of one whose term is all that is known of what it may
    ///     have promised, that term. Until its log ends there or later, it does not campaign: what
    ///     it is told again begins with memberships of the past, and in one of them it may have
    ///     been the only voter. Nor does it ever vote for a log that ends before.
    /// - Throws: `RaftConfigurationError` if these do not belong together.
    public init(
        configuration: Configuration,
        log reader: any RaftLogReader,
        hardState: HardState = HardState(),
        membership: Membership,
        applied: LogIndex = .zero,
        abstainUntil: LogIndex? = nil,
        abstainUntilTerm: Term? = nil,
        earlierEnd: LogPosition = .zero
    ) throws(RaftConfigurationError) {
        try configuration.validate()
        guard membership.isConsistent else { throw .invalid("the membership is \(membership)") }
        let first = reader.firstIndex
        let last = reader.lastIndex
        let applied = max(applied, first - 1)
        // The commit index need not be durable: what was applied is committed all the same.
        var commit = max(hardState.commit, applied)
        guard commit <= last else { throw .invalid("commit \(commit) is beyond last \(last)") }
        self.configuration = configuration
        do throws(RaftLogReadError) {
            if !configuration.disableChangeValidation {
                commit = try reader.lastChangeKnownCommitted(after: commit)
            }
            log = try RaftLog(reader: reader, commit: commit, applied: applied)
        } catch {
            throw .log(error)
        }
        // Entries are written before the hard state. If a crash came between them, no vote of the
        // entries' term was ever durable, so none was sent.
        let isBehind = hardState.term != .zero && log.lastTerm > hardState.term
        term = isBehind ? log.lastTerm : hardState.term
        vote = isBehind ? nil : hardState.vote
        self.membership = membership
        self.abstainUntil = abstainUntil
        self.abstainUntilTerm = abstainUntilTerm
        self.earlierEnd = earlierEnd
        if configuration.readMode == .lease && hardState.term > .zero {
            promisedUntil = UInt64(configuration.electionTicks)
        }
        generator = SeededGenerator(seed: configuration.randomSeed)
        handedHardState = HardState(
            term: hardState.term,
            vote: hardState.vote,
            commit: commit
        )
        handedSoftState = SoftState(role: .follower, leader: nil)
        durableTerm = hardState.term
        durableVote = hardState.vote
        followMembership()
        drawElectionTimeout()
    }

    public var id: ReplicaID { configuration.id }
    public var commit: LogIndex { log.commit }
    public var applied: LogIndex { log.applied }
    public var lastIndex: LogIndex { log.lastIndex }
    public var firstIndex: LogIndex { log.firstIndex }

    /// Whether it neither votes nor campaigns because part of its log is lost.
    public var isAbstaining: Bool { abstainUntil != nil || abstainUntilTerm != nil }

    /// Whether its log lacks what it had when it left the group.
    public var isCatchingUp: Bool { log.end < earlierEnd }

    /// Whether a majority counts on it and it has what it takes to lead.
    var isPromotable: Bool {
        membership.isVoter(id) && log.pendingSnapshot == nil && !isAbstaining && !isCatchingUp
    }

    // MARK: - Sending

    mutating func send(_ body: Message.Body, to: ReplicaID) {
        send(body, to: to, term: term)
    }

    /// Queues a message where its promise puts it.
    ///
    /// Votes and acknowledgements wait for the disk, and so does word of lost entries, which takes
    /// acknowledgements back. So does every answer in a term that is not yet durable: nothing is
    /// said in a term this replica could forget. (Own requests may leave earlier: a candidate's own
    /// vote counts only once it is durable.)
    mutating func send(_ body: Message.Body, to: ReplicaID, term: Term) {
        let message = Message(from: id, to: to, term: term, body: body)
        switch body {
        case .appendResponse, .voteResponse, .preVoteResponse, .lostEntries:
            persistedMessages.append(message)
        case .heartbeatResponse where durableTerm < self.term:
            persistedMessages.append(message)
        default:
            messages.append(message)
        }
    }

    // MARK: - Changing roles

    mutating func becomeFollower(term: Term, leader: ReplicaID?) {
        reset(to: term)
        role = .follower
        self.leader = leader
    }

    mutating func becomePreCandidate() {
        precondition(role != .leader, "a leader of term \(term) became a pre-candidate")
        role = .preCandidate
        leader = nil
        votes.removeAll(keepingCapacity: true)
    }

    mutating func becomeCandidate() {
        precondition(role != .leader, "a leader of term \(term) became a candidate")
        reset(to: term.next)
        role = .candidate
        vote = id
    }

    mutating func becomeLeader() {
        precondition(role == .candidate, "a \(role) of term \(term) became the leader")
        precondition(durableTerm == term && durableVote == id, "its vote in \(term) is not durable")
        reset(to: term)
        role = .leader
        leader = id
        if let own = progress.place(of: id) {
            progress[own].becomeReplicate()
            progress[own].isRecentlyActive = true
        }
        // A change it has in its log may or may not be committed: none is added before it knows.
        pendingChangeIndex = log.lastIndex
        termStart = log.lastIndex + 1
        log.append(RaftEntry(index: termStart, term: term, payload: .empty))
        broadcastAppends()
    }

    /// Starts a term, or another role in the same one.
    mutating func reset(to term: Term) {
        precondition(term >= self.term, "term \(term) after \(self.term)")
        if term != self.term {
            self.term = term
            vote = nil
        }
        leader = nil
        electionElapsed = 0
        heartbeatElapsed = 0
        drawElectionTimeout()
        votes.removeAll(keepingCapacity: true)
        transferee = nil
        uncommittedBytes = 0
        termStart = .zero
        pendingChangeIndex = .zero
        owesAppends = false
        reads.reset()
        let next = log.lastIndex + 1
        for place in progress.replicas.indices {
            let match = progress[place].id == id ? log.stable : .zero
            progress[place].reset(match: match, next: next)
        }
    }

    func newWindow() -> InflightWindow {
        InflightWindow(
            maxMessages: configuration.maxInflightMessages,
            maxBytes: configuration.maxInflightBytes
        )
    }

    /// Makes the table of replicas agree with the membership.
    mutating func followMembership() {
        let next = max(log.lastIndex, LogIndex(1))
        progress.follow(membership, next: next, window: newWindow())
    }
}
