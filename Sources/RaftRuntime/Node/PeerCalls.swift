package import Bytes
package import Platform
package import Raft

/// Why a call brought no answer.
package enum PeerCallError: Error, Equatable {
    /// No answer within the time given: the peer may or may not have done what was asked.
    case timedOut
    /// The peer cannot be reached, has restarted, or this node stops: the peer may or may not have
    /// done what was asked.
    case unreachable
    /// The peer has done nothing: it does not know the operation, or does not serve it yet or now.
    case refused
    /// Too many calls wait for this peer already; nothing was sent.
    case overloaded
    /// The payload is too long; nothing was sent.
    case tooLarge(bytes: Int, limit: Int)
}

/// What a node asks the others, and what they ask it, over any ``RaftTransport``.
///
/// | a call ends | when |
/// |---|---|
/// | with the answer | the first answer with its id comes from the peer that was asked |
/// | timed out | the time given is over; a later answer finds nobody |
/// | unreachable | the transport gives the peer up, or another life of it is heard of |
/// | refused | the peer says so |
///
/// An id is used once. The first is drawn at random out of 64 bits, so that what is answered to an
/// earlier life of this process is not taken for an answer to this one.
///
/// Callable on any loop; its state is confined to one, where the calls of others are served too.
package final class PeerCalls: Sendable {
    package struct Limits: Sendable {
        /// Calls of this node that wait for one peer.
        package var maxWaiting = 1_024
        /// Calls of one peer that are served at once; those on top are refused.
        package var maxServing = 256
        /// Of a call or an answer; must fit into a frame of the transport.
        package var maxPayloadBytes = 8 << 20

        package init() {}
    }

    /// Answers a call of another node; `nil` for an operation it does not know.
    package typealias Handler = @Sendable (ReplicaID, PeerCall) async -> ByteSlice?

    package let loop: EventLoop
    private let transport: any RaftTransport
    private let limits: Limits
    private let state: CallState

    /// - Parameters:
    ///   - transport: Carries calls and answers.
    ///   - loop: Where calls are kept and served; the dispatcher's home is a good one.
    ///   - generator: Draws the first id.
    ///   - limits: How much may be under way.
    package init(
        transport: any RaftTransport,
        loop: EventLoop,
        generator: SeededGenerator,
        limits: Limits = Limits()
    ) {
        self.transport = transport
        self.loop = loop
        self.limits = limits
        var generator = generator
        state = CallState(nextID: generator.next())
    }

    // MARK: Asking

    /// Asks another node, and waits for its answer; callable on any loop.
    ///
    /// The wait ends with the time given, not with the task.
    ///
    /// - Parameters:
    ///   - peer: Who is asked; not this node.
    ///   - operation: What is asked.
    ///   - payload: Sent as it is.
    ///   - nanoseconds: How long to wait at most.
    /// - Returns: What the peer's handler returned.
    /// - Throws: Why there is no answer; only ``PeerCallError/timedOut`` and
    ///   ``PeerCallError/unreachable`` leave open whether the peer did what was asked.
    package func call(
        _ peer: ReplicaID,
        _ operation: UInt8,
        _ payload: ByteRope,
        within nanoseconds: Int64
    ) async throws(PeerCallError) -> ByteSlice {
        guard payload.count <= limits.maxPayloadBytes else {
            throw .tooLarge(bytes: payload.count, limit: limits.maxPayloadBytes)
        }
        let result = await withUnsafeContinuation { (asking: CallState.Asking) in
            onLoop { [self] in begin(peer, operation, payload, within: nanoseconds, asking) }
        }
        return try result.get()
    }

    /// The same with a payload in one piece.
    package func call(
        _ peer: ReplicaID,
        _ operation: UInt8,
        _ payload: ByteSlice,
        within nanoseconds: Int64
    ) async throws(PeerCallError) -> ByteSlice {
        try await call(peer, operation, ByteRope(payload), within: nanoseconds)
    }

    private func begin(
        _ peer: ReplicaID,
        _ operation: UInt8,
        _ payload: ByteRope,
        within nanoseconds: Int64,
        _ asking: CallState.Asking
    ) {
        guard !state.isStopped else { return asking.resume(returning: .failure(.unreachable)) }
        guard state.waitingFor[peer, default: 0] < limits.maxWaiting else {
            return asking.resume(returning: .failure(.overloaded))
        }
        let id = state.nextID
        state.nextID &+= 1
        let timer = loop.schedule(after: max(0, nanoseconds)) { [weak self] in
            self?.end(id, .failure(.timedOut))
        }
        state.waiting[id] = CallState.Waiting(peer: peer, timer: timer, asking: asking)
        state.waitingFor[peer, default: 0] += 1
        let call = PeerCall(id: id, operation: operation, payload: payload)
        transport.send(.call(call), to: peer)
    }

    private func end(_ id: UInt64, _ result: Result<ByteSlice, PeerCallError>) {
        guard let waiting = state.waiting.removeValue(forKey: id) else { return }
        CallState.countDown(&state.waitingFor, waiting.peer)
        waiting.timer.cancel()
        waiting.asking.resume(returning: result)
    }

    private func end(where isMeant: (ReplicaID) -> Bool) {
        // In the order they were made: runs with the same seed are the same.
        let ids = state.waiting.filter { isMeant($0.value.peer) }.keys
        let first = state.firstID
        for id in ids.sorted(by: { $0 &- first < $1 &- first }) { end(id, .failure(.unreachable)) }
    }

    // MARK: Serving

    /// Has the calls of others answered from now on; until then they are refused.
    ///
    /// - Parameter handler: Called in a task on the loop. What it returns beyond the limit of
    ///   payloads is not sent, and the caller's time runs out.
    package func serve(_ handler: @escaping Handler) {
        onLoop { [self] in state.handler = handler }
    }

    /// Ends the calls that wait, as unreachable, and refuses all others from now on.
    package func stop() {
        onLoop { [self] in
            state.isStopped = true
            state.handler = nil
            end { _ in true }
        }
    }

    private func serve(_ call: PeerCall, of peer: ReplicaID) {
        guard let handler = state.handler, state.serving[peer, default: 0] < limits.maxServing
        else { return answer(call, of: peer, nil) }
        state.serving[peer, default: 0] += 1
        Task.immediate(executorPreference: loop) { [self] in
            let payload = await handler(peer, call)
            onLoop { [self] in
                CallState.countDown(&state.serving, peer)
                answer(call, of: peer, payload)
            }
        }
    }

    private func answer(_ call: PeerCall, of peer: ReplicaID, _ payload: ByteSlice?) {
        if let payload, payload.count > limits.maxPayloadBytes { return }
        let answer = PeerAnswer(
            id: call.id,
            isRefused: payload == nil,
            payload: payload ?? ByteSlice()
        )
        transport.send(.answer(answer), to: peer)
    }

    // MARK: What the dispatcher hears

    package func received(_ call: PeerCall, from peer: ReplicaID) {
        onLoop { [self] in serve(call, of: peer) }
    }

    package func received(_ answer: PeerAnswer, from peer: ReplicaID) {
        onLoop { [self] in
            guard state.waiting[answer.id]?.peer == peer else { return }
            end(answer.id, answer.isRefused ? .failure(.refused) : .success(answer.payload))
        }
    }

    /// What the peer was asked before this may be lost, and so may its answers.
    package func peerIsUnreachable(_ peer: ReplicaID) {
        onLoop { [self] in end { $0 == peer } }
    }

    private func onLoop(_ body: @escaping @Sendable () -> Void) {
        if loop.isCurrent { body() } else { loop.execute(body) }
    }
}

/// The calls under way.
private final class CallState: @unchecked Sendable {
    // Unchecked: confined to the loop of its owner.
    typealias Asking = UnsafeContinuation<Result<ByteSlice, PeerCallError>, Never>

    struct Waiting {
        let peer: ReplicaID
        let timer: LoopTimer
        let asking: Asking
    }

    let firstID: UInt64
    var nextID: UInt64
    var waiting: [UInt64: Waiting] = [:]
    /// How many of `waiting` there are for each peer, and how many calls of each are served.
    var waitingFor: [ReplicaID: Int] = [:]
    var serving: [ReplicaID: Int] = [:]
    var handler: PeerCalls.Handler?
    var isStopped = false

    init(nextID: UInt64) {
        firstID = nextID
        self.nextID = nextID
    }

    static func countDown(_ counts: inout [ReplicaID: Int], _ peer: ReplicaID) {
        guard let count = counts[peer] else {
            preconditionFailure("a call of node \(peer) ends that never began")
        }
        counts[peer] = count > 1 ? count - 1 : nil
    }
}
