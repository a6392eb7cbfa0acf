import Bytes
import Platform
import Raft
import RaftRuntime
import Synchronization

/// Two transports of this process over loopback, each on a loop of its own: what the wire between
/// nodes does with nothing behind it.
struct RaftWireProbe: Sendable {
    private typealias Side = RaftWireSide

    /// What the nodes of a cluster can speak.
    enum Transport: String, CaseIterable, Sendable {
        case framed
        case grpc
    }

    struct Figures: Sendable {
        var roundTrips = QuantileHistogram()
        var messagesPerSecond = 0.0
        var singleFramesPerSecond = 0.0
        var largeMegabytesPerSecond = 0.0
        /// Not known of gRPC, which counts none.
        var heartbeatBytes: Double?
        /// Of both sides, in microseconds.
        var processorPerRoundTrip = 0.0
    }

    /// Messages of a turn, as many as are sent in one frame.
    private static let turn = 256
    /// Frames under way, so that a sender never runs into the queue's limit.
    private static let window = 64
    private static let seconds = Int64.seconds(3)
    private static let rounds = 40_000

    /// One transport after the other.
    func measure() async throws(BenchError) -> RaftWireReport {
        let platform = RealPlatform(loopCount: 2)
        return RaftWireReport(
            framed: try await Self.measure(.framed, platform),
            grpc: try await Self.measure(.grpc, platform)
        )
    }

    private static func measure(
        _ transport: Transport,
        _ platform: RealPlatform
    ) async throws(BenchError) -> Figures {
        let one: Side
        let two: Side
        do {
            one = try Side(1, transport, platform, loop: 0)
            two = try Side(2, transport, platform, loop: 1)
            let first = try await one.start()
            let second = try await two.start()
            one.end.setPeers([two.id: second])
            two.end.setPeers([one.id: first])
        } catch {
            throw .network("\(error)")
        }
        var figures = Figures()
        await connect(one, two)
        let before = ProcessorTime.now()
        figures.roundTrips = await roundTrips(one, two, platform.clock)
        figures.processorPerRoundTrip =
            ProcessorTime.now().since(before).total * 1e6 / Double(rounds)
        let batch = PeerFrame.messages((0..<turn).map { append(UInt64($0), bytes: 100) })
        figures.messagesPerSecond =
            await rate(of: batch, one, two, platform.clock)
        let single = PeerFrame.messages([append(1, bytes: 100)])
        figures.singleFramesPerSecond = await rate(of: single, one, two, platform.clock)
        let large = PeerFrame.messages([append(1, bytes: 64 << 10)])
        figures.largeMegabytesPerSecond =
            await rate(of: large, one, two, platform.clock) * Double(64 << 10) / 1e6
        figures.heartbeatBytes = await heartbeatBytes(one, two)
        await one.end.stop()
        await two.end.stop()
        return figures
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
        one.handle { _ in done.fire() }
        two.handle { _ in two.transport.send(response(1), to: one.id) }
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
            two.handle { _ in two.transport.send(answer, to: one.id) }
            one.handle { _ in
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

    /// Messages a second, a window of frames under way; the receiver answers every quarter window.
    private static func rate(
        of frame: PeerFrame,
        _ one: Side,
        _ two: Side,
        _ clock: any Clock
    ) async -> Double {
        let quarter = window / 4
        let messages = frame.messageCount * quarter
        let arrived = Mutex(0)
        let answer = response(1)
        let began = clock.monotonicNanoseconds
        let end = began + seconds
        two.handle { count in
            let answers = arrived.withLock {
                $0 += count
                return $0 / messages - ($0 - count) / messages
            }
            for _ in 0..<answers { two.transport.send(answer, to: one.id) }
        }
        let unanswered = Mutex(0)
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            let sendQuarter = { @Sendable in
                for _ in 0..<quarter { one.transport.send(frame, to: two.id) }
                unanswered.withLock { $0 += 1 }
            }
            one.handle { answers in
                let left = unanswered.withLock {
                    $0 -= answers
                    return $0
                }
                if clock.monotonicNanoseconds < end {
                    for _ in 0..<answers { sendQuarter() }
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
    private static func heartbeatBytes(_ one: Side, _ two: Side) async -> Double? {
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
        guard let before = two.messageBytes else { return nil }
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            two.handle { _ in done.resume() }
            one.transport.send(.messages(beats), to: two.id)
        }
        two.handle { _ in }
        return two.messageBytes.map { ($0 - before) / 1_000 }
    }

    /// Something that happens once.
    private final class OneShot: Sendable {
        private let fired = Atomic(false)
        var hasFired: Bool { fired.load(ordering: .acquiring) }
        func fire() { fired.store(true, ordering: .releasing) }
    }
}

extension PeerFrame {
    fileprivate var messageCount: Int {
        if case .messages(let messages) = self { messages.count } else { 0 }
    }
}
