import Bytes
import Platform
import Raft
import RaftGRPC
import RaftRuntime
import RaftTransport
import Synchronization

/// One node of the two that a wire is measured between.
final class RaftWireSide: RaftTransportDelegate {
    let id: ReplicaID
    let end: any RaftWireEnd
    private let loop: EventLoop
    /// In a box: a closure that goes in and out of a generic place gains a thunk each time.
    private struct Handler: Sendable { let body: @Sendable (Int) -> Void }
    private let onFrame = Mutex<Handler?>(nil)

    init(
        _ number: UInt64,
        _ transport: RaftWireProbe.Transport,
        _ platform: RealPlatform,
        loop index: Int
    ) throws {
        id = ReplicaID(number)
        loop = platform.loops[index]
        end =
            switch transport {
            case .framed: FramedEnd(id, platform, loop)
            case .grpc: try GRPCEnd(id, platform, loop)
            }
    }

    var transport: any RaftTransport { end.transport }

    func start() async throws -> SocketAddress {
        try await Task(executorPreference: loop) {
            try self.end.start(delegate: self)
        }.value
    }

    /// Has `body` told how many messages a frame brought: a transport may put frames together.
    func handle(_ body: @escaping @Sendable (Int) -> Void) {
        let handler = Handler(body: body)
        onFrame.withLock { $0 = handler }
    }

    func received(_ frame: PeerFrame, from peer: ReplicaID) {
        guard case .messages(let messages) = frame else { return }
        onFrame.withLock { $0 }?.body(messages.count)
    }

    func peerIsUnreachable(_ peer: ReplicaID) {}

    /// Runs `body` on the node's own loop, where a Raft group would.
    func onLoop(_ body: @escaping @Sendable () -> Void) { loop.execute(body) }

    /// Bytes that came on the stream of messages; `nil` where nobody counts.
    var messageBytes: Double? { end.messageBytes }
}

/// A transport, and what it takes to have frames arrive.
protocol RaftWireEnd: Sendable {
    var transport: any RaftTransport { get }
    var messageBytes: Double? { get }
    /// Where it listens.
    func start(delegate: any RaftTransportDelegate) throws -> SocketAddress
    func setPeers(_ addresses: [ReplicaID: SocketAddress])
    func stop() async
}

private let localhost = SocketAddress(host: "127.0.0.1", port: 0)

private struct FramedEnd: RaftWireEnd {
    private let frames: FramedTransport
    private let metrics = MetricsRegistry()

    init(_ id: ReplicaID, _ platform: RealPlatform, _ loop: EventLoop) {
        let identity = NodeIdentity(cluster: "bench", node: id, incarnation: 1)
        frames = FramedTransport(
            FramedTransportConfiguration(identity: identity, listenAddress: localhost),
            loops: [loop],
            generator: platform.makeGenerator(),
            metrics: metrics
        )
    }

    var transport: any RaftTransport { frames }

    var messageBytes: Double? {
        let name = "raft_transport_bytes_received_total{stream=\"messages\"} "
        let line = metrics.prometheusText().split(separator: "\n").first { $0.hasPrefix(name) }
        return line.flatMap { Double($0.dropFirst(name.count)) }
    }

    func start(delegate: any RaftTransportDelegate) throws -> SocketAddress {
        try frames.start(delegate: delegate)
    }

    func setPeers(_ addresses: [ReplicaID: SocketAddress]) { frames.setPeers(addresses) }

    func stop() async { await frames.stop() }
}

private final class GRPCEnd: RaftWireEnd {
    private let identity: ServiceIdentity
    private let platform: RealPlatform
    private let loop: EventLoop
    private let streams: GRPCTransport
    private let server = Mutex<GRPCServer?>(nil)

    init(_ id: ReplicaID, _ platform: RealPlatform, _ loop: EventLoop) throws {
        try GRPCLibrary.load()
        identity = ServiceIdentity(cluster: "bench", node: id, incarnation: 1)
        self.platform = platform
        self.loop = loop
        streams = GRPCTransport(identity: identity, loop: loop)
    }

    var transport: any RaftTransport { streams }
    var messageBytes: Double? { nil }

    func start(delegate: any RaftTransportDelegate) throws -> SocketAddress {
        let service = RaftService(
            identity: identity,
            handler: NoReplicas(),
            answers: CallAnswers(over: streams),
            delegate: delegate,
            loops: [loop]
        )
        let server = GRPCServer(service)
        self.server.withLock { $0 = server }
        streams.start(delegate: delegate)
        return SocketAddress(host: localhost.host, port: try server.listen(on: localhost))
    }

    func setPeers(_ addresses: [ReplicaID: SocketAddress]) { streams.setPeers(addresses) }

    func stop() async {
        let worker = platform.makeWorker(name: "grpc-stop")
        let (streams, server) = (streams, server.withLock { $0 })
        await worker.run {
            streams.stop()
            server?.stop()
        }
        worker.stop()
    }
}

/// Lets every node in; only streams are measured.
private final class NoReplicas: RaftServiceHandler {
    func admit(_ node: ReplicaID) async throws(RaftCallError) {}

    func group(at route: GroupRoute) async throws(RaftCallError) -> UInt64 {
        throw .unknownPartition(route.topic)
    }

    func term(of group: UInt64) async throws(RaftCallError) -> Term { .zero }

    func step(_ message: GroupMessage) async throws(RaftCallError) {}

    func readIndex(of group: UInt64) async throws(RaftCallError) -> ReadIndexResponse {
        throw .notSupported("no replicas here")
    }

    func write(
        _ payload: ByteSlice,
        to group: UInt64
    ) async throws(RaftCallError) -> ForwardWriteResponse {
        throw .notSupported("no replicas here")
    }

    func metadata(
        _ request: QueryMetadataRequest
    ) async throws(RaftCallError) -> QueryMetadataResponse {
        throw .notSupported("no replicas here")
    }
}
