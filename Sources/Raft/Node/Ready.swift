/// The part a replica plays.
public enum RaftRole: UInt8, Sendable {
    case follower
    case preCandidate
    case candidate
    case leader
}

/// What is worth knowing and need not be remembered.
public struct SoftState: Sendable, Equatable {
    public var role: RaftRole
    public var leader: ReplicaID?

    public init(role: RaftRole, leader: ReplicaID?) {
        self.role = role
        self.leader = leader
    }
}

/// The answer to `RaftNode.readIndex`: once this index is applied, the read may be served.
public struct ReadState: Sendable, Equatable {
    public var index: LogIndex
    public var context: UInt64

    public init(index: LogIndex, context: UInt64) {
        self.index = index
        self.context = context
    }
}

/// Everything a node wants done, in numbered portions.
///
/// The order that makes Raft safe:
/// 1. Send `messages`, now or at any later time.
/// 2. Write `snapshot`, then `entries`, then `hardState`: in this order or in one atomic batch,
///    and after everything of earlier Readies. If `mustSync`, make it durable.
/// 3. Once this and every earlier Ready is written (and synced where it must be), send
///    `persistedMessages`, install `snapshot` in the state machine, and call
///    `RaftNode.onPersisted(number)`. A later number covers the earlier ones.
/// 4. Apply `committedEntries`, in order, and call `RaftNode.onApplied`.
///
/// Further Readies may be taken while writes are in flight. If a write fails, nothing of it may be
/// acknowledged: the node must not be used any more.
public struct Ready: Sendable {
    /// One higher than that of the Ready before.
    public var number: UInt64

    /// Role and leader, if they changed.
    public var softState: SoftState?

    /// Term, vote and commit index, if any of them changed.
    ///
    /// To be written before any of `persistedMessages` is sent; synced if `mustSync`.
    public var hardState: HardState?

    /// Entries to write; they replace whatever the log holds from the first of them on.
    public var entries: [RaftEntry] = []

    /// A snapshot that takes the place of the whole log; `entries`, if any, follow it.
    public var snapshot: Snapshot?

    /// Entries to apply: committed, durable on this replica, each handed out once.
    ///
    /// (With `appliesWithinReady`: durable once this Ready is written.) Entries of kind
    /// `configuration` and such without bytes are among them; the core carries out the former
    /// itself when `onApplied` passes them.
    public var committedEntries: [RaftEntry] = []

    /// Reads that may be served once their index is applied.
    public var readStates: [ReadState] = []

    /// Messages that depend on nothing in this Ready.
    ///
    /// A leader's appends are here: it replicates while its own disk still writes (thesis,
    /// 10.2.1). So are requests for votes: a candidate's own vote counts only once it is durable.
    public var messages: [Message] = []

    /// Messages that promise something: votes and acknowledgements.
    ///
    /// To be sent only after this Ready and all before it are durable.
    public var persistedMessages: [Message] = []

    /// Whether the writes must be synced before they count: always, but for a mere commit index.
    public var mustSync = false

    public init(number: UInt64) { self.number = number }

    /// Whether something has to be written.
    public var hasWrites: Bool { hardState != nil || !entries.isEmpty || snapshot != nil }
}
