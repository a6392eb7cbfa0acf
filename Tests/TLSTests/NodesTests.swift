import Bytes
import Foundation
import Platform
import Raft
import RaftRuntime
import RaftTransport
import Synchronization
import Testing

@testable import TLS

@Suite(.timeLimit(.minutes(5))) struct `Nodes over TLS` {
    let authority: CertificateAuthority

    init() throws { authority = try CertificateAuthority() }

    @Test func `three nodes talk to each other`() async throws {
        let nodes = try await (1...3).asyncMap { number in
            try await SecureNode(number, try authority.issue("node\(number)"))
        }
        let addresses = Dictionary(uniqueKeysWithValues: nodes.map { ($0.id, $0.address) })
        for node in nodes { node.transport.setPeers(addresses) }
        // What is sent before a connection is there may be dropped: say it until it is heard.
        while !nodes.allSatisfy({ $0.heard.count == 2 }) {
            for from in nodes {
                for to in nodes where to !== from {
                    from.transport.send(SecureNode.beat, to: to.id)
                }
            }
            try await Machine.on {}
        }
        for node in nodes { await node.transport.stop() }
    }

    @Test func `a node that claims another's id is not heard`() async throws {
        let hosts: [UInt64: String] = [1: "one.example", 2: "127.0.0.1", 3: "127.0.0.1"]
        let two = try await SecureNode(2, try authority.issue("two"), hosts: hosts)
        // Signed by the authority, but not of the host where node 1 is.
        let impostor = try await SecureNode(1, try authority.issue("three"), hosts: hosts)
        impostor.transport.setPeers([two.id: two.address])
        let line = "raft_transport_malformed_frames_total"
        while two.value(line) == 0 && two.heard.isEmpty {
            impostor.transport.send(SecureNode.beat, to: two.id)
            try await Machine.on {}
        }
        #expect(two.heard.isEmpty)
        await impostor.transport.stop()
        await two.transport.stop()
    }

    @Test func `who stops in the middle of a handshake is cut off`() async throws {
        let node = try await SecureNode(1, try authority.issue("node")) {
            $0.handshakeNanoseconds = .milliseconds(100)
        }
        let address = node.address
        try await Machine.on {
            let socket = try await Machine.loop.connect(address)
            // The header of a hello that never comes.
            try await socket.write(ByteRope(ByteSlice([0x16, 3, 1, 2, 0, 1])))
            _ = try? await socket.read(1)
            socket.close()
        }
        await node.transport.stop()
    }

    @Test(arguments: [
        ("-tls1_3", TLSError.noCertificate),
        ("-tls1_2", TLSError.handshake(reason: "unsupported protocol")),
    ])
    func `who shows no certificate, or speaks an older TLS, is refused`(
        version: String,
        refusal: TLSError
    ) async throws {
        let stage = try Machine.stage(try authority.issue("node"))
        try await Machine.on {
            let listener = try Machine.loop.listen(SocketAddress(host: "127.0.0.1", port: 0))
            defer { listener.close() }
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
            process.arguments = [
                "s_client", "-connect", "\(listener.address)", version, "-quiet",
            ]
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            let socket = try Machine.loop.adopt(try await listener.accept())
            let end = await Result(catching: { try await stage.accepted(socket) })
            socket.close()
            #expect(end.failure == refusal, "\(end)")
        }
    }

    @Test func `it is fast enough to be on always`() async throws {
        let stage = try Machine.stage(try authority.issue("node"))
        try await Machine.on {
            let pair = try await Pair.connect(stage, stage)
            defer { pair.close() }
            let caller = try pair.caller.get()
            let called = try await pair.called.get()
            let bytes = ByteSlice([UInt8](repeating: 7, count: 1 << 20))
            let count = 512
            let began = Machine.loop.clock.monotonicNanoseconds
            let writer = Task.immediate(executorPreference: Machine.loop) {
                for _ in 0..<count { try await caller.write(ByteRope(bytes)) }
            }
            let room = ByteStorage(capacity: 1 << 20)
            let space = UnsafeMutableRawBufferPointer(start: room.start, count: room.capacity)
            var rest = count << 20
            while rest > 0 { rest -= try await called.read(into: space) }
            try await writer.value
            let took = Machine.loop.clock.monotonicNanoseconds - began
            print("TLS: \((count << 20) * 1_000 / Int(took)) MB/s, both ends on one thread")
        }
    }
}

/// A transport over TLS on loopback, and who it heard.
final class SecureNode: Sendable {
    static let beat = PeerFrame.beat(NodeBeat(sequence: 1, answered: 0, incarnation: 1))

    let id: ReplicaID
    let transport: FramedTransport
    let address: SocketAddress
    private let metrics: MetricsRegistry
    private let peers: Heard

    private final class Heard: RaftTransportDelegate {
        let peers = Mutex<Set<ReplicaID>>([])
        func received(_ frame: PeerFrame, from peer: ReplicaID) {
            peers.withLock { _ = $0.insert(peer) }
        }
        func peerIsUnreachable(_ peer: ReplicaID) {}
    }

    var heard: Set<ReplicaID> { peers.peers.withLock { $0 } }

    init(
        _ number: Int,
        _ files: CredentialFiles,
        hosts: [UInt64: String] = [1: "127.0.0.1", 2: "127.0.0.1", 3: "127.0.0.1"],
        _ change: (inout FramedTransportConfiguration) -> Void = { _ in }
    ) async throws {
        id = ReplicaID(UInt64(number))
        metrics = MetricsRegistry()
        var configuration = FramedTransportConfiguration(
            identity: .init(cluster: "test", node: id, incarnation: 1),
            listenAddress: SocketAddress(host: "127.0.0.1", port: 0)
        )
        configuration.maxBackoffNanoseconds = .milliseconds(50)
        configuration.stage = try Machine.stage(files, hosts: hosts)
        change(&configuration)
        let transport = FramedTransport(
            configuration,
            loops: Machine.platform.loops,
            generator: Machine.platform.makeGenerator(),
            metrics: metrics
        )
        self.transport = transport
        let peers = Heard()
        self.peers = peers
        address = try await Machine.on { try transport.start(delegate: peers) }
    }

    /// A counter without labels.
    func value(_ name: String) -> Int {
        for line in metrics.prometheusText().split(separator: "\n")
        where line.hasPrefix(name + " ") {
            return Int(line.dropFirst(name.count + 1)) ?? 0
        }
        return 0
    }
}

extension Sequence {
    func asyncMap<T>(_ body: (Element) async throws -> T) async rethrows -> [T] {
        var all: [T] = []
        for element in self { all.append(try await body(element)) }
        return all
    }
}
