import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// A client's connection to one broker, confined to the event loop it was made on.
final class BrokerConnection {
    static let clientID = "chronik-bench"

    let address: SocketAddress
    let socket: Socket
    private var reader: FrameReader
    private var versions: [Int16: ClosedRange<Int16>] = [:]
    private var nextCorrelationID: Int32 = 0

    private init(_ socket: Socket, _ address: SocketAddress, bufferBytes: Int) {
        self.socket = socket
        self.address = address
        reader = FrameReader(capacity: bufferBytes)
    }

    /// Connects and asks which versions the broker speaks.
    static func connect(
        to address: SocketAddress,
        on loop: EventLoop,
        bufferBytes: Int = 64 << 10
    ) async throws(BenchError) -> BrokerConnection {
        let socket: Socket
        do {
            socket = try await loop.connect(address)
        } catch {
            throw .network("cannot connect to \(address): \(Self.describe(error))")
        }
        let connection = BrokerConnection(socket, address, bufferBytes: bufferBytes)
        let answer = try await connection.call(ApiVersionsRequest(), version: 0)
        try check(answer.errorCode, "ApiVersions")
        for api in answer.apiKeys where api.minVersion <= api.maxVersion {
            connection.versions[api.apiKey] = api.minVersion...api.maxVersion
        }
        return connection
    }

    private static func describe(_ error: NetworkError) -> String {
        if case .refused(_, let reason) = error { reason } else { "\(error)" }
    }

    /// The highest version both sides speak, at most `limit`.
    func version<Request: KafkaRequest>(
        of request: Request.Type,
        limit: Int16 = .max
    ) throws(BenchError) -> Int16 {
        let ours = Request.validVersions
        guard let theirs = versions[Request.apiKey.rawValue] else {
            throw .broker("\(address) does not speak \(Request.name)")
        }
        let highest = min(ours.upperBound, theirs.upperBound, limit)
        guard highest >= max(ours.lowerBound, theirs.lowerBound) else {
            throw .broker("\(address) speaks \(Request.name) in versions \(theirs) only")
        }
        return highest
    }

    func close() { socket.close() }

    // MARK: One question, one answer

    func call<Request: KafkaRequest>(
        _ request: Request,
        limit: Int16 = .max
    ) async throws(BenchError) -> Request.Response {
        try await call(request, version: try version(of: Request.self, limit: limit))
    }

    func call<Request: KafkaRequest>(
        _ request: Request,
        version: Int16
    ) async throws(BenchError) -> Request.Response {
        nextCorrelationID += 1
        let id = nextCorrelationID
        let bytes: ByteSlice
        do {
            bytes = try Self.frame(request, version: version, correlationID: id)
        } catch {
            throw .usage("\(Request.name) cannot be sent: \(error)")
        }
        try await write(ByteRope(bytes))
        guard let frame = try await receive() else {
            throw .network("\(address) closed the connection instead of answering \(Request.name)")
        }
        return try Self.decode(Request.self, frame, version: version, correlationID: id)
    }

    // MARK: Many in flight

    func write(_ rope: ByteRope) async throws(BenchError) {
        do {
            try await socket.write(rope)
        } catch {
            throw .network("\(error)")
        }
    }

    /// The next answer, or `nil` when the connection has ended; its bytes are lent until the next.
    func receive() async throws(BenchError) -> ByteSlice? {
        while true {
            if let frame = try reader.next() { return frame }
            guard try await reader.receive(from: socket) else { return nil }
        }
    }

    // MARK: Bytes

    /// The whole frame of a request, with its length.
    static func frame<Request: KafkaRequest>(
        _ request: Request,
        version: Int16,
        correlationID: Int32
    ) throws(EncodingProblem) -> ByteSlice {
        var header = RequestHeader()
        header.requestApiKey = Request.apiKey.rawValue
        header.requestApiVersion = version
        header.correlationId = correlationID
        header.clientId = clientID
        var writer = ByteWriter(capacity: 1024)
        writer.write(Int32(0))
        try header.encode(
            into: &writer,
            version: Request.apiKey.requestHeaderVersion(for: version)
        )
        try request.encode(into: &writer, version: version)
        let frame = writer.finishContiguous()
        frame.patchBigEndian(Int32(frame.count - 4), at: 0)
        return frame
    }

    static func decode<Request: KafkaRequest>(
        _ request: Request.Type,
        _ frame: ByteSlice,
        version: Int16,
        correlationID: Int32
    ) throws(BenchError) -> Request.Response {
        do {
            var reader = ByteReader(frame)
            let header = try ResponseHeader(
                from: &reader,
                version: Request.apiKey.responseHeaderVersion(for: version)
            )
            guard header.correlationId == correlationID else {
                throw BenchError.protocolViolation(
                    "answer \(header.correlationId) to request \(correlationID)"
                )
            }
            return try Request.Response(from: &reader, version: version)
        } catch let error as BenchError {
            throw error
        } catch {
            throw .protocolViolation("\(Request.name) version \(version): \(error)")
        }
    }

    static func check(_ code: Int16, _ what: String) throws(BenchError) {
        guard code != 0 else { return }
        throw .broker("\(what): \(errorName(code))")
    }

    static func errorName(_ code: Int16) -> String {
        ErrorCode(rawValue: code)?.name ?? "ERROR_\(code)"
    }
}
