import Bytes
import COpenSSL
import Platform
import Testing

@testable import TLS

@Suite(.timeLimit(.minutes(5))) struct `An encrypted stream` {
    let authority: CertificateAuthority
    let stage: NodeTLS

    init() throws {
        authority = try CertificateAuthority()
        stage = try Machine.stage(try authority.issue("node"))
    }

    private func meet(
        wrap: @escaping @Sendable (Socket) -> Socket = { $0 },
        _ body: @escaping @Sendable (_ caller: Socket, _ called: Socket, Pair) async throws -> Void
    ) async throws {
        let stage = stage
        try await Machine.on {
            let pair = try await Pair.connect(stage, stage, wrap: wrap)
            defer { pair.close() }
            try await body(try pair.caller.get(), try await pair.called.get(), pair)
        }
    }

    /// Bytes of which no block equals another.
    private static func pattern(_ count: Int, seed: UInt8) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) ^ seed }
    }

    @Test func `much data goes both ways at the same time`() async throws {
        try await meet { caller, called, _ in
            let there = Self.pattern(5_000_000, seed: 1)
            let back = Self.pattern(5_000_000, seed: 2)
            let loop = Machine.loop
            let writers = [(caller, there), (called, back)].map { socket, bytes in
                Task.immediate(executorPreference: loop) {
                    var rope = ByteRope()
                    var start = 0
                    // Pieces of all sizes, empty ones and those of more than a record too.
                    for size in [1, 0, 16_384, 16_385, 100_000, 3] {
                        rope.append(ByteSlice(Array(bytes[start..<start + size])))
                        start += size
                    }
                    rope.append(ByteSlice(Array(bytes[start...])))
                    try await socket.write(rope)
                }
            }
            let reader = Task.immediate(executorPreference: loop) {
                try await called.read(there.count)
            }
            let arrivedBack = try await caller.read(back.count)
            #expect(arrivedBack == back)
            #expect(try await reader.value == there)
            for writer in writers { try await writer.value }
        }
    }

    @Test func `a stream cut into single bytes is read as it was written`() async throws {
        try await meet(wrap: { Trickle($0) }) { caller, called, _ in
            let text = Self.pattern(40_000, seed: 3)
            try await called.write(ByteRope(ByteSlice(text)))
            #expect(try await caller.read(text.count) == text)
            try await caller.say("thanks")
            #expect(try await called.hear(6) == "thanks")
        }
    }

    @Test func `a reader that has to answer and a writer do not get in each other's way`()
        async throws
    {
        let gate = Gate.Latch()
        try await meet(wrap: { Gate($0, gate) }) { caller, called, _ in
            let asking = try #require(called as? TLSSocket)
            gate.close()
            // Each asks for an answer, and together for more than there is room for.
            for _ in 0..<400 {
                #expect(SSL_key_update(asking.ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
                try await called.say("k")
            }
            let reader = Task.immediate(executorPreference: Machine.loop) {
                try await caller.hear(400)
            }
            while !gate.holdsWriter { await Task.yield() }
            let writer = Task.immediate(executorPreference: Machine.loop) {
                try await caller.say("and this")
            }
            gate.open()
            try await writer.value
            #expect(try await reader.value == String(repeating: "k", count: 400))
            #expect(try await called.hear(8) == "and this")
        }
    }

    @Test func `one who has said all can still listen`() async throws {
        try await meet { caller, called, _ in
            let speaker = try #require(caller as? TLSSocket)
            try await caller.say("last words")
            speaker.sayEnd()
            #expect(try await called.hear(100) == "last words")
            #expect(try await called.peek() == nil)
            try await called.say("amen")
            #expect(try await caller.hear(4) == "amen")
            await #expect(throws: NetworkError.closed) { try await caller.say("more") }
        }
    }

    @Test func `an end without a goodbye is an error, not an end`() async throws {
        try await meet { caller, called, pair in
            try await caller.say("half a")
            pair.plainCaller.close()
            #expect(try await called.hear(6) == "half a")
            await #expect(throws: NetworkError.closed) { try await called.hear(1) }
            await #expect(throws: NetworkError.closed) { try await called.hear(1) }
        }
    }

    @Test func `a byte changed on the way ends the connection`() async throws {
        try await meet { caller, called, pair in
            try await pair.plainCaller.write(
                ByteRope(ByteSlice([0x17, 3, 3, 0, 32] + [UInt8](repeating: 9, count: 32)))
            )
            await #expect(throws: NetworkError.self) { try await called.hear(1) }
            await #expect(throws: NetworkError.closed) { try await called.hear(1) }
            await #expect(throws: NetworkError.closed) { try await called.say("hello?") }
            await #expect(throws: NetworkError.self) { try await caller.hear(1) }
        }
    }

    @Test func `closing wakes whoever waits, and can be done twice`() async throws {
        try await meet { caller, called, _ in
            let reader = Task.immediate(executorPreference: Machine.loop) {
                await Result(catching: { try await caller.hear(1) })
            }
            caller.close()
            caller.close()
            await #expect(throws: NetworkError.closed) { try await reader.value.get() }
            let end = try await called.hear(1)
            #expect(end.isEmpty)
        }
    }

    @Test func `garbage is refused`() async throws {
        let stage = stage
        try await Machine.on {
            var generator = SeededGenerator(seed: 7)
            for round in 0..<300 {
                let (caller, called) = try await Pair.plain()
                let bytes = (0..<generator.below(400)).map { place in
                    // Many look like the beginning of a handshake.
                    place < 3 && round % 2 == 0
                        ? [0x16, 3, 1][place] : UInt8(truncatingIfNeeded: generator.next())
                }
                try await caller.write(ByteRope(ByteSlice(bytes)))
                let server = Task.immediate(executorPreference: Machine.loop) {
                    await Result(catching: { try await stage.accepted(called) })
                }
                caller.close()
                if case .success = await server.value { Issue.record("round \(round) let in") }
                called.close()
            }
        }
    }
}

/// Takes nothing while it is closed.
private final class Gate: Socket, @unchecked Sendable {
    // Unchecked: confined to the loop of the socket behind it.
    final class Latch: @unchecked Sendable {
        // Unchecked: confined to the loop of the sockets.
        private var isClosed = false
        private var waiting: [UnsafeContinuation<Void, Never>] = []

        var holdsWriter: Bool { !waiting.isEmpty }
        var isOpen: Bool { !isClosed }

        func close() { isClosed = true }

        func open() {
            isClosed = false
            for waiter in waiting { waiter.resume() }
            waiting = []
        }

        func pass() async {
            while isClosed { await withUnsafeContinuation { waiting.append($0) } }
        }
    }

    private let plain: Socket
    private let latch: Latch

    init(_ plain: Socket, _ latch: Latch) {
        self.plain = plain
        self.latch = latch
    }

    override var peer: String { plain.peer }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int { try await plain.read(into: buffer) }

    override func write(_ rope: ByteRope) async throws(NetworkError) {
        await latch.pass()
        try await plain.write(rope)
    }

    override func writeNow(_ bytes: ByteSlice) -> Int {
        latch.isOpen ? plain.writeNow(bytes) : 0
    }

    override func close() { plain.close() }
}

/// Gives and takes one byte at a time.
private final class Trickle: Socket, @unchecked Sendable {
    // Unchecked: confined to the loop of the socket behind it.
    private let plain: Socket

    init(_ plain: Socket) { self.plain = plain }

    override var peer: String { plain.peer }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int {
        try await plain.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(1)))
    }

    override func write(_ rope: ByteRope) async throws(NetworkError) {
        for byte in rope.joined()?.array ?? [] {
            try await plain.write(ByteRope(ByteSlice([byte])))
        }
    }

    override func writeNow(_ bytes: ByteSlice) -> Int { plain.writeNow(bytes.prefix(1)) }

    override func close() { plain.close() }
}
