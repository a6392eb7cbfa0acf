package import Platform
package import Raft
package import RaftRuntime
import Synchronization

/// Carries frames between nodes over gRPC: a call of `RaftService.Stream` for each kind of frame.
///
/// Nothing is connected before there is something to send. Connections are gRPC's to make again,
/// after a pause that grows to a second, or at once when the peer calls; a stream is opened again
/// with the next frame. What was on its way when a stream broke may or may not have arrived.
package final class GRPCTransport: RaftTransport {
    package struct Configuration: Sendable {
        /// Frames that wait for a peer, in bytes; what comes on top is dropped.
        package var maxQueuedBytes = 32 << 20
        /// The same in frames.
        package var maxQueuedFrames = 4096
        /// Frames of messages that waited together go as one of up to so many bytes.
        package var maxMergedBytes = 1 << 20
        package var maxMessageBytes = 16 << 20
        /// With them peers have to show a certificate.
        package var credentials: CredentialFiles?
        /// How long a peer that refused a stream is left alone, in nanoseconds.
        package var refusalPause = Int64.milliseconds(500)

        package init() {}
    }

    private struct Peers: ~Copyable {
        var addresses: [ReplicaID: SocketAddress] = [:]
        /// Whom to tell; set by the start.
        var events: PeerEvents?
        var streams: [StreamKey: PeerStream] = [:]
        var completions: CompletionThread?
        var credentials: ChannelCredentials?
        /// Of streams to peers that are none any more, or elsewhere.
        var leaving: [ThreadGate] = []
        var isStopped = false
    }

    private struct StreamKey: Hashable {
        let peer: ReplicaID
        let stream: PeerFrame.Stream
    }

    private let identity: ServiceIdentity
    private let configuration: Configuration
    private let loop: EventLoop
    private let onFailure: @Sendable (ReplicaID, RaftCallError) -> Void
    private let peers = Mutex(Peers())
    private let dropped = Atomic(0)

    /// Makes the transport of a node; it sends nothing before it is started.
    ///
    /// - Parameters:
    ///   - identity: Who the node is.
    ///   - loop: Where the delegate is told of unreachable peers.
    ///   - configuration: Limits.
    ///   - onFailure: Called on `loop` when a peer refuses this node's stream, or cannot be
    ///     reached: for the log.
    package init(
        identity: ServiceIdentity,
        loop: EventLoop,
        configuration: Configuration = Configuration(),
        onFailure: @escaping @Sendable (ReplicaID, RaftCallError) -> Void = { _, _ in }
    ) {
        self.identity = identity
        self.loop = loop
        self.configuration = configuration
        self.onFailure = onFailure
    }

    /// Tells from now on what becomes of what is sent; arriving frames come by the `RaftService`.
    package func start(delegate: any RaftTransportDelegate) {
        let events = PeerEvents(delegate: delegate, loop: loop, onFailure: onFailure)
        peers.withLock { peers in
            precondition(peers.events == nil, "a transport started twice")
            peers.events = events
        }
    }

    /// Frames dropped so far, for want of room or of a connection.
    package var droppedFrames: Int {
        let events = peers.withLock { $0.events }
        return dropped.load(ordering: .relaxed) + (events?.dropped.load(ordering: .relaxed) ?? 0)
    }

    package func send(_ frame: PeerFrame, to peer: ReplicaID) {
        if let stream = stream(StreamKey(peer: peer, stream: frame.stream)) {
            stream.send(frame)
        } else {
            dropped.add(1, ordering: .relaxed)
        }
    }

    /// Tells where the other nodes are; callable at any time, from any thread.
    package func setPeers(_ addresses: [ReplicaID: SocketAddress]) {
        let known = peers.withLock { Set($0.addresses.keys) }
        for peer in known.union(addresses.keys) { setAddress(addresses[peer], of: peer) }
    }

    /// A peer has called: what could not reach it before tries again at once.
    package func peerIsAlive(_ peer: ReplicaID) {
        let streams = peers.withLock { peers in
            PeerFrame.Stream.allCases.compactMap {
                peers.streams[StreamKey(peer: peer, stream: $0)]
            }
        }
        for stream in streams { stream.peerIsAlive() }
    }

    /// Tells where a peer is, or that it is one no more.
    private func setAddress(_ address: SocketAddress?, of peer: ReplicaID) {
        peers.withLock { peers in
            guard peers.addresses[peer] != address else { return }
            peers.addresses[peer] = address
            for kind in PeerFrame.Stream.allCases {
                let key = StreamKey(peer: peer, stream: kind)
                guard let stream = peers.streams.removeValue(forKey: key) else { continue }
                let gate = ThreadGate()
                peers.leaving.append(gate)
                stream.stop(gate)
            }
        }
    }

    /// Ends all streams; waits for gRPC's thread.
    package func stop() {
        let (gates, completions) = peers.withLock { peers in
            peers.isStopped = true
            for stream in peers.streams.values {
                let gate = ThreadGate()
                peers.leaving.append(gate)
                stream.stop(gate)
            }
            defer {
                peers.streams = [:]
                peers.leaving = []
                peers.completions = nil
            }
            return (peers.leaving, peers.completions)
        }
        for gate in gates { gate.wait() }
        completions?.stop()
    }

    private func stream(_ key: StreamKey) -> PeerStream? {
        peers.withLock { peers in
            if let open = peers.streams[key] { return open }
            guard !peers.isStopped, let events = peers.events,
                let address = peers.addresses[key.peer]
            else { return nil }
            let completions = peers.completions ?? CompletionThread(name: "grpc-client")
            peers.completions = completions
            let credentials =
                peers.credentials ?? ChannelCredentials(configuration.credentials)
            peers.credentials = credentials
            let limit = configuration.maxMessageBytes
            let stream = PeerStream(
                key.stream,
                header: identity.header(to: key.peer),
                makeChannel: {
                    GRPCChannel(to: address, maxMessageBytes: limit, credentials, completions)
                },
                configuration,
                events
            )
            peers.streams[key] = stream
            return stream
        }
    }
}

/// Whom the streams tell what became of them.
final class PeerEvents: Sendable {
    let dropped = Atomic(0)
    let clock: any Clock
    private let delegate: any RaftTransportDelegate
    private let loop: EventLoop
    private let onFailure: @Sendable (ReplicaID, RaftCallError) -> Void
    /// Peers about to be reported: a report stands for all before it.
    private let pending = Mutex<Set<ReplicaID>>([])

    init(
        delegate: any RaftTransportDelegate,
        loop: EventLoop,
        onFailure: @escaping @Sendable (ReplicaID, RaftCallError) -> Void
    ) {
        self.delegate = delegate
        self.loop = loop
        self.onFailure = onFailure
        clock = loop.clock
    }

    func peerIsUnreachable(_ peer: ReplicaID) {
        guard pending.withLock({ $0.insert(peer).inserted }) else { return }
        loop.execute { [self] in
            pending.withLock { _ = $0.remove(peer) }
            delegate.peerIsUnreachable(peer)
        }
    }

    func failed(_ peer: ReplicaID, _ error: RaftCallError) {
        loop.execute { [self] in onFailure(peer, error) }
    }
}
