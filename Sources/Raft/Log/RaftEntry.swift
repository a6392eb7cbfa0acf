/// One entry of the replicated log.
///
/// An entry without bytes is the no-op by which a leader opens its term (thesis, 6.4); it is
/// committed and handed out like any other, and a state machine passes over it.
@frozen
public struct RaftEntry: Sendable, Equatable {
    public enum Kind: UInt8, Sendable {
        /// Bytes of the application, or nothing.
        case normal = 0
        /// A `ConfigurationChange`, which the core itself carries out once it is applied.
        case configuration = 1
    }

    public var index: LogIndex
    public var term: Term
    public var kind: Kind
    public var payload: RaftPayload

    @inlinable
    public init(index: LogIndex, term: Term, kind: Kind = .normal, payload: RaftPayload) {
        self.index = index
        self.term = term
        self.kind = kind
        self.payload = payload
    }

    /// What an entry weighs beside its payload where bytes are limited.
    static let overhead = 16

    /// What the entry weighs where bytes are limited; never 0.
    @inlinable
    public var byteCount: Int { payload.count &+ 16 }
}

/// What a replica must remember over a restart beside its log (thesis, figure 3.1).
///
/// Term and vote must be durable before anything that depends on them is sent; the commit index
/// need not be, it only spares work after a restart.
public struct HardState: Sendable, Equatable {
    public var term: Term
    public var vote: ReplicaID?
    public var commit: LogIndex

    public init(term: Term = .zero, vote: ReplicaID? = nil, commit: LogIndex = .zero) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}

/// Where in the log a snapshot stands, and who belonged to the group there.
public struct SnapshotMetadata: Sendable, Equatable {
    public var index: LogIndex
    public var term: Term
    public var membership: Membership

    public init(index: LogIndex, term: Term, membership: Membership) {
        self.index = index
        self.term = term
        self.membership = membership
    }
}

/// The state machine as of an index, instead of the log up to there (thesis, 5).
///
/// The payload is whatever the state machine calls a snapshot; it may be a mere handle to data
/// that travels apart.
public struct Snapshot: Sendable, Equatable {
    public var metadata: SnapshotMetadata
    public var payload: RaftPayload

    public init(metadata: SnapshotMetadata, payload: RaftPayload) {
        self.metadata = metadata
        self.payload = payload
    }
}
