/// What replicas of a group say to each other.
///
/// Messages may be lost, repeated and reordered; a transport that keeps their order per peer saves
/// retries. A message carries the term of its sender; 0 only where the sender acts for a client
/// (`propose`, `readIndex`, `transferLeader`).
public struct Message: Sendable, Equatable {
    public var from: ReplicaID
    public var to: ReplicaID
    public var term: Term
    public var body: Body

    public init(from: ReplicaID, to: ReplicaID, term: Term, body: Body) {
        self.from = from
        self.to = to
        self.term = term
        self.body = body
    }

    public enum Body: Sendable, Equatable {
        /// Entries to append, from the leader (thesis, 3.5).
        case append(Append)
        case appendResponse(AppendResponse)
        /// A candidate asks for a vote (thesis, 3.4).
        case vote(VoteRequest)
        /// A refusal says what is committed, see `CommitPoint`.
        case voteResponse(granted: Bool, commit: CommitPoint? = nil)
        /// Would you vote for me? Changes nobody's term (thesis, 9.6).
        case preVote(VoteRequest)
        case preVoteResponse(granted: Bool, commit: CommitPoint? = nil)
        case heartbeat(Heartbeat)
        case heartbeatResponse(round: UInt64)
        /// The follower's log has lost entries it once acknowledged; it ends here now.
        case lostEntries(last: LogIndex)
        /// The state machine's state instead of entries the leader has no more (thesis, 5).
        indirect case snapshot(Snapshot)
        /// Campaign now, from a leader that hands over (thesis, 3.10).
        case timeoutNow
        /// Hand over leadership to a replica, from a follower that was asked to see to it.
        case transferLeader(to: ReplicaID)
        /// A linearizable read asked of a follower (thesis, 6.4).
        case readIndex(context: UInt64)
        case readIndexResponse(index: LogIndex, context: UInt64)
        /// Entries proposed at a follower that forwards proposals.
        case propose([Proposal])
    }

    public struct Append: Sendable, Equatable {
        /// The entry before the first one carried: the follower must have it.
        public var previousIndex: LogIndex
        public var previousTerm: Term
        /// Contiguous, the first of them after `previousIndex`.
        public var entries: [RaftEntry]
        /// The leader's commit index, possibly beyond these entries.
        public var commit: LogIndex

        public init(
            previousIndex: LogIndex,
            previousTerm: Term,
            entries: [RaftEntry],
            commit: LogIndex
        ) {
            self.previousIndex = previousIndex
            self.previousTerm = previousTerm
            self.entries = entries
            self.commit = commit
        }
    }

    public struct AppendResponse: Sendable, Equatable {
        /// Up to here the log is durable and equal to the leader's.
        ///
        /// In a rejection: the `previousIndex` that did not match.
        public var index: LogIndex
        public var rejection: Rejection?

        public init(index: LogIndex, rejection: Rejection? = nil) {
            self.index = index
            self.rejection = rejection
        }
    }

    /// Where the logs may match: at `index`, if the leader's term there is not above `term`.
    public struct Rejection: Sendable, Equatable {
        public var index: LogIndex
        /// Zero if the follower does not know.
        public var term: Term

        public init(index: LogIndex, term: Term) {
            self.index = index
            self.term = term
        }
    }

    public struct VoteRequest: Sendable, Equatable {
        public var lastIndex: LogIndex
        public var lastTerm: Term
        /// The leader itself asked for this election: its lease does not count.
        public var isTransfer: Bool

        public init(lastIndex: LogIndex, lastTerm: Term, isTransfer: Bool = false) {
            self.lastIndex = lastIndex
            self.lastTerm = lastTerm
            self.isTransfer = isTransfer
        }
    }

    /// An entry known to be committed.
    ///
    /// Memberships take effect when applied. A replica that has applied its own removal cannot
    /// lead, and with a longer log does not vote for those that still count on it because they have
    /// not heard that the removal is committed. So it tells them.
    public struct CommitPoint: Sendable, Equatable {
        public var index: LogIndex
        public var term: Term

        public init(index: LogIndex, term: Term) {
            self.index = index
            self.term = term
        }
    }

    public struct Heartbeat: Sendable, Equatable {
        /// Never beyond what the follower is known to have.
        public var commit: LogIndex
        /// Answered with the same number; confirms reads begun before it was sent.
        public var round: UInt64
        /// The leader is about to fall silent: a follower that has everything does so too.
        public var quiesce: Bool

        public init(commit: LogIndex, round: UInt64 = 0, quiesce: Bool = false) {
            self.commit = commit
            self.round = round
            self.quiesce = quiesce
        }
    }

    /// An entry that has no place in the log yet.
    public struct Proposal: Sendable, Equatable {
        public var kind: RaftEntry.Kind
        public var payload: RaftPayload

        public init(kind: RaftEntry.Kind = .normal, payload: RaftPayload) {
            self.kind = kind
            self.payload = payload
        }
    }
}
