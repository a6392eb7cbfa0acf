import Glibc
import Platform
import Raft
import RaftGRPC
import RaftRuntime
import Synchronization

/// Frames between two nodes in one process over loopback, by gRPC.
///
/// Prints, for payloads of 100 bytes and 64 KiB: the time of a frame there and its answer back, one
/// at a time; frames and bytes a second, a hundred under way; and what of it one call costs; then
/// threads and memory before gRPC is started and with it.
enum WireBenchmark {
    static func run() async throws {
        let before = usage()
        let platform = RealPlatform(loopCount: 2)
        let pair = try Pair(platform)
        for bytes in [100, 64 << 10] {
            let rounds = bytes > 1000 ? 2_000 : 20_000
            _ = await pair.exchange(bytes, total: 500, inFlight: 1)
            var latencies = await pair.exchange(bytes, total: rounds / 2, inFlight: 1).latencies
            latencies.sort()
            print(
                "\(bytes) bytes, one at a time: p50 \(latencies[latencies.count / 2] / 1000) us,",
                "p99 \(latencies[latencies.count * 99 / 100] / 1000) us there and back"
            )
            let flood = await pair.exchange(bytes, total: rounds * 5, inFlight: 100)
            let rate = Double(rounds * 5) / Double(flood.nanoseconds) * 1e9
            print(
                "\(bytes) bytes, 100 under way: \(Int(rate)) frames/s there and as many back,",
                "\(Int(rate * Double(bytes) / 1e6)) MB/s"
            )
        }
        let after = usage()
        pair.stop()
        print("threads \(before.threads) -> \(after.threads) (2 of them event loops),")
        print("resident \(before.kilobytes) -> \(after.kilobytes) kB")
    }

    /// Threads and resident memory of this process.
    static func usage() -> (threads: Int, kilobytes: Int) {
        guard let file = fopen("/proc/self/status", "r") else { return (0, 0) }
        defer { fclose(file) }
        var threads = 0
        var kilobytes = 0
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(
                decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) },
                as: UTF8.self
            )
            let words = text.split { $0 == "\t" || $0 == " " || $0 == "\n" }
            if words.first == "Threads:" { threads = Int(words[1]) ?? 0 }
            if words.first == "VmRSS:" { kilobytes = Int(words[1]) ?? 0 }
        }
        return (threads, kilobytes)
    }
}

/// Two nodes, of which the second sends back whatever it gets.
private final class Pair: Sendable {
    private let asking: Asking
    private let servers: [GRPCServer]
    private let transports: [GRPCTransport]
    private let loop: EventLoop

    init(_ platform: RealPlatform) throws {
        var servers: [GRPCServer] = []
        var addresses: [SocketAddress] = []
        let transports = (0..<2).map { place in
            GRPCTransport(identity: Self.identity(place), loop: platform.loops[place])
        }
        let asking = Asking(transports[0], platform.clock)
        let delegates: [any RaftTransportDelegate] = [asking, Echo(transports[1])]
        for place in 0..<2 {
            let service = RaftService(
                identity: Self.identity(place),
                handler: ProbeHandler(
                    HostedReplicas([], placement: { _ in 0 }),
                    id: UInt64(place + 1),
                    members: [1, 2],
                    groups: []
                ),
                answers: CallAnswers(over: transports[place]),
                delegate: delegates[place],
                loops: [platform.loops[place]]
            )
            let server = GRPCServer(service)
            let port = try server.listen(on: SocketAddress(host: "127.0.0.1", port: 0))
            addresses.append(SocketAddress(host: "127.0.0.1", port: port))
            servers.append(server)
        }
        for place in 0..<2 {
            transports[place].start(delegate: delegates[place])
            transports[place].setPeers([ReplicaID(UInt64(2 - place)): addresses[1 - place]])
        }
        self.asking = asking
        self.servers = servers
        self.transports = transports
        loop = platform.loops[0]
    }

    private static func identity(_ place: Int) -> ServiceIdentity {
        ServiceIdentity(cluster: ProbeNode.cluster, node: ReplicaID(UInt64(place + 1)))
    }

    func exchange(
        _ bytes: Int,
        total: Int,
        inFlight: Int
    ) async -> (nanoseconds: Int64, latencies: [Int64]) {
        await withUnsafeContinuation { continuation in
            loop.execute { [asking] in
                asking.begin(bytes, total: total, inFlight: inFlight) {
                    continuation.resume(returning: $0)
                }
            }
        }
    }

    func stop() {
        for server in servers { server.stop() }
        for transport in transports { transport.stop() }
    }
}

private final class Echo: RaftTransportDelegate {
    private let transport: GRPCTransport
    init(_ transport: GRPCTransport) { self.transport = transport }

    func received(_ frame: PeerFrame, from peer: ReplicaID) { transport.send(frame, to: peer) }
    func peerIsUnreachable(_ peer: ReplicaID) {}
}

private final class Asking: RaftTransportDelegate, @unchecked Sendable {
    // Unchecked: confined to the first loop.
    typealias Measured = (nanoseconds: Int64, latencies: [Int64])
    private let transport: GRPCTransport
    private let clock: any Clock
    private var message = RaftPayload.empty
    private var unsent = 0
    private var unanswered = 0
    private var began: Int64 = 0
    private var sentAt: [UInt64: Int64] = [:]
    private var latencies: [Int64] = []
    private var next: UInt64 = 0
    private var done: ((Measured) -> Void)?

    init(_ transport: GRPCTransport, _ clock: any Clock) {
        self.transport = transport
        self.clock = clock
    }

    func begin(_ bytes: Int, total: Int, inFlight: Int, _ done: @escaping (Measured) -> Void) {
        message = RaftPayload(copying: [UInt8](repeating: 7, count: bytes))
        (unsent, unanswered, latencies) = (total, total, [])
        self.done = done
        began = clock.monotonicNanoseconds
        for _ in 0..<inFlight { ask() }
    }

    private func ask() {
        guard unsent > 0 else { return }
        unsent -= 1
        next += 1
        sentAt[next] = clock.monotonicNanoseconds
        let question = Message(
            from: ReplicaID(1),
            to: ReplicaID(2),
            term: Term(1),
            body: .propose([Message.Proposal(payload: message)])
        )
        transport.send(.messages([GroupMessage(group: next, message: question)]), to: ReplicaID(2))
    }

    func received(_ frame: PeerFrame, from peer: ReplicaID) {
        guard case .messages(let messages) = frame else { return }
        let now = clock.monotonicNanoseconds
        for message in messages {
            guard let sent = sentAt.removeValue(forKey: message.group) else { continue }
            latencies.append(now - sent)
            unanswered -= 1
            ask()
        }
        if unanswered == 0 {
            let done = done
            self.done = nil
            done?((now - began, latencies))
        }
    }

    func peerIsUnreachable(_ peer: ReplicaID) {}
}
