import Synchronization

/// Wakes a waiting fetch once, whichever of its partitions or its timer is first.
final class FetchSignal: Sendable {
    private enum State {
        case idle
        case waiting(UnsafeContinuation<Void, Never>)
        case fired
    }

    private let state = Mutex(State.idle)

    var hasFired: Bool {
        state.withLock { if case .fired = $0 { true } else { false } }
    }

    func fire() {
        let waiting: UnsafeContinuation<Void, Never>? = state.withLock { state in
            defer { state = .fired }
            if case .waiting(let continuation) = state { return continuation }
            return nil
        }
        waiting?.resume()
    }

    /// Returns once `fire` was called, before or after.
    func wait() async {
        await withUnsafeContinuation { continuation in
            let hasFired = state.withLock { state in
                if case .fired = state { return true }
                state = .waiting(continuation)
                return false
            }
            if hasFired { continuation.resume() }
        }
    }
}
