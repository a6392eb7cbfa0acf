import Bytes
import Platform
import Raft
import RaftRuntime
import RaftTransport

/// The machine the tests run on: its loops live as long as the process.
enum Machine {
    static let platform = RealPlatform(loopCount: 2)

    static var loop: EventLoop { platform.loops[0] }

    /// Runs `body` as a task of the first loop.
    static func on<T: Sendable>(
        _ body: @escaping @Sendable () async throws -> T
    ) async throws -> T {
        try await Task(executorPreference: loop) { try await body() }.value
    }
}

/// A transport on loopback, and what it was told.
final class RealNode: Sendable {
    let id: ReplicaID
    let transport: FramedTransport
    let recorder = Recorder()
    let metrics = MetricsRegistry()
    let address: SocketAddress

    init(
        _ number: UInt64,
        cluster: String = "test",
        incarnation: UInt64 = 1,
        port: UInt16 = 0,
        http2: (@Sendable (AcceptedConnection, ByteSlice) -> Void)? = nil,
        _ change: (inout FramedTransportConfiguration) -> Void = { _ in }
    ) async throws {
        id = ReplicaID(number)
        var configuration = FramedTransportConfiguration(
            identity: .init(cluster: cluster, node: id, incarnation: incarnation),
            listenAddress: SocketAddress(host: "127.0.0.1", port: port)
        )
        configuration.maxBackoffNanoseconds = .milliseconds(50)
        change(&configuration)
        let transport = FramedTransport(
            configuration,
            loops: Machine.platform.loops,
            generator: Machine.platform.makeGenerator(),
            metrics: metrics
        )
        self.transport = transport
        let recorder = recorder
        address = try await Machine.on {
            try transport.start(delegate: recorder, http2: http2)
        }
    }

    /// Makes nodes know each other, and comes back when all are connected.
    static func introduce(_ nodes: RealNode...) async throws {
        let addresses = Dictionary(uniqueKeysWithValues: nodes.map { ($0.id, $0.address) })
        for node in nodes { node.transport.setPeers(addresses) }
        let wanted = PeerFrame.Stream.allCases.count * (nodes.count - 1)
        let line = "raft_transport_connections{direction=\"outgoing\"} \(wanted)"
        while !nodes.allSatisfy({ $0.counts(line) }) {
            try Task.checkCancellation()
            // What there is to do on the loop comes first.
            try await Machine.on {}
        }
    }

    func counts(_ line: String) -> Bool { metrics.prometheusText().contains(line + "\n") }

    func stop() async { await transport.stop() }
}

/// Frames with a number in them.
enum Numbered {
    static func frame(_ number: Int, on stream: PeerFrame.Stream = .messages) -> PeerFrame {
        let number = UInt64(number)
        return switch stream {
        case .messages: messages(number, bytes: 100)
        case .liveness: .beat(NodeBeat(sequence: number, answered: 0, incarnation: 1))
        case .snapshots:
            .snapshotAnswer(
                SnapshotAnswer(
                    group: number,
                    index: LogIndex(1),
                    term: Term(1),
                    content: 0,
                    received: 0,
                    isRefused: false
                )
            )
        case .calls:
            .call(PeerCall(id: number, operation: 3, payload: ByteSlice("payload")))
        }
    }

    static func messages(_ number: UInt64, bytes: Int) -> PeerFrame {
        let payload = RaftPayload(
            copying: (0..<bytes).map { UInt8(truncatingIfNeeded: UInt64($0) &* 7 &+ number) }
        )
        let append = Message.Append(
            previousIndex: LogIndex(number),
            previousTerm: Term(1),
            entries: [RaftEntry(index: LogIndex(number + 1), term: Term(1), payload: payload)],
            commit: LogIndex(number)
        )
        let message = Message(
            from: ReplicaID(1),
            to: ReplicaID(2),
            term: Term(1),
            body: .append(append)
        )
        return .messages([GroupMessage(group: number, message: message)])
    }
}
