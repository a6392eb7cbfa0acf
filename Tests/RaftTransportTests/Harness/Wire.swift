import Bytes
import Platform
import Raft
import RaftRuntime
import RaftTransport
import Simulator
import Testing

/// Tests that each keep a processor busy, one after the other.
@Suite(.serialized) enum Simulations {}

/// Transports on simulated machines that all know each other.
final class Wire: @unchecked Sendable {
    // Unchecked: a simulation runs on one thread.
    final class Node {
        let id: ReplicaID
        let host: String
        let platform: SimulatedPlatform
        let transport: FramedTransport
        let recorder = Recorder()
        let metrics = MetricsRegistry()

        init(
            _ wire: Wire,
            _ number: UInt64,
            incarnation: UInt64,
            host: String,
            _ change: (inout FramedTransportConfiguration) -> Void
        ) {
            id = ReplicaID(number)
            self.host = host
            platform = SimulatedPlatform(wire.simulation, host: host, loopCount: 2)
            var configuration = FramedTransportConfiguration(
                identity: .init(cluster: "test", node: id, incarnation: incarnation),
                listenAddress: SocketAddress(host: host, port: Wire.port)
            )
            change(&configuration)
            transport = FramedTransport(
                configuration,
                loops: platform.loops,
                generator: platform.makeGenerator(),
                metrics: metrics
            )
        }

        func count(_ line: String) -> Int {
            let prefix = line + " "
            for found in metrics.prometheusText().split(separator: "\n")
            where found.hasPrefix(prefix) {
                return Int(found.dropFirst(prefix.count)) ?? -1
            }
            return -1
        }

        func malformed() -> Int { count("raft_transport_malformed_frames_total") }
        func stalls() -> Int { count("raft_transport_stalls_total") }

        func refused(by side: String, _ reason: HandshakeRefusal.Reason) -> Int {
            count("raft_transport_handshakes_refused_total{by=\"\(side)\",reason=\"\(reason)\"}")
        }
    }

    static let port: UInt16 = 5001

    let simulation: Simulation
    private(set) var nodes: [UInt64: Node] = [:]
    private(set) lazy var stranger = SimulatedPlatform(simulation, host: "stranger")
    var addresses: [ReplicaID: SocketAddress] = [:]

    init(seed: UInt64, nodes count: UInt64 = 2) {
        simulation = Simulation(seed: seed)
        for number in 1...count { addresses[ReplicaID(number)] = Self.address(number) }
    }

    static func host(_ number: UInt64) -> String { "node-\(number)" }
    static func address(_ number: UInt64) -> SocketAddress {
        SocketAddress(host: host(number), port: port)
    }

    @discardableResult
    func boot(
        _ number: UInt64,
        incarnation: UInt64 = 1,
        host: String? = nil,
        peers: [ReplicaID: SocketAddress]? = nil,
        _ change: (inout FramedTransportConfiguration) -> Void = { _ in }
    ) -> Node {
        let node = Node(
            self,
            number,
            incarnation: incarnation,
            host: host ?? Self.host(number),
            change
        )
        if host == nil { nodes[number] = node }
        let transport = node.transport
        let recorder = node.recorder
        let peers = peers ?? addresses
        transport.setPeers(peers)
        node.platform.loops[0].execute {
            do {
                _ = try transport.start(delegate: recorder)
            } catch {
                preconditionFailure("a simulated node cannot listen: \(error)")
            }
        }
        return node
    }

    /// Boots two nodes and runs until each is connected to the other.
    func bootPair(
        _ change: (inout FramedTransportConfiguration) -> Void = { _ in }
    ) -> (Node, Node) {
        let pair = (boot(1, change), boot(2))
        let line = "raft_transport_connections{direction=\"outgoing\"}"
        let wanted = PeerFrame.Stream.allCases.count
        let isConnected = run { pair.0.count(line) == wanted && pair.1.count(line) == wanted }
        precondition(isConnected, "seed \(simulation.seed): two nodes do not find each other")
        pair.0.recorder.forget()
        pair.1.recorder.forget()
        return pair
    }

    /// Runs until that holds; false when it does not in that many seconds.
    func run(_ seconds: Int64 = 10, until isDone: () -> Bool) -> Bool {
        simulation.run(for: .seconds(seconds), until: isDone)
    }

    func run(milliseconds: Int64) {
        _ = simulation.run(for: .milliseconds(milliseconds))
    }

    /// Runs a task on the machine that belongs to nobody, to its end.
    func asStranger<T: Sendable>(
        within seconds: Int64 = 60,
        _ body: @escaping @Sendable (EventLoop) async throws -> T
    ) throws -> T {
        let loop = stranger.loops[0]
        let result = Outcome<T>()
        Task(executorPreference: loop) {
            do { result.value = .success(try await body(loop)) } catch {
                result.value = .failure(error)
            }
        }
        guard run(seconds, until: { result.value != nil }), let value = result.value else {
            throw Stuck()
        }
        return try value.get()
    }

    struct Stuck: Error {}
}

/// What a task came to.
final class Outcome<T: Sendable>: @unchecked Sendable {
    // Unchecked: a simulation runs on one thread.
    var value: Result<T, any Error>?
}
