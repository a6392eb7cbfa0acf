import Broker
import Platform
import Raft
import RaftGRPC
import RaftRuntime
import Synchronization

/// gRPC for everything, between the nodes as well.
///
/// In the clear the node accepts connections and hands them over; TLS is gRPC's own, which then
/// listens itself.
final class GRPCWire: ClusterWire {
    private struct Running {
        let door: CallDoor
        let listener: Listener?
    }

    private static let log = Logger("raft-transport")

    private let settings: WireSettings
    private let security: CallSecurity?
    private let streams: GRPCTransport
    private let answers: CallAnswers
    private let running = Mutex<Running?>(nil)

    init(_ settings: WireSettings, security: CallSecurity? = nil) {
        self.settings = settings
        self.security = security
        let loop = settings.platform.loops[0]
        let failures = LogLimiter(every: .seconds(10), clock: settings.platform.clock)
        var configuration = GRPCTransport.Configuration()
        configuration.credentials = security?.files
        streams = GRPCTransport(
            identity: ServiceIdentity(settings),
            loop: loop,
            configuration: configuration
        ) { peer, error in
            failures.limited { suppressed in
                let facts: KeyValuePairs = [
                    "peer": "\(peer)", "error": "\(error)", "suppressed": "\(suppressed)",
                ]
                if error.isUnreachable {
                    Self.log.warning("another node cannot be reached", facts)
                } else {
                    Self.log.error("another node refuses this one", facts)
                }
            }
        }
        answers = CallAnswers(over: streams)
    }

    var transport: any RaftTransport { answers }

    func setPeers(_ addresses: [ReplicaID: SocketAddress]) { streams.setPeers(addresses) }

    // Its calls do not name a directory; see `NodeLives`.
    func setDirectories(_ directories: [ReplicaID: String]) {}

    func start(_ node: ClusterNode, delegate: any RaftTransportDelegate) throws {
        try GRPCLibrary.load()
        let loop = settings.platform.loops[0]
        let door = CallDoor(
            settings,
            answers: answers,
            node: node,
            delegate: delegate,
            security: security,
            onArrival: { [streams] in streams.peerIsAlive($0) }
        )
        let listener = security == nil ? try loop.listen(settings.listen) : nil
        if listener == nil { try door.listen(on: settings.listen) }
        running.withLock { $0 = Running(door: door, listener: listener) }
        streams.start(delegate: delegate)
        guard let listener else { return }
        let strangers = LogLimiter(every: .seconds(10), clock: settings.platform.clock)
        Task.immediate(executorPreference: loop) {
            await listener.acceptAll(on: loop, log: Self.log, strangers) { door.enter($0) }
        }
    }

    func stop() async {
        let running = running.withLock { running in
            defer { running = nil }
            return running
        }
        guard let running else { return }
        settings.platform.loops[0].execute { running.listener?.close() }
        await running.door.close()
        let streams = streams
        let worker = settings.platform.makeWorker(name: "grpc-streams")
        await worker.run { streams.stop() }
        worker.stop()
    }
}
