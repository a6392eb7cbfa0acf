package import Bytes
package import Platform
package import Raft
package import RaftRuntime
internal import Synchronization

/// The wire between Chronik nodes: length-prefixed frames over TCP.
///
/// Each node dials its own connections, one for each peer and stream, and only sends on them; what
/// the peer has to say comes on the connections it dialed. So no two nodes can dial each other at
/// once and have to agree on which connection stays, a connection that one side alone believes in
/// harms nobody, and bulk on one stream never stands before another's frames.
///
/// | call | allowed |
/// |---|---|
/// | ``setPeers(_:)``, ``setDirectories(_:)`` | at any time, from any thread |
/// | ``start(_:delegate:http2:)`` | once |
/// | ``send(_:to:)`` | from any thread; before the start and after the end nothing is sent |
/// | ``stop()`` | once, after the start |
package final class FramedTransport: RaftTransport {
    private struct PeerStreams {
        /// By the number of the stream.
        let streams: [OutgoingStream]
    }

    private struct Running {
        let context: TransportContext
        let door: Door
        let listener: Listener
    }

    private struct State {
        var addresses: [ReplicaID: SocketAddress] = [:]
        var directories: [ReplicaID: String] = [:]
        var peers: [ReplicaID: PeerStreams] = [:]
        var generator: SeededGenerator
        var running: Running?
        /// How many peers have been given loops.
        var placed = 0
    }

    private let configuration: FramedTransportConfiguration
    private let loops: [EventLoop]
    private let metrics: TransportMetrics
    private let log: Logger
    private let state: Mutex<State>

    /// - Parameters:
    ///   - configuration: Who the node is, and limits.
    ///   - loops: Where connections live, spread evenly; it listens on the first.
    ///   - generator: Draws the waits between attempts.
    ///   - metrics: Where it registers its counters, so one transport a registry.
    package init(
        _ configuration: FramedTransportConfiguration,
        loops: [EventLoop],
        generator: SeededGenerator,
        metrics: MetricsRegistry
    ) {
        precondition(!loops.isEmpty, "a transport without an event loop")
        self.configuration = configuration
        self.loops = loops
        self.metrics = TransportMetrics(metrics)
        log = Logger("raft-transport")
        state = Mutex(State(generator: generator))
    }

    // MARK: Sending

    package func send(_ frame: PeerFrame, to peer: ReplicaID) {
        let stream = frame.stream
        guard let peer = state.withLock({ $0.peers[peer] }) else {
            metrics[stream].framesDropped.increment()
            return
        }
        peer.streams[Int(stream.rawValue)].send(frame)
    }

    // MARK: Life

    /// Listens, and connects to the peers.
    ///
    /// Must run on the first of the loops.
    ///
    /// - Parameters:
    ///   - delegate: Kept until ``stop()``.
    ///   - http2: Takes connections that speak HTTP/2, and what was read of them: nothing in the
    ///     clear. Behind a stage it is those whose TLS is going to; that is the taker's then.
    /// - Returns: Where it listens, with the port the system chose if 0 was asked for.
    /// - Throws: When it cannot listen there.
    package func start(
        delegate: any RaftTransportDelegate,
        http2: (@Sendable (AcceptedConnection, ByteSlice) -> Void)? = nil
    ) throws(NetworkError) -> SocketAddress {
        precondition(loops[0].isCurrent, "a transport started outside its first loop")
        let listener = try loops[0].listen(configuration.listenAddress)
        let context = TransportContext(
            configuration,
            metrics: metrics,
            log: log,
            delegate: delegate,
            clock: loops[0].clock
        )
        let door = Door(
            configuration.identity,
            maxUnfinished: configuration.maxUnfinishedHandshakes,
            patience: 3 * configuration.keepAliveNanoseconds,
            takesHTTP2: http2,
            onArrival: { [weak self] in self?.peerIsAlive($0) }
        )
        let running = Running(context: context, door: door, listener: listener)
        state.withLock { state in
            precondition(state.running == nil, "a transport started twice")
            state.running = running
        }
        setPeers(state.withLock { $0.addresses })
        setDirectories(state.withLock { $0.directories })
        let acceptor = Acceptor(loops: loops, context: context, door: door)
        Task.immediate(executorPreference: loops[0]) { await acceptor.run(listener) }
        return listener.address
    }

    /// Closes every connection; when it returns the delegate is not called any more.
    package func stop() async {
        let (running, peers) = state.withLock { state in
            defer {
                state.running = nil
                state.peers = [:]
                state.addresses = [:]
            }
            return (state.running, Self.sorted(state.peers))
        }
        guard let running else { return }
        let listener = running.listener
        loops[0].execute { listener.close() }
        for peer in peers { for stream in peer.streams { await stream.stop() } }
        for connection in running.door.close() { await connection.end() }
    }

    /// The other nodes and where they listen.
    ///
    /// Connections to and of those that are no longer there are closed; a new address is dialed
    /// at once.
    package func setPeers(_ addresses: [ReplicaID: SocketAddress]) {
        var addresses = addresses
        addresses[configuration.identity.node] = nil
        let (running, gone, moved) = state.withLock { state in
            state.addresses = addresses
            guard let running = state.running else {
                return (nil as Running?, [PeerStreams](), [(PeerStreams, SocketAddress)]())
            }
            let gone = Self.sorted(state.peers.filter { addresses[$0.key] == nil })
            state.peers = state.peers.filter { addresses[$0.key] != nil }
            var moved: [(PeerStreams, SocketAddress)] = []
            for (peer, address) in addresses.sorted(by: { $0.key < $1.key }) {
                if let known = state.peers[peer] {
                    moved.append((known, address))
                } else {
                    state.peers[peer] = make(peer, address, running.context, &state)
                }
            }
            return (running, gone, moved)
        }
        guard let running else { return }
        for peer in gone { Self.each(peer) { $0.stop() } }
        for (peer, address) in moved { Self.each(peer) { $0.move(to: address) } }
        for connection in running.door.setPeers(Set(addresses.keys)) {
            Task(executorPreference: connection.loop) { await connection.end() }
        }
    }

    /// The data directories that the cluster knows the other nodes with: who comes with one of them
    /// is that node, whoever went by its id before.
    package func setDirectories(_ directories: [ReplicaID: String]) {
        let door = state.withLock { state in
            state.directories = directories
            return state.running?.door
        }
        door?.setDirectories(directories)
    }

    /// Makes the streams to a peer and starts them, on loops next to those of the peer before.
    private func make(
        _ peer: ReplicaID,
        _ address: SocketAddress,
        _ context: TransportContext,
        _ state: inout State
    ) -> PeerStreams {
        let first = state.placed
        state.placed += 1
        let streams = PeerFrame.Stream.allCases.map { stream in
            OutgoingStream(
                to: peer,
                at: address,
                stream,
                on: loops[(first + Int(stream.rawValue)) % loops.count],
                generator: state.generator.fork(),
                context: context
            )
        }
        for stream in streams { Task(executorPreference: stream.loop) { await stream.run() } }
        return PeerStreams(streams: streams)
    }

    private func peerIsAlive(_ peer: ReplicaID) {
        guard let streams = state.withLock({ $0.peers[peer] }) else { return }
        Self.each(streams) { $0.peerIsAlive() }
    }

    private static func each(
        _ peer: PeerStreams,
        _ body: @escaping @Sendable (isolated OutgoingStream) -> Void
    ) {
        for stream in peer.streams {
            stream.loop.execute { stream.assumeIsolated { body($0) } }
        }
    }

    private static func sorted(_ peers: [ReplicaID: PeerStreams]) -> [PeerStreams] {
        peers.sorted { $0.key < $1.key }.map(\.value)
    }
}

/// Takes connections in and gives each a loop.
private actor Acceptor {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let loops: [EventLoop]
    private let context: TransportContext
    private let door: Door
    private var next = 0

    init(loops: [EventLoop], context: TransportContext, door: Door) {
        loop = loops[0]
        self.loops = loops
        self.context = context
        self.door = door
    }

    func run(_ listener: Listener) async {
        await listener.acceptAll(on: loop, log: context.log, context.strangers) { place($0) }
    }

    private func place(_ accepted: AcceptedConnection) {
        let target = loops[next % loops.count]
        next += 1
        let (context, door) = (context, door)
        let isCrowded = !door.knocked()
        if isCrowded { context.metrics.refusedHandshakes.increment() }
        target.execute {
            guard let socket = try? target.adopt(accepted) else {
                if !isCrowded { door.greeted() }
                return
            }
            guard !isCrowded else {
                socket.close()
                return
            }
            let connection = IncomingConnection(
                socket,
                on: target,
                context: context,
                door: door
            )
            Task.immediate(executorPreference: target) { await connection.serve() }
        }
    }
}
