internal import Bytes
internal import Platform
internal import Raft
internal import RaftRuntime
internal import Synchronization

/// Decides who is let in, and knows who is: at most one connection a peer and stream, and only of
/// one life of the peer.
///
/// Of several processes under one id:
///
/// | the caller's directory | of another life is there | the caller |
/// |---|---|---|
/// | is the one the cluster knows | one of another directory | is let in, the other put out |
/// | else | one that was heard a moment ago | is refused: who is first stays |
/// | else | one that is silent, as after a power cut | is let in, the other put out |
///
/// So a second process does not take the place of a node that is up, not even with a copy of its
/// directory, and has to give the place back that it took while the node was down. A node that is
/// started again is let in at once: its connections ended with the process before.
///
/// A directory that is not the one the cluster knows is no reason by itself: what this node has of
/// the metadata may be old, and the caller the one who brings it what is new.
final class Door: Sendable {
    enum Verdict {
        case admitted(replacing: [IncomingConnection])
        case refused(HandshakeRefusal.Reason, rival: NodeLife?)
        /// The node is stopping and says nothing.
        case closed
    }

    private struct Guest {
        let connection: IncomingConnection
        let peer: ReplicaID
        let stream: UInt8
        let life: NodeLife
    }

    private struct State {
        var peers: Set<ReplicaID> = []
        /// The data directories the cluster knows.
        var directories: [ReplicaID: String] = [:]
        /// In the order they came.
        var guests: [Guest] = []
        var unfinished = 0
        var isClosed = false
    }

    private let identity: NodeIdentity
    private let maxUnfinished: Int
    /// Who is silent for so long may be followed by another life.
    private let patience: Int64
    private let state = Mutex(State())
    /// Where connections go that speak HTTP/2, and what was read of them.
    let takesHTTP2: (@Sendable (AcceptedConnection, ByteSlice) -> Void)?
    /// Told of a peer that was let in.
    private let onArrival: @Sendable (ReplicaID) -> Void

    init(
        _ identity: NodeIdentity,
        maxUnfinished: Int,
        patience: Int64,
        takesHTTP2: (@Sendable (AcceptedConnection, ByteSlice) -> Void)?,
        onArrival: @escaping @Sendable (ReplicaID) -> Void
    ) {
        self.identity = identity
        self.maxUnfinished = maxUnfinished
        self.patience = patience
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

    func admit(_ connection: IncomingConnection, _ hello: Hello, now: Int64) -> Verdict {
        let peer = hello.caller.node
        let life = hello.caller.life
        let verdict = state.withLock { state -> Verdict in
            if state.isClosed { return .closed }
            if let reason = hello.refusal(at: identity, knows: state.peers.contains) {
                let isOurs = reason == .duplicateNode
                return .refused(reason, rival: isOurs ? identity.life : nil)
            }
            if let rival = rival(of: hello, in: state, now: now) {
                return .refused(.duplicateNode, rival: rival)
            }
            let isReplaced = { (guest: Guest) in
                guest.peer == peer && (guest.stream == hello.stream || guest.life != life)
            }
            let replaced = state.guests.filter(isReplaced).map(\.connection)
            state.guests.removeAll(where: isReplaced)
            state.guests.append(
                Guest(connection: connection, peer: peer, stream: hello.stream, life: life)
            )
            return .admitted(replacing: replaced)
        }
        if case .admitted = verdict { onArrival(peer) }
        return verdict
    }

    /// Another life of the caller's node that keeps it out.
    private func rival(of hello: Hello, in state: State, now: Int64) -> NodeLife? {
        let (peer, life) = (hello.caller.node, hello.caller.life)
        let isKnown = !life.directory.isEmpty && state.directories[peer] == life.directory
        return state.guests.first { guest in
            guest.peer == peer && guest.life != life
                && !(isKnown && guest.life.directory != life.directory)
                && now - guest.connection.lastHeard.load(ordering: .relaxed) < patience
        }?.life
    }

    /// Tells which data directory the cluster knows each node with.
    func setDirectories(_ directories: [ReplicaID: String]) {
        state.withLock { $0.directories = directories }
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
