import Bytes
import Platform
import Raft
import RaftRuntime
import Synchronization

/// The sending end of one stream to a peer.
///
/// One request is under way at a time; what is sent meanwhile waits in a bounded queue, and frames
/// of messages that waited together leave together: one encoded behind the other is the encoding
/// of a frame with the messages of both.
///
/// | state | `call` | `isSending` | next |
/// |---|---|---|---|
/// | closed | nil | no | a frame opens a call |
/// | sending | a call | yes | sent: the next, or open; broken: closed |
/// | open | a call | no | a frame is sent; broken: closed |
/// | broken while sending | nil | yes | the report of what was under way: closed, or a new call |
final class PeerStream: Sendable {
    private struct State: ~Copyable {
        var queue: [ByteRope] = []
        var queuedBytes = 0
        var channel: GRPCChannel
        /// Nobody was reached by the channel's last attempt.
        var isFailing = false
        var call: ClientCall?
        var isSending = false
        var isStopped = false
        /// Calls that have not ended, the open one among them.
        var liveCalls = 0
        var whenQuiet: ThreadGate?
        /// Nothing is opened before, in nanoseconds of the monotonic clock.
        var opensAt = Int64.min
    }

    private let kind: PeerFrame.Stream
    private let header: CallHeader
    private let makeChannel: @Sendable () -> GRPCChannel
    private let configuration: GRPCTransport.Configuration
    private let events: PeerEvents
    private let state: Mutex<State>

    init(
        _ kind: PeerFrame.Stream,
        header: CallHeader,
        makeChannel: @escaping @Sendable () -> GRPCChannel,
        _ configuration: GRPCTransport.Configuration,
        _ events: PeerEvents
    ) {
        self.kind = kind
        self.header = header
        self.makeChannel = makeChannel
        state = Mutex(State(channel: makeChannel()))
        self.configuration = configuration
        self.events = events
    }

    private var peer: ReplicaID { ReplicaID(header.to) }

    func send(_ frame: PeerFrame) {
        let request = StreamRequest(header: nil, frame: frame).encoded()
        let now = events.clock.monotonicNanoseconds
        let (isTaken, pumps) = state.withLock { state -> (Bool, Bool) in
            let hasRoom =
                state.queue.isEmpty
                || (state.queue.count < configuration.maxQueuedFrames
                    && state.queuedBytes + request.count <= configuration.maxQueuedBytes)
            guard hasRoom, !state.isStopped, state.call != nil || now >= state.opensAt else {
                return (false, false)
            }
            state.queue.append(request)
            state.queuedBytes += request.count
            if state.isSending { return (true, false) }
            state.isSending = true
            return (true, true)
        }
        if pumps { pump() }
        if !isTaken {
            events.dropped.add(1, ordering: .relaxed)
            events.peerIsUnreachable(peer)
        }
    }

    /// The peer was heard of.
    ///
    /// A channel that has failed refuses calls until it is connected again, which it tries after a
    /// pause. A new one tries at once, and calls wait for that.
    func peerIsAlive() {
        state.withLock { state in
            guard state.isFailing, !state.isStopped else { return }
            state.channel = makeChannel()
            state.isFailing = false
        }
    }

    /// Ends the stream.
    ///
    /// - Parameter gate: Opened when nothing is under way any more.
    func stop(_ gate: ThreadGate) {
        let call = state.withLock { state in
            state.isStopped = true
            state.queue = []
            state.queuedBytes = 0
            state.whenQuiet = gate
            openGateIfQuiet(&state)
            return state.call.take()
        }
        call?.cancel()
    }

    private func openGateIfQuiet(_ state: inout State) {
        guard state.isStopped, !state.isSending, state.liveCalls == 0 else { return }
        state.whenQuiet.take()?.open()
    }

    private func stopSending(_ state: inout State) {
        state.isSending = false
        openGateIfQuiet(&state)
    }

    /// Sends what waits; only whoever has set `isSending`.
    private func pump() {
        let (open, batch) = state.withLock { state -> (ClientCall?, [ByteRope]) in
            let batch = takeBatch(from: &state)
            if batch.isEmpty { stopSending(&state) }
            return (state.call, batch)
        }
        guard !batch.isEmpty else { return }
        if let open {
            send(batch, on: open)
        } else if let call = openCall() {
            send([StreamRequest(header: header).encoded()] + batch, on: call)
        } else {
            state.withLock { stopSending(&$0) }
        }
    }

    private func takeBatch(from state: inout State) -> [ByteRope] {
        var count = 0
        var bytes = 0
        for request in state.queue {
            guard count == 0 || bytes + request.count <= configuration.maxMergedBytes else { break }
            count += 1
            bytes += request.count
            if kind != .messages { break }
        }
        let batch = Array(state.queue.prefix(count))
        state.queue.removeFirst(count)
        state.queuedBytes -= bytes
        return batch
    }

    private func send(_ batch: [ByteRope], on call: ClientCall) {
        call.send(batch) { [self] succeeded in
            if succeeded {
                state.withLock { $0.isFailing = false }
            } else {
                lost(call, nil)
            }
            pump()
        }
    }

    /// A new call; `nil` when the stream was stopped.
    private func openCall() -> ClientCall? {
        let call = state.withLock { $0.channel }.open(.stream)
        let isStopped = state.withLock { state in
            guard !state.isStopped else { return true }
            state.call = call
            state.liveCalls += 1
            return false
        }
        guard !isStopped else { return nil }
        call.begin { [self] result in
            lost(call, result)
            state.withLock { state in
                state.liveCalls -= 1
                openGateIfQuiet(&state)
            }
        }
        return call
    }

    /// The call is over: what waited for it is dropped.
    private func lost(_ call: ClientCall, _ result: Result<ByteSlice, RaftCallError>?) {
        var failure: RaftCallError?
        if case .failure(let error) = result { failure = error }
        let isRefused = failure?.isRefusal ?? false
        let now = events.clock.monotonicNanoseconds
        let (isFirst, dropped) = state.withLock { state -> (Bool, Int) in
            if isRefused { state.opensAt = now + configuration.refusalPause }
            if let failure, failure.isUnreachable { state.isFailing = true }
            guard state.call === call else { return (false, 0) }
            let dropped = state.queue.count
            state.call = nil
            state.queue = []
            state.queuedBytes = 0
            return (true, dropped)
        }
        if let failure, isRefused || failure.isUnreachable { events.failed(peer, failure) }
        guard isFirst else { return }
        events.dropped.add(dropped, ordering: .relaxed)
        events.peerIsUnreachable(peer)
    }
}

extension StreamRequest {
    /// The start of a stream; put before a frame it makes one request with it.
    init(header: CallHeader) { self.header = header }
}

extension RaftCallError {
    package var isUnreachable: Bool { if case .unreachable = self { true } else { false } }

    /// Whether the peer is there and wants nothing from this node.
    fileprivate var isRefusal: Bool {
        switch self {
        case .unreachable, .cancelled, .deadlineExceeded: false
        default: true
        }
    }
}
