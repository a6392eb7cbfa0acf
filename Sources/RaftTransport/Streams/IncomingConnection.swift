internal import Bytes
internal import Platform
internal import Raft
internal import RaftRuntime
internal import Synchronization

/// A connection that a peer made, to be read from.
///
/// | state | goes on when |
/// |---|---|
/// | unknown | the first byte is there: frames, or another protocol that takes the connection over |
/// | greeting | the hello is read: accepted or refused, and answered |
/// | receiving | the peer closes, sends what makes no sense, or nothing at all for too long |
actor IncomingConnection {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    /// When something arrived, to within the time between two looks; for the door.
    nonisolated let lastHeard = Atomic<Int64>(0)

    private let context: TransportContext
    private let door: Door
    private let reader: FrameReader
    private let address: String
    private var socket: Socket
    private var isEnding = false
    /// Connections this one takes the place of; none of them may deliver once this one does.
    private var predecessors: [IncomingConnection] = []
    private var lastArrived: UInt64 = 0
    private var lastReceipt: UInt64 = 0
    private var silentSince: Int64
    private var isAnswering = false

    init(_ socket: Socket, on loop: EventLoop, context: TransportContext, door: Door) {
        self.socket = socket
        self.loop = loop
        self.context = context
        self.door = door
        address = socket.peer
        reader = FrameReader(
            limit: context.configuration.maxFrameBytes,
            bufferBytes: Self.bufferBytes
        )
        silentSince = loop.clock.monotonicNanoseconds
    }

    private static let bufferBytes = 32 << 10

    /// Ends the connection; when this returns it delivers nothing more, nor does any it replaced.
    func end() async {
        isEnding = true
        socket.close()
        let before = predecessors
        predecessors = []
        for connection in before { await connection.end() }
    }

    /// Serves the connection to its end.
    func serve() async {
        var hello: Hello?
        do {
            hello = try await greet()
            if let hello { try await receive(hello) }
        } catch {
            if !isEnding {
                context.badInput(error, from: address, peer: hello?.caller.node)
            }
        }
        await end()
        if let hello { door.left(self, hello.caller.node) }
    }

    // MARK: Greeting

    /// The hello of a peer that was let in; `nil` for anybody else.
    private func greet() async throws -> Hello? {
        var hasTimedOut = false
        let timer = loop.schedule(after: context.configuration.handshakeNanoseconds) { [socket] in
            hasTimedOut = true
            socket.close()
        }
        defer {
            timer.cancel()
            door.greeted()
        }
        do {
            guard try await isOurs() else { return nil }
            let hello = try Hello.read(
                try await reader.greeting(Envelope.hello, from: socket)
            )
            try context.configuration.stage?.check(socket, isOf: hello.caller.node)
            let (refusal, rival) = await admit(hello)
            guard !isEnding else { return nil }
            let answer = HelloAnswer(
                versions: ProtocolVersion.spoken,
                refusal: refusal,
                answering: context.identity,
                rival: rival
            )
            try await socket.write(ByteRope(answer.bytes))
            guard let refusal else { return hello }
            report(HandshakeRefusal(refusal, of: hello, by: answer))
            return nil
        } catch {
            throw hasTimedOut ? GreetingError.timedOut : error
        }
    }

    /// Whether frames follow; another protocol's connection is handed over.
    private func isOurs() async throws -> Bool {
        if let stage = context.configuration.stage {
            try await expect(.tls)
            if let take = door.takesHTTP2 {
                let hello = try await ClientHello.read(from: socket)
                if ClientHello.offersHTTP2(hello) {
                    handOver(hello, to: take)
                    return false
                }
                socket = ReplayedSocket(hello, then: socket)
            }
            socket = try await stage.accepted(socket)
        }
        guard let first = try await socket.peek() else { throw GreetingError.ended }
        switch ProtocolSniffer.find(first) {
        case .frames: return true
        case .http2:
            // What comes out of a stage is no descriptor that could be given away: whoever wants
            // HTTP/2 inside of TLS has to say so in the hello.
            guard context.configuration.stage == nil, let take = door.takesHTTP2 else {
                throw GreetingError.notChronik
            }
            handOver(ByteSlice(), to: take)
            return false
        case .tls, .unknown: throw GreetingError.notChronik
        }
    }

    private func handOver(
        _ read: ByteSlice,
        to take: @Sendable (AcceptedConnection, ByteSlice) -> Void
    ) {
        isEnding = true
        take(socket.detach(), read)
    }

    private func expect(_ wanted: ProtocolSniffer.Found) async throws {
        guard let first = try await socket.peek() else { throw GreetingError.ended }
        guard ProtocolSniffer.find(first) == wanted else { throw GreetingError.notChronik }
    }

    private func admit(_ hello: Hello) async -> (HandshakeRefusal.Reason?, rival: NodeLife?) {
        let now = loop.clock.monotonicNanoseconds
        lastHeard.store(now, ordering: .relaxed)
        switch door.admit(self, hello, now: now) {
        case .refused(let reason, let rival): return (reason, rival)
        case .closed:
            isEnding = true
            return (nil, nil)
        case .admitted(let replaced):
            predecessors = replaced
            for connection in replaced { await connection.end() }
            predecessors = []
            return (nil, nil)
        }
    }

    private func report(_ refusal: HandshakeRefusal) {
        context.metrics.refused(refusal.reason, byUs: true)
        context.strangers.limited { suppressed in
            context.log.warning(
                "a connection of another node is refused",
                ["address": address, "reason": "\(refusal)", "suppressed": "\(suppressed)"]
            )
        }
    }

    // MARK: Receiving

    private func receive(_ hello: Hello) async throws {
        guard let stream = PeerFrame.Stream(rawValue: hello.stream) else { return }
        let peer = hello.caller.node
        context.metrics.incoming.add(1)
        defer { context.metrics.incoming.add(-1) }
        let traffic = context.metrics[stream]
        let greetingBytes = reader.arrived
        lastArrived = greetingBytes
        lastReceipt = greetingBytes
        silentSince = loop.clock.monotonicNanoseconds
        look(after: greetingBytes)
        while let frame = try await reader.frame(from: socket), !isEnding {
            guard stream.carries(frame.kind) else {
                throw FrameError.wrongStream(frame.kind.rawValue)
            }
            guard let content = try FrameCodec.decode(frame.kind, frame.body) else { continue }
            traffic.framesReceived.increment()
            traffic.bytesReceived.increment(by: FrameHeader.byteCount + frame.body.count)
            context.delegate.received(content, from: peer)
        }
    }

    /// Says now and then how far the stream has come, and ends it when it does not move.
    private func look(after greetingBytes: UInt64) {
        _ = loop.schedule(after: context.configuration.keepAliveNanoseconds) { [weak self] in
            self?.assumeIsolated { $0.lookNow(after: greetingBytes) }
        }
    }

    private func lookNow(after greetingBytes: UInt64) {
        guard !isEnding else { return }
        let now = loop.clock.monotonicNanoseconds
        if reader.arrived != lastArrived {
            lastArrived = reader.arrived
            silentSince = now
            lastHeard.store(now, ordering: .relaxed)
        } else if now - silentSince >= context.configuration.stallNanoseconds {
            context.metrics.stalls.increment()
            socket.close()
            return
        }
        if lastArrived != lastReceipt && !isAnswering {
            lastReceipt = lastArrived
            isAnswering = true
            let receipt = FrameCodec.receipt(lastArrived - greetingBytes)
            Task.immediate(executorPreference: loop) { await self.answer(receipt) }
        }
        look(after: greetingBytes)
    }

    private func answer(_ receipt: ByteRope) async {
        // Whoever reads finds out when the connection is gone.
        try? await socket.write(receipt)
        isAnswering = false
    }
}
