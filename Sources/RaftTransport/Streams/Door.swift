internal import Bytes
internal import Platform
internal import Raft
internal import RaftRuntime
internal import Synchronization

/// Decides who is let in, and knows who is: at most one connection a peer and stream, and only of
/// one life of the peer.
final class Door: Sendable {
    enum Verdict {
        case admitted(replacing: [IncomingConnection])
        case refused(HandshakeRefusal.Reason)
        /// The node is stopping and says nothing.
        case closed
    }

    private struct Guest {
        let connection: IncomingConnection
        let peer: ReplicaID
        let stream: UInt8
        let incarnation: UInt64
    }

    private struct State {
        var peers: Set<ReplicaID> = []
        /// In the order they came.
        var guests: [Guest] = []
        var unfinished = 0
        var isClosed = false
    }

    private let identity: NodeIdentity
    private let maxUnfinished: Int
    private let state = Mutex(State())
    /// Where connections go that speak HTTP/2, and what was read of them.
    let takesHTTP2: (@Sendable (AcceptedConnection, ByteSlice) -> Void)?
    /// Told of a peer that was let in.
    private let onArrival: @Sendable (ReplicaID) -> Void

    init(
        _ identity: NodeIdentity,
        maxUnfinished: Int,
        takesHTTP2: (@Sendable (AcceptedConnection, ByteSlice) -> Void)?,
        onArrival: @escaping @Sendable (ReplicaID) -> Void
    ) {
        self.identity = identity
        self.maxUnfinished = maxUnfinished
        self.takesHTTP2 = takesHTTP2
        self.onArrival = onArrival
    }

    /// Somebody is at the door; false when too many are.
    func knocked() -> Bool {
        state.withLock { state in
            guard state.unfinished < maxUnfinished && !state.isClosed else { return false }
            state.unfinished += 1
            return true
        }
    }

    /// Somebody has come in or gone away again.
    func greeted() { state.withLock { $0.unfinished -= 1 } }

    func admit(_ connection: IncomingConnection, _ hello: Hello) -> Verdict {
        let peer = hello.caller.node
        let incarnation = hello.caller.incarnation
        let verdict = state.withLock { state -> Verdict in
            if state.isClosed { return .closed }
            if let reason = hello.refusal(at: identity, knows: state.peers.contains) {
                return .refused(reason)
            }
            if state.guests.contains(where: { $0.peer == peer && $0.incarnation > incarnation }) {
                return .refused(.duplicateNode)
            }
            let isReplaced = { (guest: Guest) in
                guest.peer == peer
                    && (guest.stream == hello.stream || guest.incarnation < incarnation)
            }
            let replaced = state.guests.filter(isReplaced).map(\.connection)
            state.guests.removeAll(where: isReplaced)
            state.guests.append(
                Guest(
                    connection: connection,
                    peer: peer,
                    stream: hello.stream,
                    incarnation: incarnation
                )
            )
            return .admitted(replacing: replaced)
        }
        if case .admitted = verdict { onArrival(peer) }
        return verdict
    }

    func left(_ connection: IncomingConnection, _ peer: ReplicaID) {
        state.withLock { $0.guests.removeAll { $0.connection === connection } }
    }

    /// Changes who may come in; the connections of those who may no longer.
    func setPeers(_ peers: Set<ReplicaID>) -> [IncomingConnection] {
        state.withLock { state in
            state.peers = peers
            let leaving = state.guests.filter { !peers.contains($0.peer) }
            state.guests.removeAll { !peers.contains($0.peer) }
            return leaving.map(\.connection)
        }
    }

    /// Lets nobody in any more; the connections there are.
    func close() -> [IncomingConnection] {
        state.withLock { state in
            state.isClosed = true
            state.peers = []
            defer { state.guests = [] }
            return state.guests.map(\.connection)
        }
    }
}
