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

    func receive() { service.receive(from: call) { [self] in received($0) } }

    private func received(_ message: Result<StreamRequest?, RaftCallError>) {
        switch message {
        case .failure(let error): fail(error)
        case .success(nil): end()
        case .success(let request?):
            if let known = header.withLock({ $0 }) {
                if let again = request.header, again != known {
                    return nonsense("the header changes within a stream")
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
            return nonsense("a stream without a header")
        }
        let loop = service.loop(of: header.from)
        loop.execute { [self] in
            Task.immediate(executorPreference: loop) {
                do throws(RaftCallError) {
                    try await service.check(header, of: call, nodesOnly: true)
                } catch {
                    return fail(error)
                }
                service.lives.opened(header)
                service.onArrival(ReplicaID(header.from))
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

    /// The sender is done, or gone; what it sent before is taken first.
    private func end() {
        let header = header.withLock { $0 }
        service.loop(of: header?.from ?? 0).execute { [self] in
            close()
            call.finish(.success(Numbers(frames.load(ordering: .relaxed)).encoded()))
        }
    }

    private func nonsense(_ what: String) {
        service.malformed.increment()
        fail(.malformed(what))
    }

    private func fail(_ error: RaftCallError) {
        close()
        call.finish(.failure(error))
    }

    private func close() {
        if let header = header.withLock({ $0.take() }) { service.lives.closed(header) }
    }
}
