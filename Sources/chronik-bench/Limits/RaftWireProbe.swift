import Bytes
import Platform
import Raft
import RaftRuntime
import RaftTransport
import Synchronization

/// Two transports of this process over loopback, each on a loop of its own: what the wire between
/// nodes does with nothing behind it.
struct RaftWireProbe: Sendable {
    struct Figures: Sendable {
        var roundTrips = QuantileHistogram()
        var messagesPerSecond = 0.0
        var singleFramesPerSecond = 0.0
        var largeMegabytesPerSecond = 0.0
        var heartbeatBytes = 0.0
        /// Of both sides, in microseconds.
        var processorPerRoundTrip = 0.0
    }

    /// Messages of a turn, as many as are sent in one frame.
    private static let turn = 256
    /// Frames under way, so that a sender never runs into the queue's limit.
    private static let window = 64
    private static let seconds = Int64.seconds(3)
    private static let rounds = 40_000

    func measure() async throws(BenchError) -> Figures {
        let platform = RealPlatform(loopCount: 2)
        let one = Side(1, platform, loop: 0)
        let two = Side(2, platform, loop: 1)
        do {
            let first = try await one.start()
            let second = try await two.start()
            one.transport.setPeers([two.id: second])
            two.transport.setPeers([one.id: first])
        } catch {
            throw .network("\(error)")
        }
        var figures = Figures()
        await Self.connect(one, two)
        let before = ProcessorTime.now()
        figures.roundTrips = await Self.roundTrips(one, two, platform.clock)
        figures.processorPerRoundTrip =
            ProcessorTime.now().since(before).total * 1e6 / Double(Self.rounds)
        let batch = PeerFrame.messages((0..<Self.turn).map { Self.append(UInt64($0), bytes: 100) })
        figures.messagesPerSecond =
            await Self.rate(of: batch, one, two, platform.clock) * Double(Self.turn)
        let single = PeerFrame.messages([Self.append(1, bytes: 100)])
        figures.singleFramesPerSecond = await Self.rate(of: single, one, two, platform.clock)
        let large = PeerFrame.messages([Self.append(1, bytes: 64 << 10)])
        figures.largeMegabytesPerSecond =
            await Self.rate(of: large, one, two, platform.clock) * Double(64 << 10) / 1e6
        figures.heartbeatBytes = await Self.heartbeatBytes(one, two)
        await one.transport.stop()
        await two.transport.stop()
        return figures
    }

    /// One node of the two.
    private final class Side: RaftTransportDelegate {
        let id: ReplicaID
        let transport: FramedTransport
        let metrics = MetricsRegistry()
        private let loop: EventLoop
        /// In a box: a closure that goes in and out of a generic place gains a thunk each time.
        private struct Handler: Sendable { let body: @Sendable () -> Void }
        private let onFrame = Mutex<Handler?>(nil)

        init(_ number: UInt64, _ platform: RealPlatform, loop index: Int) {
            id = ReplicaID(number)
            loop = platform.loops[index]
            let identity = NodeIdentity(cluster: "bench", node: id, incarnation: 1)
            let localhost = SocketAddress(host: "127.0.0.1", port: 0)
            transport = FramedTransport(
                FramedTransportConfiguration(identity: identity, listenAddress: localhost),
                loops: [loop],
                generator: platform.makeGenerator(),
                metrics: metrics
            )
        }

        func start() async throws -> SocketAddress {
            try await Task(executorPreference: loop) {
                try self.transport.start(delegate: self)
            }.value
        }

        func handle(_ body: @escaping @Sendable () -> Void) {
            let handler = Handler(body: body)
            onFrame.withLock { $0 = handler }
        }

        func received(_ frame: PeerFrame, from peer: ReplicaID) {
            onFrame.withLock { $0 }?.body()
        }

        func peerIsUnreachable(_ peer: ReplicaID) {}

        /// Runs `body` on the node's own loop, where a Raft group would.
        func onLoop(_ body: @escaping @Sendable () -> Void) { loop.execute(body) }

        func metric(_ name: String) -> Double {
            for line in metrics.prometheusText().split(separator: "\n")
            where line.hasPrefix(name + " ") {
                return Double(line.dropFirst(name.count + 1)) ?? 0
            }
            return 0
        }
    }

    private static func append(_ group: UInt64, bytes: Int) -> GroupMessage {
        let payload = RaftPayload(copying: [UInt8](repeating: 7, count: bytes))
        let entry = RaftEntry(index: LogIndex(1_000_001), term: Term(3), payload: payload)
        let append = Message.Append(
            previousIndex: LogIndex(1_000_000),
            previousTerm: Term(3),
            entries: [entry],
            commit: LogIndex(999_990)
        )
        let body = Message.Body.append(append)
        return GroupMessage(
            group: group,
            message: Message(from: ReplicaID(1), to: ReplicaID(2), term: Term(3), body: body)
        )
    }

    private static func response(_ group: UInt64) -> PeerFrame {
        let body = Message.Body.appendResponse(.init(index: LogIndex(1_000_001)))
        let message = Message(from: ReplicaID(2), to: ReplicaID(1), term: Term(3), body: body)
        return .messages([GroupMessage(group: group, message: message)])
    }

    /// Asks and answers until both directions work.
    private static func connect(_ one: Side, _ two: Side) async {
        let done = OneShot()
        one.handle { done.fire() }
        two.handle { two.transport.send(response(1), to: one.id) }
        while !done.hasFired {
            one.transport.send(.messages([append(1, bytes: 1)]), to: two.id)
            try? await Task.sleep(nanoseconds: 1_000_000)
        }
        // What else was asked meanwhile is answered before what is measured.
        try? await Task.sleep(nanoseconds: 50_000_000)
    }

    /// An append and its answer, one after the other.
    private static func roundTrips(
        _ one: Side,
        _ two: Side,
        _ clock: any Clock
    ) async -> QuantileHistogram {
        struct State {
            var times = QuantileHistogram()
            var sentAt: Int64 = 0
            var count = 0
        }
        let request = PeerFrame.messages([append(1, bytes: 100)])
        let answer = response(1)
        let state = Mutex(State())
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            let ask = { @Sendable in
                state.withLock { $0.sentAt = clock.monotonicNanoseconds }
                one.transport.send(request, to: two.id)
            }
            two.handle { two.transport.send(answer, to: one.id) }
            one.handle {
                let count = state.withLock { state in
                    let time = clock.monotonicNanoseconds - state.sentAt
                    state.count += 1
                    // The first ones find caches and branch predictors cold.
                    if state.count > rounds / 10 { state.times.record(time) }
                    return state.count
                }
                if count < rounds { ask() } else { done.resume() }
            }
            one.onLoop(ask)
        }
        return state.withLock { $0.times }
    }

    /// Frames a second, a window of them under way; the receiver answers every quarter window.
    private static func rate(
        of frame: PeerFrame,
        _ one: Side,
        _ two: Side,
        _ clock: any Clock
    ) async -> Double {
        let quarter = window / 4
        let arrived = Mutex(0)
        let answer = response(1)
        let began = clock.monotonicNanoseconds
        let end = began + seconds
        two.handle {
            let count = arrived.withLock {
                $0 += 1
                return $0
            }
            if count % quarter == 0 { two.transport.send(answer, to: one.id) }
        }
        let unanswered = Mutex(0)
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            let sendQuarter = { @Sendable in
                for _ in 0..<quarter { one.transport.send(frame, to: two.id) }
                unanswered.withLock { $0 += 1 }
            }
            one.handle {
                let left = unanswered.withLock {
                    $0 -= 1
                    return $0
                }
                if clock.monotonicNanoseconds < end {
                    sendQuarter()
                } else if left == 0 {
                    done.resume()
                }
            }
            one.onLoop { for _ in 0..<4 { sendQuarter() } }
        }
        let took = clock.monotonicNanoseconds - began
        return Double(arrived.withLock { $0 }) * 1e9 / Double(took)
    }

    /// What one of a thousand heartbeats of one frame takes on the wire.
    private static func heartbeatBytes(_ one: Side, _ two: Side) async -> Double {
        let beats = (0..<UInt64(1_000)).map { group in
            let beat = Message.Heartbeat(commit: LogIndex(1_000_000 + group), round: 7)
            return GroupMessage(
                group: 10_000 + group,
                message: Message(
                    from: one.id,
                    to: two.id,
                    term: Term(3 + group % 4),
                    body: .heartbeat(beat)
                )
            )
        }
        let name = "raft_transport_bytes_received_total{stream=\"messages\"}"
        let before = two.metric(name)
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            two.handle { done.resume() }
            one.transport.send(.messages(beats), to: two.id)
        }
        two.handle {}
        return (two.metric(name) - before) / 1_000
    }

    /// Something that happens once.
    private final class OneShot: Sendable {
        private let fired = Atomic(false)
        var hasFired: Bool { fired.load(ordering: .acquiring) }
        func fire() { fired.store(true, ordering: .releasing) }
    }
}

extension RaftWireProbe.Figures {
    var json: JSONValue {
        .object([
            ("command", .text("raft-wire")),
            ("round_trip_p50_us", .number(Double(roundTrips.quantile(0.5)) / 1e3)),
            ("round_trip_p99_us", .number(Double(roundTrips.quantile(0.99)) / 1e3)),
            ("round_trip_processor_us", .number(processorPerRoundTrip)),
            ("batched_100_byte_messages_per_second", .number(messagesPerSecond)),
            ("single_100_byte_frames_per_second", .number(singleFramesPerSecond)),
            ("64_kib_megabytes_per_second", .number(largeMegabytesPerSecond)),
            ("bytes_per_heartbeat", .number(heartbeatBytes)),
        ])
    }

    var table: String {
        let p50 = Decimals.text(Double(roundTrips.quantile(0.5)) / 1e3, 1)
        let p99 = Decimals.text(Double(roundTrips.quantile(0.99)) / 1e3, 1)
        let processor = Decimals.text(processorPerRoundTrip, 1)
        return """
            append and answer, one in flight                 p50 \(p50) µs, p99 \(p99) µs
            processor time of both for one                   \(processor) µs
            100-byte messages, 256 a frame                   \(Self.rate(messagesPerSecond))
            100-byte messages, one a frame                   \(Self.rate(singleFramesPerSecond))
            64 KiB messages                                  \(Decimals.text(largeMegabytesPerSecond, 0)) MB/s
            a heartbeat among a thousand                     \(Decimals.text(heartbeatBytes, 1)) bytes

            """
    }

    private static func rate(_ perSecond: Double) -> String {
        "\(Decimals.grouped(Int(perSecond))) a second"
    }
}
