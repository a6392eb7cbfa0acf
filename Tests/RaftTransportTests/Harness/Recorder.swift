import Raft
import RaftRuntime
import Synchronization

/// A delegate that keeps what it is told, and lets tests wait for it.
final class Recorder: RaftTransportDelegate {
    struct Seen: Sendable {
        var frames: [(peer: ReplicaID, frame: PeerFrame)] = []
        var unreachable: [ReplicaID] = []

        func frames(from peer: ReplicaID) -> [PeerFrame] {
            frames.filter { $0.peer == peer }.map(\.frame)
        }
    }

    private struct Waiter {
        let isDone: @Sendable (Seen) -> Bool
        let continuation: CheckedContinuation<Void, Never>
    }

    private struct State {
        var seen = Seen()
        var waiters: [Waiter] = []
        var isCancelled = false
    }

    private let state = Mutex(State())

    var seen: Seen { state.withLock { $0.seen } }

    func received(_ frame: PeerFrame, from peer: ReplicaID) {
        record { $0.frames.append((peer, frame)) }
    }

    func peerIsUnreachable(_ peer: ReplicaID) { record { $0.unreachable.append(peer) } }

    func forget() { state.withLock { $0.seen = Seen() } }

    private func record(_ change: (inout Seen) -> Void) {
        let done = state.withLock { state -> [Waiter] in
            change(&state.seen)
            let done = state.waiters.filter { $0.isDone(state.seen) }
            state.waiters.removeAll { $0.isDone(state.seen) }
            return done
        }
        for waiter in done { waiter.continuation.resume() }
    }

    /// Comes back once that holds, or the test's time is up.
    func wait(until isDone: @escaping @Sendable (Seen) -> Bool) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    guard !isDone(state.seen) && !state.isCancelled else { return true }
                    state.waiters.append(Waiter(isDone: isDone, continuation: continuation))
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let waiters = state.withLock { state in
                state.isCancelled = true
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in waiters { waiter.continuation.resume() }
        }
    }
}
