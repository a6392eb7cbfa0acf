import Bytes
import Platform
import Raft
import Testing

@testable import RaftTransport

/// What can be told from the first record of a TLS connection.
@Suite struct ClientHelloTests {
    /// A hello as clients send it, with these protocols; none when they are not told.
    static func hello(_ protocols: [String]?, session: Int = 32) -> [UInt8] {
        func counted(_ bytes: [UInt8]) -> [UInt8] {
            [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff)] + bytes
        }
        var extensions: [UInt8] = [0, 0x2b] + counted([2, 3, 4])
        if let protocols {
            let names = protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
            extensions += [0, 0x10] + counted(counted(names))
        }
        extensions += [0, 0x17] + counted([])
        var body: [UInt8] = [3, 3] + [UInt8](repeating: 7, count: 32)
        body += [UInt8(session)] + [UInt8](repeating: 9, count: session)
        body += counted([0x13, 1, 0x13, 2]) + [1, 0] + counted(extensions)
        return [0x16, 3, 1] + counted([1, 0] + counted(body))
    }

    @Test(
        arguments: [
            (["h2"], true), (["http/1.1", "h2"], true), (["grpc-exp", "h2"], true),
            (["http/1.1"], false), (["h2c"], false), (["h"], false), ([""], false), ([], false),
            (nil, false),
        ] as [([String]?, Bool)]
    )
    func `HTTP/2 is offered when it is among the protocols`(
        _ protocols: [String]?,
        _ isOffered: Bool
    ) {
        for session in [0, 32] {
            let hello = Self.hello(protocols, session: session)
            #expect(ClientHello.offersHTTP2(ByteSlice(hello)) == isOffered)
        }
    }

    @Test func `a hello cut anywhere or damaged offers what it says, or nothing`() {
        let hello = Self.hello(["h2"])
        for count in 0..<hello.count {
            #expect(!ClientHello.offersHTTP2(ByteSlice(Array(hello[..<count]))))
        }
        var generator = SeededGenerator(seed: 3)
        for place in hello.indices {
            for _ in 0..<20 {
                var damaged = hello
                damaged[place] = UInt8(truncatingIfNeeded: generator.next())
                _ = ClientHello.offersHTTP2(ByteSlice(damaged))
            }
        }
    }
}

/// Connections of a node whose streams go through a stage, and that takes HTTP/2.
@Suite(.timeLimit(.minutes(10))) struct `HTTP/2 inside of TLS` {
    /// In pieces, so that the hello has to be waited for.
    private static func taken(_ hello: [UInt8], in pieces: Int) async throws -> [UInt8] {
        let (handed, arrivals) = AsyncStream<ByteSlice>.makeStream()
        let node = try await RealNode(
            1,
            http2: { connection, read in
                Task(executorPreference: Machine.loop) {
                    guard let socket = try? Machine.loop.adopt(connection) else { return }
                    socket.close()
                    arrivals.yield(read)
                }
            }
        ) { $0.stage = NoStage() }
        let address = node.address
        let client = try await Machine.on {
            let socket = try await Machine.loop.connect(address)
            for start in stride(from: 0, to: hello.count, by: pieces) {
                let piece = Array(hello[start..<min(start + pieces, hello.count)])
                try await socket.write(ByteRope(ByteSlice(piece)))
            }
            return socket
        }
        var found = ByteSlice()
        for await read in handed {
            found = read
            break
        }
        try await Machine.on { client.close() }
        await node.stop()
        return found.array
    }

    @Test(arguments: [1, 7, 10_000])
    func `it is handed over with what was read of it`(_ pieces: Int) async throws {
        let hello = ClientHelloTests.hello(["h2"])
        #expect(try await Self.taken(hello, in: pieces) == hello)
    }
}

private struct NoStage: StreamStage {
    func dialed(_ socket: Socket, to peer: ReplicaID) -> Socket { socket }
    func accepted(_ socket: Socket) -> Socket { socket }
    func check(_ socket: Socket, isOf peer: ReplicaID) {}
}
