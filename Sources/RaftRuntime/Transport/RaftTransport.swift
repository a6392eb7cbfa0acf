public import Bytes
public import Raft

/// Carries frames between the nodes of a cluster.
///
/// One replica of a group a node: a peer is named by its node id, which is its `ReplicaID` in every
/// group. Frames of one stream arrive in the order they were sent or not at all.
public protocol RaftTransport: AnyObject, Sendable {
    /// Hands a frame over and returns at once; called on any event loop.
    ///
    /// What does not fit in the peer's bounded queue is dropped, and the peer reported unreachable
    /// by ``RaftTransportDelegate/peerIsUnreachable(_:)``.
    func send(_ frame: PeerFrame, to peer: ReplicaID)
}

/// Whom a transport tells what arrived; called on any event loop.
public protocol RaftTransportDelegate: AnyObject, Sendable {
    /// A frame of a peer whose cluster and node id were checked.
    func received(_ frame: PeerFrame, from peer: ReplicaID)

    /// Nothing sent to the peer since the last frame it answered can be counted on.
    func peerIsUnreachable(_ peer: ReplicaID)
}

/// What travels between two nodes as one piece.
public enum PeerFrame: Sendable, Equatable {
    /// What one turn of a loop has to say to a peer, for all its groups.
    case messages([GroupMessage])
    /// The node lives; stands for the heartbeats of every quiescent group between the two.
    case beat(NodeBeat)
    case snapshotChunk(SnapshotChunk)
    case snapshotAnswer(SnapshotAnswer)
    /// A node asks another something that is no matter of Raft.
    case call(PeerCall)
    case answer(PeerAnswer)

    /// The streams keep bulk from delaying liveness, and what one node asks another from delaying
    /// Raft.
    public enum Stream: UInt8, Sendable, CaseIterable {
        case messages
        case liveness
        case snapshots
        case calls
    }

    public var stream: Stream {
        switch self {
        case .messages: .messages
        case .beat: .liveness
        case .snapshotChunk, .snapshotAnswer: .snapshots
        case .call, .answer: .calls
        }
    }
}

/// A message and the group it belongs to.
///
/// Group numbers are never used twice, so a message of a deleted group meets no later one.
public struct GroupMessage: Sendable, Equatable {
    public var group: UInt64
    public var message: Message

    public init(group: UInt64, message: Message) {
        self.group = group
        self.message = message
    }
}

/// A sign of life of a whole node.
public struct NodeBeat: Sendable, Equatable {
    /// One higher with each beat a node sends a peer.
    public var sequence: UInt64
    /// The last beat received from the peer; 0 before the first.
    public var answered: UInt64
    /// When the sending process started, in nanoseconds of the wall clock: another value is another
    /// life, and what was promised in the last one by silence no longer holds.
    public var incarnation: UInt64

    public init(sequence: UInt64, answered: UInt64, incarnation: UInt64) {
        self.sequence = sequence
        self.answered = answered
        self.incarnation = incarnation
    }
}

/// A piece of a snapshot's content on its way to a follower.
public struct SnapshotChunk: Sendable, Equatable {
    public var group: UInt64
    /// Index and term of the last entry the snapshot covers, and which content: ``SnapshotSource``.
    public var index: LogIndex
    public var term: Term
    public var content: UInt64
    /// The place of `bytes` in the content.
    public var offset: UInt64
    public var bytes: ByteSlice
    /// Whether the content ends with these bytes.
    public var isLast: Bool

    public init(
        group: UInt64,
        index: LogIndex,
        term: Term,
        content: UInt64,
        offset: UInt64,
        bytes: ByteSlice,
        isLast: Bool
    ) {
        self.group = group
        self.index = index
        self.term = term
        self.content = content
        self.offset = offset
        self.bytes = bytes
        self.isLast = isLast
    }
}

/// How far a follower has a snapshot; sent after each chunk, and to ask for more after a break.
public struct SnapshotAnswer: Sendable, Equatable {
    public var group: UInt64
    public var index: LogIndex
    public var term: Term
    public var content: UInt64
    /// Everything below is held; the sender goes on here.
    public var received: UInt64
    /// The follower cannot take this snapshot; the sender gives up.
    public var isRefused: Bool

    public init(
        group: UInt64,
        index: LogIndex,
        term: Term,
        content: UInt64,
        received: UInt64,
        isRefused: Bool
    ) {
        self.group = group
        self.index = index
        self.term = term
        self.content = content
        self.received = received
        self.isRefused = isRefused
    }
}

/// Something a node wants another to do or to tell.
public struct PeerCall: Sendable, Equatable {
    /// Chosen by the caller, which uses it once; the answer carries it.
    public var id: UInt64
    /// What is asked; the numbers and the payloads are the application's.
    public var operation: UInt8
    /// All in memory; in one piece where it arrives.
    public var payload: ByteRope

    public init(id: UInt64, operation: UInt8, payload: ByteSlice) {
        self.init(id: id, operation: operation, payload: ByteRope(payload))
    }

    public init(id: UInt64, operation: UInt8, payload: ByteRope) {
        self.id = id
        self.operation = operation
        self.payload = payload
    }

    /// The payload in one piece: a copy only if it is in several.
    public var wholePayload: ByteSlice {
        guard let whole = payload.joined() else {
            preconditionFailure("a call with a payload in a file")
        }
        return whole
    }
}

/// What became of a call.
public struct PeerAnswer: Sendable, Equatable {
    /// Of the call.
    public var id: UInt64
    /// Nothing was done: the peer does not know the operation, or does not serve it yet or now.
    public var isRefused: Bool
    public var payload: ByteSlice

    public init(id: UInt64, isRefused: Bool, payload: ByteSlice) {
        self.id = id
        self.isRefused = isRefused
        self.payload = payload
    }
}
