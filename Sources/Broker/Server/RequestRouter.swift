import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// Finds the handler of a request.
final class RequestRouter: Sendable {
    private let handlers: [AnyRequestHandler?]
    let budget: MemoryBudget
    let traffic: TrafficMetrics
    private let gate: ProduceGate?
    private let latencies: [LatencyHistogram?]

    init(
        handlers registered: [AnyRequestHandler],
        budget: MemoryBudget,
        gate: ProduceGate? = nil,
        metrics: MetricsRegistry
    ) {
        let highest = registered.map { Int($0.api.rawValue) }.max() ?? 0
        var handlers = [AnyRequestHandler?](repeating: nil, count: highest + 1)
        var latencies = [LatencyHistogram?](repeating: nil, count: highest + 1)
        for handler in registered {
            precondition(
                handlers[Int(handler.api.rawValue)] == nil,
                "two handlers of \(handler.api)"
            )
            handlers[Int(handler.api.rawValue)] = handler
            latencies[Int(handler.api.rawValue)] = metrics.histogram(
                "chronik_request_latency_seconds",
                "Time from a request's arrival to its response.",
                labels: ["api": "\(handler.api)"]
            )
        }
        self.handlers = handlers
        self.latencies = latencies
        self.budget = budget
        traffic = TrafficMetrics(in: metrics)
        self.gate = gate
    }

    /// Begins the request in a frame, up to its ordering point.
    ///
    /// - Throws: What closes the connection, with nothing begun: a header or body that cannot be
    ///   read, or an API that the broker does not have.
    func begin(
        _ frame: ByteSlice,
        from client: ClientConnection,
        _ pending: PendingResponse
    ) throws {
        var reader = ByteReader(frame)
        let key: Int16 = try reader.read()
        let version: Int16 = try reader.read()
        let correlationID: Int32 = try reader.read()
        guard key >= 0, Int(key) < handlers.count, let handler = handlers[Int(key)] else {
            throw RequestProblem.unknownAPI(key)
        }
        guard handler.versions.contains(version) else {
            return pending.end(
                ResponseFrame.unsupportedVersion(of: handler.api, correlationID: correlationID)
            )
        }
        reader = ByteReader(frame)
        let header = try RequestHeader(
            from: &reader,
            version: handler.api.requestHeaderVersion(for: version)
        )
        let context = RequestContext(
            client: client,
            clientID: header.clientId ?? "",
            apiVersion: version,
            correlationID: correlationID
        )
        pending.latency = latencies[Int(key)]
        // Bytes after the body are passed over, as Kafka does: librdkafka asks for all topics with
        // a Metadata request that is three bytes too long.
        try handler.begin(&reader, context, pending)
    }

    /// Whether the write-ahead log has no room for a request now.
    func mustWaitForLog(_ frame: ByteSlice) -> Bool {
        guard let gate, gate.isClosed, frame.count >= 2 else { return false }
        return frame.loadBigEndian(at: 0, as: Int16.self) == APIKey.produce.rawValue
    }

    func waitForLog(on loop: EventLoop) async { await gate?.wait(on: loop) }
}

/// Why a request could not be routed.
enum RequestProblem: Error, CustomStringConvertible {
    case unknownAPI(Int16)

    var description: String {
        switch self {
        case .unknownAPI(let key): "unknown API key \(key)"
        }
    }
}
