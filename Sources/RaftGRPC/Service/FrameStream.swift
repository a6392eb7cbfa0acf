import Bytes
import Platform
import Raft
import RaftRuntime
import Synchronization

/// The server's end of a stream of frames from another node.
///
/// Frames are decoded on gRPC's thread and handed over on the peer's loop. At most `window` of them
/// wait there; beyond that the stream is not read on, and the sender feels it.
final class FrameStream: Sendable {
    private static let window = 32

    private let call: ServerCall
    private let service: RaftService
    private let waiting = Atomic(0)
    private let frames = Atomic<UInt64>(0)
    /// Set with the first message.
    private let header = Mutex<CallHeader?>(nil)

    init(_ call: ServerCall, _ service: RaftService) {
        self.call = call
        self.service = service
    }

    func receive() { call.receive { [self] bytes in received(bytes) } }

    private func received(_ bytes: ByteSlice?) {
        guard let bytes else { return end() }
        switch service.decode(bytes, as: StreamRequest.self) {
        case .failure(let error): fail(error)
        case .success(let request):
            if let known = header.withLock({ $0 }) {
                if let again = request.header, again != known {
                    return fail(.malformed("the header changes within a stream"))
                }
                guard let frame = request.frame else { return receive() }
                handOver(frame, from: known)
            } else {
                open(request)
            }
        }
    }

    /// Checks who sends before anything is taken from it; only then reads on.
    private func open(_ request: StreamRequest) {
        guard let header = request.header else {
            return fail(.malformed("a stream without a header"))
        }
        let loop = service.loop(of: header.from)
        loop.execute { [self] in
            Task.immediate(executorPreference: loop) {
                do throws(RaftCallError) {
                    try await service.check(header, nodesOnly: true)
                } catch {
                    return fail(error)
                }
                service.lives.opened(header)
                self.header.withLock { $0 = header }
                if let frame = request.frame { deliver(frame, from: header) }
                receive()
            }
        }
    }

    private func handOver(_ frame: PeerFrame, from header: CallHeader) {
        let count = waiting.add(1, ordering: .acquiringAndReleasing).newValue
        service.loop(of: header.from).execute { [self] in
            deliver(frame, from: header)
            let left = waiting.subtract(1, ordering: .acquiringAndReleasing)
            if left.oldValue == Self.window { receive() }
        }
        if count < Self.window { receive() }
    }

    private func deliver(_ frame: PeerFrame, from header: CallHeader) {
        frames.add(1, ordering: .relaxed)
        service.delegate.received(frame, from: ReplicaID(header.from))
    }

    /// The sender is done, or gone.
    private func end() {
        close()
        call.finish(.success(Numbers(frames.load(ordering: .relaxed)).encoded()))
    }

    private func fail(_ error: RaftCallError) {
        close()
        call.finish(.failure(error))
    }

    private func close() {
        if let header = header.withLock({ $0.take() }) { service.lives.closed(header) }
    }
}

/// The server's end of a snapshot sent by a call.
///
/// Each piece is answered by the follower before the next is read: nothing piles up.
final class SnapshotStream: Sendable {
    private let call: ServerCall
    private let service: RaftService
    private let state = Mutex(State())

    private struct State {
        var header: CallHeader?
        var route: GroupRoute?
        var group: UInt64 = 0
        var answer: SnapshotAnswer?
    }

    init(_ call: ServerCall, _ service: RaftService) {
        self.call = call
        self.service = service
    }

    func receive() { call.receive { [self] bytes in received(bytes) } }

    private func received(_ bytes: ByteSlice?) {
        guard let bytes else { return end() }
        switch service.decode(bytes, as: InstallSnapshotRequest.self) {
        case .failure(let error): call.finish(.failure(error))
        case .success(let request):
            let sender = request.header ?? state.withLock { $0.header }
            let loop = service.loop(of: sender?.from ?? 0)
            loop.execute { [self] in
                let patience = service.patience(for: call)
                let work = RaftService.Work(loop: loop, patience: patience)
                Task.immediate(executorPreference: loop) {
                    do throws(RaftCallError) {
                        try await take(request, work)
                    } catch {
                        call.finish(.failure(error))
                    }
                }
            }
        }
    }

    private func end() {
        guard let answer = state.withLock({ $0.answer }) else {
            call.finish(.failure(.malformed("a snapshot without a piece")))
            return
        }
        finish(answer)
    }

    private func finish(_ answer: SnapshotAnswer) {
        var response = InstallSnapshotResponse()
        response.answer = answer
        call.finish(.success(response.encoded()))
    }

    private func take(
        _ request: InstallSnapshotRequest,
        _ work: RaftService.Work
    ) async throws(RaftCallError) {
        let (header, group) = try await sender(of: request)
        guard var chunk = request.chunk else { throw .malformed("a message without a piece") }
        chunk.group = group
        let piece = chunk
        let from = ReplicaID(header.from)
        let answer = try await service.answers.ask(
            group: group,
            as: from,
            within: work.patience,
            on: work.loop,
            isAnsweredBy: { answer in
                guard case .snapshot(let answer) = answer else { return false }
                return answer.index == piece.index && answer.term == piece.term
            },
            deliver: { () async throws(RaftCallError) in
                service.delegate.received(.snapshotChunk(piece), from: from)
            }
        )
        guard case .snapshot(let taken) = answer else {
            throw .status(code: StatusCode.internal.rawValue, text: "\(answer)")
        }
        state.withLock { $0.answer = taken }
        // Ended by its last piece, or because the follower is elsewhere in it: the caller is told.
        let next = piece.offset &+ UInt64(piece.bytes.count)
        if piece.isLast || taken.isRefused || taken.received != next {
            finish(taken)
        } else {
            receive()
        }
    }

    /// Who sends, checked with the first message and remembered.
    private func sender(
        of request: InstallSnapshotRequest
    ) async throws(RaftCallError) -> (CallHeader, UInt64) {
        let (known, route, group) = state.withLock { ($0.header, $0.route, $0.group) }
        if let known {
            guard (request.header ?? known) == known, (request.route ?? route) == route else {
                throw .malformed("header or route change within a snapshot")
            }
            return (known, group)
        }
        guard let header = request.header, let route = request.route else {
            throw .malformed("a snapshot without header and route")
        }
        try await service.check(header, nodesOnly: true)
        let found = try await service.handler.group(at: route)
        state.withLock { state in
            state.header = header
            state.route = route
            state.group = found
        }
        return (header, found)
    }
}
