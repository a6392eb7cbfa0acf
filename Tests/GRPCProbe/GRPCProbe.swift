import Glibc
package import Platform
import RaftGRPC
import RaftRuntime

/// A node that other implementations of gRPC call in tests.
///
/// `grpc-probe [--adopt]` prints the port it listens on and serves until its input ends. With
/// `--adopt` it accepts connections itself and hands them over, as a node does on its Raft port.
/// `grpc-probe codec` answers each line `<message> <hexadecimal bytes>` by the bytes encoded again, or
/// by `error`. `grpc-probe bench` measures.
@main
enum GRPCProbe {
    static let groups = [
        ProbeGroup("__chronik_metadata", 0, group: 0, voters: [1]),
        ProbeGroup("orders", 0, group: 7, voters: [1, 2, 3]),
        ProbeGroup("orders", 1, group: 9, voters: []),
        ProbeGroup("orders", 2, group: 11, voters: [1, 2, 3]),
    ]

    static func main() async throws {
        switch CommandLine.arguments.dropFirst().first {
        case "bench": return try await WireBenchmark.run()
        case "codec": return CodecLines.serve()
        default: break
        }
        let platform = RealPlatform(loopCount: 2)
        // It stays a follower: the test leads.
        var config = RaftConfig()
        config.electionTicks = 100_000
        let node = try await start(platform, config)
        await node.lead(0)
        let adopts = CommandLine.arguments.contains("--adopt")
        let port = adopts ? try await accept(node, platform) : try listen(node)
        print(port)
        fflush(nil)
        while readLine() != nil {}
        node.stop()
    }

    private static func start(
        _ platform: RealPlatform,
        _ config: RaftConfig
    ) async throws -> ProbeNode {
        let loop = platform.loops[0]
        return try await on(loop) {
            var limits = GRPCServer.Configuration()
            limits.maxMessageBytes = 2 << 20
            return try ProbeNode(
                1,
                members: [1, 2, 3],
                groups: groups,
                platform: platform,
                loop: loop,
                config: config,
                server: limits
            )
        }
    }

    private static func listen(_ node: ProbeNode) throws -> UInt16 {
        try node.server.listen(on: SocketAddress(host: "127.0.0.1", port: 0))
    }

    private static func accept(_ node: ProbeNode, _ platform: RealPlatform) async throws -> UInt16 {
        let loop = platform.loops[1]
        return try await on(loop) {
            let listener = try loop.listen(SocketAddress(host: "127.0.0.1", port: 0))
            Task.immediate(executorPreference: loop) {
                while let connection = try? await listener.accept() {
                    try? node.server.adopt(connection)
                }
            }
            return listener.address.port
        }
    }
}

/// Runs something on a loop and waits for it.
package func on<Value: Sendable>(
    _ loop: EventLoop,
    _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withUnsafeThrowingContinuation { continuation in
        loop.execute { continuation.resume(with: Result(catching: body)) }
    }
}
