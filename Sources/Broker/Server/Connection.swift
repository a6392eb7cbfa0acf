import Bytes
import KafkaProtocol
import Platform

/// One client connection, pinned to an event loop.
///
/// Requests are started in the order they arrive and each runs to its ordering point (for a
/// produce: the append) before the next is started. They may finish in any order; responses leave
/// in the order of the requests.
actor Connection: ResponseOwner {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let socket: Socket
    private let router: RequestRouter
    private let limits: ConnectionLimits
    private let client: ClientConnection
    private let frames: FrameReader

    /// Responses not yet handed to the writer, in request order.
    private var slots: [PendingResponse] = []
    private var firstSlot = 0
    private var inFlightBytes = 0
    private var output = ByteRope()
    private var isEnding = false
    private var waitingWriter: UnsafeContinuation<Void, Never>?
    private var waitingReader: UnsafeContinuation<Void, Never>?

    init(
        socket: Socket,
        loop: EventLoop,
        router: RequestRouter,
        limits: ConnectionLimits,
        client: ClientConnection
    ) {
        self.socket = socket
        self.loop = loop
        self.router = router
        self.limits = limits
        self.client = client
        frames = FrameReader(
            limit: limits.maxRequestBytes,
            countedBy: .init(budget: router.budget, loop: loop)
        )
    }

    /// Serves the connection until either side ends it.
    func serve() async {
        let writer = Task.immediate(executorPreference: loop) { await self.writeResponses() }
        do {
            while let frame = try await frames.next(from: socket) {
                if router.mustWaitForLog(frame) { await router.waitForLog(on: loop) }
                guard start(frame) else { break }
                if !hasRoom || router.budget.isExhausted { await waitForRoom() }
            }
        } catch {
            client.reportBadInput("\(error)")
        }
        isEnding = true
        resumeWriter()
        await writer.value
        socket.close()
    }

    /// Ends the connection from outside; requests in progress finish, their responses are dropped.
    func close() {
        isEnding = true
        socket.close()
    }

    // MARK: Requests

    /// Starts one request; false when the connection must be closed.
    private func start(_ frame: ByteSlice) -> Bool {
        let now = loop.clock.monotonicNanoseconds
        client.touch(at: now)
        let response = PendingResponse(
            requestBytes: frame.count,
            arrived: now,
            owner: self
        )
        slots.append(response)
        inFlightBytes += frame.count
        router.budget.add(frame.count)
        router.traffic.received.increment(by: frame.count + 4)
        do {
            try router.begin(frame, from: client, response)
            return true
        } catch {
            slots.removeLast()
            inFlightBytes -= frame.count
            router.budget.add(-frame.count)
            client.reportBadInput("\(error)")
            return false
        }
    }

    nonisolated func ended(_ response: PendingResponse) {
        assumeIsolated { $0.finish(response) }
    }

    private func finish(_ response: PendingResponse) {
        router.budget.add(-response.requestBytes)
        response.latency?.record(loop.clock.monotonicNanoseconds - response.arrived)
        while firstSlot < slots.count, let done = slots[firstSlot].outcome {
            inFlightBytes -= slots[firstSlot].requestBytes
            firstSlot += 1
            switch done {
            case .response(let rope): output.append(rope)
            case .silence: break
            case .close(let reason):
                client.reportBadInput(reason)
                isEnding = true
                resumeWriter()
                // Wakes the reader, which ends the connection once the responses so far are out.
                socket.close()
            }
        }
        if firstSlot == slots.count {
            slots.removeAll(keepingCapacity: true)
            firstSlot = 0
        } else if firstSlot >= 64 {
            slots.removeFirst(firstSlot)
            firstSlot = 0
        }
        if slots.isEmpty { writeNow() }
        if !output.isEmpty || isEnding { resumeWriter() }
        resumeReader()
    }

    // MARK: Back-pressure

    private var hasRoom: Bool {
        slots.count - firstSlot < limits.maxInFlightRequests
            && inFlightBytes < limits.maxInFlightBytes && output.count < limits.maxOutputBytes
    }

    /// Reads no further while too much is in progress or unsent, or the node is short of memory.
    private func waitForRoom() async {
        while !hasRoom && !isEnding {
            await withUnsafeContinuation { waitingReader = $0 }
        }
        await router.budget.waitForRoom()
    }

    private func resumeReader() {
        guard let waiting = waitingReader, hasRoom || isEnding else { return }
        waitingReader = nil
        waiting.resume()
    }

    // MARK: Responses

    /// Nothing more is in progress that could share a write: a short response need not wait for
    /// the writer's turn.
    private func writeNow() {
        guard waitingWriter != nil, output.pieces.count == 1,
            case .bytes(let bytes) = output.pieces[0]
        else { return }
        let written = socket.writeNow(bytes)
        router.traffic.sent.increment(by: written)
        output = written == bytes.count ? ByteRope() : ByteRope(bytes.dropFirst(written))
    }

    private func writeResponses() async {
        while true {
            if output.isEmpty {
                if isEnding && firstSlot == slots.count { return }
                await withUnsafeContinuation { waitingWriter = $0 }
                continue
            }
            let rope = output
            output = ByteRope()
            resumeReader()
            do {
                try await socket.write(rope)
                router.traffic.sent.increment(by: rope.count)
            } catch {
                isEnding = true
                socket.close()
                resumeReader()
                return
            }
        }
    }

    /// The writer runs after what else is ready this turn, so that one write takes many responses.
    private func resumeWriter() {
        guard let waiting = waitingWriter else { return }
        waitingWriter = nil
        waiting.resume()
    }
}

/// What one connection may use.
package struct ConnectionLimits: Sendable {
    /// Length of the largest request, in bytes.
    package var maxRequestBytes = 104_857_600
    package var maxInFlightRequests = 256
    package var maxInFlightBytes = 64 << 20
    /// Responses waiting for a slow reader, in bytes.
    package var maxOutputBytes = 64 << 20

    package init() {}
}
