internal import Bytes
internal import Platform
internal import Raft
internal import RaftRuntime

/// One stream to one peer: a queue, and a connection that is made again whenever it ends.
///
/// | state | goes on when |
/// |---|---|
/// | dialing | connected: greeting; refused or time up: waiting |
/// | greeting | accepted: sending; refused or time up: waiting |
/// | sending | the connection ends or stalls: waiting |
/// | waiting | the back-off is over, or the peer itself has connected: dialing |
///
/// Whenever a connection or an attempt fails, what is queued is dropped and the peer reported
/// unreachable: what was under way is lost anyway, and Raft sends what is still true again.
actor OutgoingStream {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    nonisolated let peer: ReplicaID
    nonisolated let stream: PeerFrame.Stream
    nonisolated private let queue: SendQueue
    nonisolated private let context: TransportContext
    private let limiter: LogLimiter
    private var address: SocketAddress
    private var generator: SeededGenerator
    private var backoff: Backoff
    private var isStopped = false
    private var link: Link?
    /// Counts connections, so that what was planned for one does not meet the next.
    private var linkNumber = 0
    private var waitingWriter: UnsafeContinuation<Void, Never>?
    private var hasWork = false
    /// What was taken from the queue, and what of it the socket has not taken.
    private var unsent: (batch: SendQueue.Batch, rest: ByteRope)?
    private var pause: UnsafeContinuation<Void, Never>?
    /// Whether the peer's own call ends the wait.
    private var isPatient = false

    init(
        to peer: ReplicaID,
        at address: SocketAddress,
        _ stream: PeerFrame.Stream,
        on loop: EventLoop,
        generator: SeededGenerator,
        context: TransportContext
    ) {
        self.peer = peer
        self.address = address
        self.stream = stream
        self.loop = loop
        self.generator = generator
        self.context = context
        let configuration = context.configuration
        queue = SendQueue(
            maxBytes: configuration.maxQueuedBytes,
            maxFrames: configuration.maxQueuedFrames
        )
        limiter = LogLimiter(every: .seconds(10), clock: loop.clock)
        backoff = Backoff(
            least: configuration.minBackoffNanoseconds,
            most: configuration.maxBackoffNanoseconds
        )
    }

    // MARK: From any loop

    nonisolated func send(_ frame: PeerFrame) {
        FrameCodec.encode(frame) { kind, body in
            let isTooLong =
                FrameHeader.byteCount + body.count > context.configuration.maxFrameBytes
            if isTooLong { context.metrics.oversizedSent.increment() }
            let given = isTooLong ? queue.drop() : queue.give(kind, body)
            if given.isDropped { context.metrics[stream].framesDropped.increment() }
            if given.wakes {
                // At once on its own loop: what the caller does next, as to write its log, may
                // take longer than the peer needs to do the same.
                if loop.isCurrent {
                    assumeIsolated { $0.writeAtOnce() }
                } else {
                    loop.execute { self.assumeIsolated { $0.writeAtOnce() } }
                }
            }
            if given.reports { loop.execute { self.assumeIsolated { $0.reportUnreachable() } } }
        }
    }

    // MARK: Life

    /// Runs until ``stop()``.
    func run() async {
        while !isStopped {
            do {
                let socket = try await dial()
                let link = try await greet(socket)
                try await use(link)
            } catch {
                failed(error)
            }
            if isStopped { break }
            reportUnreachable()
            await waitForRetry()
        }
    }

    func stop() {
        isStopped = true
        queue.close()
        context.metrics[stream].framesDropped.increment(by: queue.clear())
        link?.end()
        wakeWriter()
        endPause()
    }

    /// The peer can be reached elsewhere from now on.
    func move(to address: SocketAddress) {
        guard address != self.address else { return }
        self.address = address
        backoff.reset()
        link?.end()
        endPause()
    }

    /// The peer has just connected to this node: it is there.
    func peerIsAlive() {
        if !isPatient { endPause() }
    }

    private func failed(_ error: any Error) {
        context.metrics.connectFailures.increment()
        isPatient = error is HandshakeRefusal
        if let refusal = error as? HandshakeRefusal {
            context.metrics.refused(refusal.reason, byUs: false)
        }
        limiter.limited { suppressed in
            context.log.warning(
                "a peer cannot be reached",
                [
                    "peer": "\(peer)", "address": "\(address)", "stream": "\(stream)",
                    "error": "\(error)", "suppressed": "\(suppressed)",
                ]
            )
        }
    }

    private func reportUnreachable() {
        queue.willReport()
        if !isStopped { context.delegate.peerIsUnreachable(peer) }
    }

    private func waitForRetry() async {
        context.metrics[stream].framesDropped.increment(by: queue.clear())
        let timer = loop.schedule(after: backoff.next(&generator)) { [weak self] in
            self?.assumeIsolated { $0.endPause() }
        }
        await withUnsafeContinuation { if isStopped { $0.resume() } else { pause = $0 } }
        timer.cancel()
        isPatient = false
    }

    private func endPause() {
        pause?.resume()
        pause = nil
    }

    // MARK: Connecting

    private func dial() async throws -> Socket {
        let attempt = DialAttempt()
        let address = address
        let timer = loop.schedule(after: context.configuration.connectNanoseconds) {
            _ = attempt.settle(.failure(.refused(address: "\(address)", reason: "timed out")))
        }
        Task.immediate(executorPreference: loop) { await self.connect(to: address, attempt) }
        let result = await attempt.value
        timer.cancel()
        let socket = try result.get()
        guard !isStopped else {
            socket.close()
            throw NetworkError.closed
        }
        return socket
    }

    private func connect(to address: SocketAddress, _ attempt: DialAttempt) async {
        do {
            let socket = try await loop.connect(address)
            if !attempt.settle(.success(socket)) { socket.close() }
        } catch {
            _ = attempt.settle(.failure(error))
        }
    }

    /// Says who is calling whom and reads the answer; closes the socket unless it can be used.
    private func greet(_ plain: Socket) async throws -> Link {
        let context = context
        var hasTimedOut = false
        let timer = loop.schedule(after: context.configuration.handshakeNanoseconds) {
            hasTimedOut = true
            plain.close()
        }
        defer { timer.cancel() }
        do {
            let socket = try await context.configuration.stage?.dialed(plain, to: peer) ?? plain
            let link = Link(
                socket,
                FrameReader(limit: context.configuration.maxFrameBytes, bufferBytes: 2048),
                now: loop.clock.monotonicNanoseconds
            )
            let hello = Hello(
                versions: ProtocolVersion.spoken,
                stream: stream.rawValue,
                caller: context.identity,
                called: peer
            )
            try await socket.write(ByteRope(hello.bytes))
            let content = try await link.reader.greeting(Envelope.answer, from: socket)
            let answer = try HelloAnswer.read(content)
            if let reason = answer.refusal {
                throw HandshakeRefusal(reason, of: hello, by: answer)
            }
            return link
        } catch {
            plain.close()
            throw hasTimedOut ? GreetingError.timedOut : error
        }
    }

    // MARK: Sending

    private func use(_ link: Link) async throws {
        self.link = link
        context.metrics.outgoing.add(1)
        defer {
            context.metrics.outgoing.add(-1)
            self.link = nil
        }
        let reader = Task.immediate(executorPreference: loop) { await self.readReceipts(link) }
        linkNumber += 1
        context.log.debug(
            "a peer is connected",
            ["peer": "\(peer)", "address": "\(address)", "stream": "\(stream)"]
        )
        look(atLink: linkNumber)
        if isStopped { link.end() }
        while !link.isOver {
            if unsent == nil && !take(for: link) {
                await waitForWork(link)
                continue
            }
            await writeUnsent(to: link)
        }
        if let unsent { ended(unsent.batch, isSent: false) }
        link.end()
        await reader.value
    }

    /// Takes everything that waits out of the queue.
    private func take(for link: Link) -> Bool {
        guard let batch = queue.take() else { return false }
        link.willSend(batch.rope.count, now: loop.clock.monotonicNanoseconds)
        unsent = (batch, batch.rope)
        return true
    }

    private func writeUnsent(to link: Link) async {
        guard let (batch, rest) = unsent else { return }
        do {
            try await link.socket.write(rest)
            ended(batch, isSent: true)
        } catch {
            ended(batch, isSent: false)
            link.end()
        }
    }

    /// Writes what the socket takes without waiting, if the writer has nothing under way; the
    /// writer does the rest.
    private func writeAtOnce() {
        guard let link, !link.isOver, waitingWriter != nil, unsent == nil else {
            wakeWriter()
            return
        }
        while take(for: link) {
            guard let (batch, rope) = unsent, rope.pieces.count == 1,
                case .bytes(let bytes) = rope.pieces[0]
            else { break }
            let written = link.socket.writeNow(bytes)
            guard written == bytes.count else {
                unsent = (batch, ByteRope(bytes.dropFirst(written)))
                break
            }
            ended(batch, isSent: true)
        }
        if unsent != nil { wakeWriter() }
    }

    private func ended(_ batch: SendQueue.Batch, isSent: Bool) {
        unsent = nil
        queue.finished(batch)
        let traffic = context.metrics[stream]
        if isSent {
            traffic.framesSent.increment(by: batch.frames)
            traffic.bytesSent.increment(by: batch.rope.count)
        } else {
            traffic.framesDropped.increment(by: batch.frames)
        }
    }

    private func waitForWork(_ link: Link) async {
        await withUnsafeContinuation {
            if hasWork || link.isOver { $0.resume() } else { waitingWriter = $0 }
        }
        hasWork = false
    }

    private func wakeWriter() {
        hasWork = true
        waitingWriter?.resume()
        waitingWriter = nil
    }

    private func readReceipts(_ link: Link) async {
        do {
            while let frame = try await link.reader.frame(from: link.socket) {
                guard frame.kind == .receipt else {
                    throw FrameError.wrongStream(frame.kind.rawValue)
                }
                let receipt = try FrameCodec.readReceipt(frame.body)
                let now = loop.clock.monotonicNanoseconds
                guard link.receive(receipt: receipt, now: now) else {
                    throw FrameError.malformed(.invalidLength(Int64(clamping: receipt)))
                }
                // What is sent arrives and makes sense there.
                backoff.reset()
            }
        } catch {
            if !link.isOver { context.badInput(error, from: "\(address)", peer: peer) }
        }
        link.end()
        wakeWriter()
    }

    /// Looks now and then whether the connection still moves, and keeps it moving.
    private func look(atLink number: Int) {
        _ = loop.schedule(after: context.configuration.keepAliveNanoseconds) { [weak self] in
            self?.assumeIsolated { $0.lookNow(atLink: number) }
        }
    }

    private func lookNow(atLink number: Int) {
        guard number == linkNumber, let link, !link.isOver else { return }
        let now = loop.clock.monotonicNanoseconds
        if link.isStalled(now: now, after: context.configuration.stallNanoseconds) {
            context.metrics.stalls.increment()
            link.end()
            wakeWriter()
            return
        }
        if link.looksIdle() && queue.give(.keepAlive, ByteRope()).wakes { wakeWriter() }
        look(atLink: number)
    }
}
