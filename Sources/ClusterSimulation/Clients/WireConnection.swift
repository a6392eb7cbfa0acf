import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// A client's connection to one node; requests may be pipelined, answers come in their order.
final class WireConnection: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    /// The connection ended before the answer came.
    struct Disconnected: Error {}

    private let socket: Socket
    private let loop: EventLoop
    private let clientID: String
    private var outbox = ByteRope()
    private var isWriting = false
    private(set) var isClosed = false
    private var nextCorrelationID: Int32 = 1
    private var waiting: [(id: Int32, answer: UnsafeContinuation<ByteSlice?, Never>)] = []
    private var input: [UInt8] = []
    /// Answers that fit no question; there must be none.
    let complain: (String) -> Void

    private init(
        _ socket: Socket,
        _ loop: EventLoop,
        _ clientID: String,
        _ complain: @escaping (String) -> Void
    ) {
        self.socket = socket
        self.loop = loop
        self.clientID = clientID
        self.complain = complain
    }

    static func connect(
        _ address: SocketAddress,
        on loop: EventLoop,
        clientID: String,
        complain: @escaping (String) -> Void
    ) async throws -> WireConnection {
        let connection = WireConnection(
            try await loop.connect(address),
            loop,
            clientID,
            complain
        )
        Task(executorPreference: loop) { await connection.readAnswers() }
        return connection
    }

    /// Asks and waits for the answer; closes the connection when there is none in time.
    func call<Request: KafkaRequest>(
        _ request: Request,
        version: Int16,
        within nanoseconds: Int64
    ) async throws -> Request.Response {
        let timer = loop.schedule(after: nanoseconds) { [weak self] in self?.close() }
        defer { timer.cancel() }
        let frame = await withUnsafeContinuation {
            (continuation: UnsafeContinuation<ByteSlice?, Never>) in
            guard let id = try? send(request, version) else {
                continuation.resume(returning: nil)
                return
            }
            waiting.append((id, continuation))
        }
        guard let frame else { throw Disconnected() }
        var reader = ByteReader(frame)
        _ = try reader.readInt32()
        if Request.apiKey.responseHeaderVersion(for: version) == 1 {
            _ = try reader.readTaggedFields()
        }
        return try Request.Response(from: &reader, version: version)
    }

    /// Sends what nobody answers.
    func sendSilently<Request: KafkaRequest>(_ request: Request, version: Int16) throws {
        _ = try send(request, version)
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        socket.close()
        let all = waiting
        waiting = []
        for waiter in all { waiter.answer.resume(returning: nil) }
    }

    private func send<Request: KafkaRequest>(_ request: Request, _ version: Int16) throws -> Int32 {
        guard !isClosed else { throw Disconnected() }
        let id = nextCorrelationID
        nextCorrelationID += 1
        var header = RequestHeader()
        header.requestApiKey = Request.apiKey.rawValue
        header.requestApiVersion = version
        header.correlationId = id
        header.clientId = clientID
        var body = ByteWriter()
        try header.encode(
            into: &body,
            version: Request.apiKey.requestHeaderVersion(for: version)
        )
        try request.encode(into: &body, version: version)
        let bytes = body.finishContiguous()
        var frame = ByteWriter()
        frame.write(Int32(bytes.count))
        frame.write(bytes)
        outbox.append(frame.finish())
        if !isWriting {
            isWriting = true
            Task(executorPreference: loop) { await self.writeOutbox() }
        }
        return id
    }

    private func writeOutbox() async {
        while !outbox.isEmpty, !isClosed {
            let rope = outbox
            outbox = ByteRope()
            do {
                try await socket.write(rope)
            } catch {
                close()
            }
        }
        isWriting = false
    }

    private func readAnswers() async {
        let storage = ByteStorage(capacity: 64 << 10)
        let buffer = UnsafeMutableRawBufferPointer(start: storage.start, count: storage.capacity)
        while !isClosed {
            guard let count = try? await socket.read(into: buffer), count > 0 else {
                close()
                return
            }
            input += UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count])
            takeFrames()
        }
    }

    private func takeFrames() {
        var start = 0
        while input.count - start >= 4 {
            let length = input[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
            guard input.count - start >= 4 + length else { break }
            let frame = ByteSlice(Array(input[start + 4..<start + 4 + length]))
            start += 4 + length
            let id: Int32 = frame.loadBigEndian(at: 0)
            guard let first = waiting.first, first.id == id else {
                if !isClosed { complain("an answer \(id) to nobody's question") }
                return close()
            }
            waiting.removeFirst()
            first.answer.resume(returning: frame)
        }
        input.removeFirst(start)
    }
}
