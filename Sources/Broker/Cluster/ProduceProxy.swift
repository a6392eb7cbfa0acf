import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import RaftRuntime

/// Passes produces on to the nodes that lead their partitions, for clients that cannot reach those.
///
/// | what was passed on ends | when |
/// |---|---|
/// | with the leader's own answer | it answers |
/// | `NOT_LEADER_OR_FOLLOWER` | it is not heard of, or does not take it: nothing was appended |
/// | `MESSAGE_TOO_LARGE` | it is too long for a call: nothing was appended |
/// | `REQUEST_TIMED_OUT` | no answer came in time, or none can come: appended or not |
///
/// To each node only so many calls and bytes are under way; what comes on top waits in its order,
/// and its client sends no more than it does without answers. A node that was asked appends or
/// refuses, and never passes on.
actor ProduceProxy {
    struct Limits: Sendable {
        /// Of all calls that a node serves another at once, half.
        var calls = 128
        var bytes = 8 << 20
        /// Of one call, and so of a batch that is passed on.
        var callBytes = 8 << 20
    }

    enum Outcome: Sendable {
        case answered(ProduceResponse)
        case failed(ErrorCode, String)
    }

    /// How much longer than its client an answer is waited for: the leader may be about to say that
    /// the time is over.
    private static let grace = Int64.milliseconds(250)

    nonisolated let limits: Limits
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let calls: any NodeCalls
    private let hears: @Sendable (Int32) -> Bool
    private let metrics: ProxyMetrics
    private var lanes: [Int32: Lane] = [:]

    /// Calls are made on `loop`; `hears` tells whether a node is heard of.
    init(
        loop: EventLoop,
        calls: any NodeCalls,
        metrics: ProxyMetrics,
        limits: Limits = Limits(),
        hears: @escaping @Sendable (Int32) -> Bool
    ) {
        self.loop = loop
        self.calls = calls
        self.metrics = metrics
        self.limits = limits
        self.hears = hears
    }

    /// Has another node append what is asked for, within the time the request gives.
    ///
    /// What is passed to one node from one loop arrives there in its order.
    nonisolated func pass(_ request: ProduceRequest, to node: Int32) async -> Outcome {
        let payload: ByteRope
        do {
            payload = try ForwardedProduce.encode(request)
        } catch {
            return .failed(.unknownServerError, "\(error)")
        }
        guard payload.count <= limits.callBytes else {
            return .failed(
                .messageTooLarge,
                "\(payload.count) bytes cannot be passed on to the leader, node \(node); "
                    + "the limit is \(limits.callBytes)"
            )
        }
        let patience = Int64.milliseconds(Int64(max(0, request.timeoutMs)))
        let deadline = loop.clock.monotonicNanoseconds + patience
        return await pass(payload, to: node, until: deadline)
    }

    private func pass(_ payload: ByteRope, to node: Int32, until deadline: Int64) async -> Outcome {
        let lane = lanes[node] ?? Lane()
        lanes[node] = lane
        return await withUnsafeContinuation { asking in
            let entry = Lane.Entry(payload, until: deadline, asking)
            lane.waiting.append(entry)
            send(in: lane, to: node)
            guard entry.state == .waiting else { return }
            entry.timer = loop.schedule(after: deadline - loop.clock.monotonicNanoseconds) {
                entry.end(.failed(.requestTimedOut, "too much waits for node \(node), the leader"))
            }
        }
    }

    /// Sends what waits, as far as there is room for it.
    private func send(in lane: Lane, to node: Int32) {
        while let entry = lane.takeNext(within: limits) {
            // Runs up to the call before the next is taken.
            Task.immediate(executorPreference: loop) {
                let outcome = await self.ask(node, entry)
                lane.give(back: entry)
                entry.end(outcome)
                self.send(in: lane, to: node)
            }
        }
    }

    private func ask(_ node: Int32, _ entry: Lane.Entry) async -> Outcome {
        guard hears(node) else {
            metrics.failures.increment()
            return .failed(.notLeaderOrFollower, "node \(node), the leader, is not heard of")
        }
        metrics.requests.increment()
        metrics.bytes.increment(by: entry.payload.count)
        let left = max(0, entry.deadline - loop.clock.monotonicNanoseconds)
        do {
            let answer = try await calls.call(
                node,
                .forwardProduce,
                entry.payload,
                within: left + Self.grace
            )
            return .answered(try ForwardedProduce.decodeAnswer(answer))
        } catch let error as PeerCallError {
            metrics.failures.increment()
            return Self.outcome(of: error, node)
        } catch {
            metrics.failures.increment()
            return .failed(.requestTimedOut, "node \(node), the leader, answers what is no answer")
        }
    }

    private static func outcome(of error: PeerCallError, _ node: Int32) -> Outcome {
        let leader = "node \(node), the leader,"
        return switch error {
        case .timedOut: .failed(.requestTimedOut, "\(leader) did not answer in time")
        case .unreachable: .failed(.requestTimedOut, "the connection to \(leader) broke")
        case .refused: .failed(.notLeaderOrFollower, "\(leader) takes nothing now")
        case .overloaded: .failed(.notLeaderOrFollower, "too many calls wait for \(leader) already")
        case .tooLarge(let bytes, let limit):
            .failed(
                .messageTooLarge,
                "\(bytes) bytes cannot be passed on to \(leader) the limit is \(limit)"
            )
        }
    }
}

/// What is under way to one node, and what waits to be.
///
/// Confined to the loop of its owner.
private final class Lane {
    final class Entry {
        enum State {
            case waiting
            case underWay
            case over
        }

        let payload: ByteRope
        let deadline: Int64
        /// Ends it if it waits for too long.
        var timer: LoopTimer?
        private(set) var state = State.waiting
        private let asking: UnsafeContinuation<ProduceProxy.Outcome, Never>

        init(
            _ payload: ByteRope,
            until deadline: Int64,
            _ asking: UnsafeContinuation<ProduceProxy.Outcome, Never>
        ) {
            self.payload = payload
            self.deadline = deadline
            self.asking = asking
        }

        func begin() {
            state = .underWay
            timer?.cancel()
            timer = nil
        }

        func end(_ outcome: ProduceProxy.Outcome) {
            precondition(state != .over, "a produce passed on ends twice")
            state = .over
            asking.resume(returning: outcome)
        }
    }

    var waiting = Queue<Entry>()
    private var calls = 0
    private var bytes = 0

    /// A single call has room however large it is.
    func takeNext(within limits: ProduceProxy.Limits) -> Entry? {
        while let next = waiting.first {
            if next.state == .over {
                waiting.popFirst()
                continue
            }
            guard
                calls == 0
                    || (calls < limits.calls && bytes + next.payload.count <= limits.bytes)
            else { return nil }
            waiting.popFirst()
            next.begin()
            calls += 1
            bytes += next.payload.count
            return next
        }
        return nil
    }

    func give(back entry: Entry) {
        calls -= 1
        bytes -= entry.payload.count
    }
}

/// A produce on the wire between nodes: the version of Kafka's messages, i16, and the request; the
/// same for its answer.
enum ForwardedProduce {
    private static let version: Int16 = ProduceHandler.versions.upperBound

    static func encode(_ request: ProduceRequest) throws(EncodingProblem) -> ByteRope {
        try encode(message: request)
    }

    static func encode(_ answer: ProduceResponse) throws(EncodingProblem) -> ByteSlice {
        guard let whole = try encode(message: answer).joined() else {
            preconditionFailure("an answer to a produce in a file")
        }
        return whole
    }

    private static func encode(message: some KafkaMessage) throws(EncodingProblem) -> ByteRope {
        var writer = ByteWriter(capacity: 256)
        writer.write(version)
        try message.encode(into: &writer, version: version)
        return writer.finish()
    }

    static func decodeRequest(_ bytes: ByteSlice) throws(MalformedBytes) -> ProduceRequest {
        try decode(bytes)
    }

    static func decodeAnswer(_ bytes: ByteSlice) throws(MalformedBytes) -> ProduceResponse {
        try decode(bytes)
    }

    private static func decode<M: KafkaMessage>(_ bytes: ByteSlice) throws(MalformedBytes) -> M {
        var reader = ByteReader(bytes)
        let version: Int16 = try reader.read()
        guard ProduceHandler.versions.contains(version) else { throw .unsupportedVersion(version) }
        return try M(from: &reader, version: version)
    }
}

/// What a node passed on to others.
struct ProxyMetrics: Sendable {
    let requests: Counter
    let bytes: Counter
    let failures: Counter

    init(in registry: MetricsRegistry) {
        requests = registry.counter(
            "chronik_produce_proxied_requests_total",
            "Parts of produce requests passed on to the node that leads their partitions."
        )
        bytes = registry.counter(
            "chronik_produce_proxied_bytes_total",
            "Bytes of produce requests passed on to the node that leads their partitions."
        )
        failures = registry.counter(
            "chronik_produce_proxied_failures_total",
            "Parts of produce requests that could not be passed on, or came to no answer."
        )
    }
}
