import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import Synchronization
import Testing

@testable import Broker

/// Holds requests back until a test lets them go.
private final class Gate: Sendable {
    private struct State {
        var waiting: [Int32: UnsafeContinuation<Void, Never>] = [:]
        var open: Set<Int32> = []
        var arrivals: [(count: Int, UnsafeContinuation<Void, Never>)] = []
        var arrived: [Int32] = []
    }
    private let state = Mutex(State())

    var arrived: [Int32] { state.withLock { $0.arrived } }

    func pass(_ number: Int32) async {
        await withUnsafeContinuation { continuation in
            let woken = state.withLock { state in
                state.arrived.append(number)
                var woken = state.arrivals.filter { $0.count <= state.arrived.count }.map(\.1)
                state.arrivals.removeAll { $0.count <= state.arrived.count }
                if state.open.contains(number) {
                    woken.append(continuation)
                } else {
                    state.waiting[number] = continuation
                }
                return woken
            }
            for one in woken { one.resume() }
        }
    }

    func release(_ number: Int32) {
        let waiting = state.withLock { state in
            state.open.insert(number)
            return state.waiting.removeValue(forKey: number)
        }
        waiting?.resume()
    }

    /// Returns once as many requests have come to the gate.
    func arrivals(_ count: Int) async {
        await withUnsafeContinuation { continuation in
            let isThere = state.withLock { state in
                if state.arrived.count >= count { return true }
                state.arrivals.append((count, continuation))
                return false
            }
            if isThere { continuation.resume() }
        }
    }
}

/// Answers with the generation it was asked about, once the gate lets it.
private struct GatedHeartbeat: RequestHandler {
    static let versions: ClosedRange<Int16> = 1...3
    let gate: Gate

    func handle(
        _ request: HeartbeatRequest,
        _ context: RequestContext
    ) async -> HeartbeatResponse? {
        await gate.pass(request.generationId)
        var response = HeartbeatResponse()
        response.throttleTimeMs = request.generationId
        return response
    }
}

/// Answers nothing.
private struct Silence: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...5
    func handle(
        _ request: LeaveGroupRequest,
        _ context: RequestContext
    ) async -> LeaveGroupResponse? { nil }
}

@Suite(.timeLimit(.minutes(10))) struct ConnectionTests {
    private let gate = Gate()
    private let metrics = MetricsRegistry()

    /// Runs `body` with a connection to a server of the handlers above.
    private func withClient<T: Sendable>(
        _ change: (inout BrokerSettings) -> Void = { _ in },
        _ body: @escaping @Sendable (TestClient) async throws -> T
    ) async throws -> T {
        var settings = BrokerSettings()
        change(&settings)
        let loops = TestNode.platform.loops
        let router = RequestRouter(
            handlers: [
                AnyRequestHandler(GatedHeartbeat(gate: gate)), AnyRequestHandler(Silence()),
                AnyRequestHandler(ApiVersionsHandler()),
            ],
            budget: MemoryBudget(limit: 1 << 30),
            metrics: metrics
        )
        let server = KafkaServer(
            loops: loops,
            router: router,
            settings: settings,
            log: Logger("test"),
            metrics: metrics
        )
        let address = try await Task(executorPreference: loops[0]) {
            let listener = try loops[0].listen(SocketAddress(host: "127.0.0.1", port: 0))
            await server.start(listener)
            return listener.address
        }.value
        let result = try await TestClient.with(address, on: loops[1], body)
        await server.stop()
        return result
    }

    private static func heartbeat(_ number: Int32, version: Int16 = 3) throws -> ByteSlice {
        var request = HeartbeatRequest()
        request.generationId = number
        return try TestClient.frame(request, version: version, correlationID: number)
    }

    /// The correlation id of a response, and the bytes behind it.
    private static func open(_ frame: ByteSlice?) throws -> (id: Int32, body: ByteSlice) {
        let frame = try #require(frame)
        return (frame.loadBigEndian(at: 0), frame.dropFirst(4))
    }

    // MARK: Order

    @Test func `responses leave in the order of their requests, however they are done`()
        async throws
    {
        let gate = gate
        let ids = try await withClient { client in
            for number: Int32 in 1...5 { try await client.send(Self.heartbeat(number)) }
            await gate.arrivals(5)
            for number: Int32 in [3, 5, 2, 4, 1] { gate.release(number) }
            var ids: [Int32] = []
            for _ in 1...5 {
                let (id, body) = try Self.open(try await client.receive())
                #expect(body.loadBigEndian(at: 0) as Int32 == id)
                ids.append(id)
            }
            return ids
        }
        #expect(ids == [1, 2, 3, 4, 5])
        #expect(gate.arrived == [1, 2, 3, 4, 5])
    }

    @Test func `a request without an answer does not hold up the next`() async throws {
        let gate = gate
        gate.release(2)
        let id = try await withClient { client in
            let silent = try TestClient.frame(LeaveGroupRequest(), version: 0, correlationID: 1)
            try await client.send(silent)
            try await client.send(Self.heartbeat(2))
            return try Self.open(try await client.receive()).id
        }
        #expect(id == 2)
    }

    @Test func `only so many requests are in progress, and none is lost`() async throws {
        let gate = gate
        try await withClient {
            $0.connection.maxInFlightRequests = 3
        } _: { client in
            for number: Int32 in 1...20 { try await client.send(Self.heartbeat(number)) }
            await gate.arrivals(3)
            #expect(gate.arrived == [1, 2, 3])
            for number: Int32 in 1...20 {
                gate.release(number)
                let id = try Self.open(try await client.receive()).id
                #expect(id == number)
                #expect(gate.arrived.count <= Int(number) + 3)
            }
        }
    }

    @Test func `requests that came before the peer's end are answered`() async throws {
        let gate = gate
        for number: Int32 in 1...3 { gate.release(number) }
        let ids = try await withClient { client in
            for number: Int32 in 1...3 { try await client.send(Self.heartbeat(number)) }
            // A frame that is none: the connection ends behind what came before it.
            try await client.socket.write(ByteRope(ByteSlice([0xff, 0xff, 0xff, 0xff])))
            var ids: [Int32] = []
            while let frame = try await client.receive() { ids.append(try Self.open(frame).id) }
            return ids
        }
        #expect(ids == [1, 2, 3])
    }

    // MARK: Versions

    @Test(arguments: [0, 4, 99, -1, Int16.max, Int16.min])
    func `a version that does not work is told so, in its place`(_ version: Int16) async throws {
        let gate = gate
        try await withClient { client in
            try await client.send(Self.heartbeat(1))
            var writer = ByteWriter(capacity: 16)
            writer.write(APIKey.heartbeat.rawValue)
            writer.write(version)
            writer.write(Int32(77))
            writer.write(Int16(-1))
            try await client.send(writer.finishContiguous())
            await gate.arrivals(1)
            gate.release(1)
            let first = try Self.open(try await client.receive())
            #expect(first.id == 1)
            let second = try Self.open(try await client.receive())
            #expect(second.id == 77)
            #expect(
                second.body.loadBigEndian(at: 0) as Int16 == ErrorCode.unsupportedVersion.rawValue
            )
        }
    }

    @Test func `ApiVersions of a later version is answered in version 0`() async throws {
        try await withClient { client in
            var writer = ByteWriter(capacity: 16)
            writer.write(APIKey.apiVersions.rawValue)
            writer.write(Int16(99))
            writer.write(Int32(5))
            writer.write(UInt8(0))
            try await client.send(writer.finishContiguous())
            let (id, body) = try Self.open(try await client.receive())
            var reader = ByteReader(body)
            let response = try ApiVersionsResponse(from: &reader, version: 0)
            #expect(id == 5 && reader.remaining == 0)
            #expect(response.errorCode == ErrorCode.unsupportedVersion.rawValue)
            #expect(response.apiKeys.contains { $0.apiKey == APIKey.produce.rawValue })
            let again = try await client.call(ApiVersionsRequest(), version: 3)
            #expect(again.errorCode == 0 && again.apiKeys == response.apiKeys)
        }
    }

    // MARK: Bad input

    @Test func `what cannot be read ends the connection`() async throws {
        let cut = try Self.heartbeat(1)
        let frames: [ByteSlice] = [
            ByteSlice([0x7f, 0xff, 0, 0, 0, 0, 0, 1]),
            ByteSlice([0xff, 0xff, 0, 0, 0, 0, 0, 1]),
            cut.prefix(cut.count - 1),
        ]
        for frame in frames {
            let answer = try await withClient { client in
                try await client.send(frame)
                return try await client.receive()
            }
            #expect(answer == nil)
        }
        #expect(gate.arrived.isEmpty)
    }

    @Test func `more connections than there may be are closed`() async throws {
        let answer = try await withClient {
            $0.maxConnections = 0
        } _: { client in
            try? await client.send(Self.heartbeat(1))
            return try? await client.receive()
        }
        #expect(answer == .some(nil) || answer == nil)
        #expect(gate.arrived.isEmpty)
    }
}
