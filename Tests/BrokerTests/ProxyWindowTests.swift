import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import RaftRuntime
import Simulator
import Testing

@testable import Broker

/// What is under way to other nodes, and what waits.
@Suite struct ProxyWindowTests {
    /// Calls that are answered when a test says so.
    private final class ScriptedCalls: NodeCalls, @unchecked Sendable {
        // Unchecked: the simulation runs on one thread.
        struct Asked {
            let node: Int32
            let request: ProduceRequest
            let patience: Int64
            let answer: UnsafeContinuation<Result<ByteSlice, PeerCallError>, Never>
        }

        var waiting: [Asked] = []
        private(set) var order: [String] = []

        func call(
            _ node: Int32,
            _ operation: NodeOperation,
            _ payload: ByteRope,
            within nanoseconds: Int64
        ) async throws(PeerCallError) -> ByteSlice {
            guard operation == .forwardProduce, let bytes = payload.joined(),
                let request = try? ForwardedProduce.decodeRequest(bytes)
            else { throw .refused }
            order.append("\(node):\(request.topicData[0].name)")
            let result = await withUnsafeContinuation { answer in
                waiting.append(
                    Asked(node: node, request: request, patience: nanoseconds, answer: answer)
                )
            }
            return try result.get()
        }

        func answer(_ result: Result<ByteSlice, PeerCallError>? = nil) throws {
            let asked = waiting.removeFirst()
            var response = ProduceResponse()
            response.responses = asked.request.topicData.map { topic in
                var answer = ProduceResponse.TopicProduceResponse()
                answer.name = topic.name
                return answer
            }
            let encoded = try ForwardedProduce.encode(response)
            asked.answer.resume(returning: result ?? .success(encoded))
        }
    }

    private final class World {
        let simulation = Simulation(seed: 1)
        let calls = ScriptedCalls()
        let proxy: ProduceProxy
        let platform: SimulatedPlatform
        private let silent: Heard

        private final class Heard: @unchecked Sendable {
            // Unchecked: the simulation runs on one thread.
            var isHeard = true
        }

        var isHeard: Bool {
            get { silent.isHeard }
            set { silent.isHeard = newValue }
        }

        init(calls count: Int = 2, bytes: Int = 20_000) {
            let heard = Heard()
            silent = heard
            platform = SimulatedPlatform(simulation, host: "node1")
            var limits = ProduceProxy.Limits()
            (limits.calls, limits.bytes, limits.callBytes) = (count, bytes, 10_000)
            proxy = ProduceProxy(
                loop: platform.loops[0],
                calls: calls,
                metrics: ProxyMetrics(in: MetricsRegistry()),
                limits: limits
            ) { _ in heard.isHeard }
        }

        deinit { platform.end() }

        func pass(
            _ name: String,
            bytes: Int = 100,
            to node: Int32 = 2,
            timeout: Int32 = 1_000
        ) -> Box<ProduceProxy.Outcome> {
            var data = ProduceRequest.PartitionProduceData()
            data.records = ByteRope(ByteSlice(Array(repeating: 7, count: bytes)))
            var topic = ProduceRequest.TopicProduceData()
            topic.name = name
            topic.partitionData = [data]
            var request = ProduceRequest()
            request.timeoutMs = timeout
            request.topicData = [topic]
            let box = Box<ProduceProxy.Outcome>()
            let passed = request
            Task(executorPreference: platform.loops[0]) { [proxy] in
                box.value = await proxy.pass(passed, to: node)
            }
            run(1)
            return box
        }

        func run(_ milliseconds: Int64) {
            _ = simulation.run(for: .milliseconds(milliseconds)) { false }
        }
    }

    private static func code(_ box: Box<ProduceProxy.Outcome>) -> ErrorCode? {
        switch box.value {
        case nil: nil
        case .answered: ErrorCode.none
        case .failed(let code, _): code
        }
    }

    @Test func `so many calls are under way to a node, and the rest waits in its order`() throws {
        let world = World()
        let passed = (1...6).map { world.pass("\($0)") }
        // Another node has a window of its own.
        let other = world.pass("other", to: 3)
        #expect(world.calls.order == ["2:1", "2:2", "3:other"])
        for number in 0..<7 {
            #expect(world.calls.waiting.count <= 3)
            #expect(!world.calls.waiting.isEmpty, "\(number)")
            try world.calls.answer()
            world.run(1)
        }
        #expect(world.calls.order == ["2:1", "2:2", "3:other", "2:3", "2:4", "2:5", "2:6"])
        #expect((passed + [other]).allSatisfy { Self.code($0) == ErrorCode.none })
    }

    @Test func `bytes are bounded too, and nobody small gets ahead`() throws {
        let world = World(calls: 10)
        _ = (1...3).map { world.pass("\($0)", bytes: 9_000) }
        _ = world.pass("small")
        #expect(world.calls.order == ["2:1", "2:2"])
        try world.calls.answer()
        world.run(1)
        #expect(world.calls.order == ["2:1", "2:2", "2:3", "2:small"])
    }

    @Test func `what waits for longer than its request gives is not sent`() throws {
        let world = World(calls: 1)
        let first = world.pass("first", timeout: 5_000)
        let short = world.pass("short", timeout: 100)
        let long = world.pass("long", timeout: 5_000)
        world.run(99)
        #expect(Self.code(short) == .requestTimedOut)
        try world.calls.answer()
        world.run(1)
        #expect(world.calls.order == ["2:first", "2:long"])
        // The wait was of its time.
        #expect(world.calls.waiting[0].patience < .milliseconds(5_250 - 99))
        #expect(Self.code(first) == ErrorCode.none && Self.code(long) == nil)
    }

    @Test func `a node that is not heard of is not asked, nor is anybody who waits for it`() throws
    {
        let world = World(calls: 1)
        let first = world.pass("first")
        let waiting = (0..<3).map { world.pass("\($0)") }
        world.isHeard = false
        try world.calls.answer(.failure(.unreachable))
        world.run(1)
        // It may have done what it was asked, and nothing else.
        #expect(Self.code(first) == .requestTimedOut)
        #expect(waiting.allSatisfy { Self.code($0) == .notLeaderOrFollower })
        #expect(world.calls.order == ["2:first"])
    }

    @Test func `why there is no answer says whether a batch may be there`() throws {
        let world = World()
        let outcomes: [(PeerCallError, ErrorCode)] = [
            (.timedOut, .requestTimedOut), (.unreachable, .requestTimedOut),
            (.refused, .notLeaderOrFollower), (.overloaded, .notLeaderOrFollower),
            (.tooLarge(bytes: 2, limit: 1), .messageTooLarge),
        ]
        for (error, code) in outcomes {
            let passed = world.pass("topic")
            try world.calls.answer(.failure(error))
            world.run(1)
            #expect(Self.code(passed) == code)
        }
        let garbled = world.pass("topic")
        try world.calls.answer(.success(ByteSlice("no answer")))
        world.run(1)
        #expect(Self.code(garbled) == .requestTimedOut)
    }

    @Test func `what is too long for a call is refused`() throws {
        let world = World()
        let passed = world.pass("topic", bytes: 10_001)
        #expect(Self.code(passed) == .messageTooLarge)
        #expect(world.calls.order.isEmpty)
    }
}
