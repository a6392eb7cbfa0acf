import Admin
import Platform
import Synchronization

/// Gives every request that waits its time, and no more.
///
/// On a thread of its own: an event loop that is stuck is what a deadline is for. All have the same
/// time, so the oldest is always the next.
final class Deadlines: Sendable {
    private struct State {
        var queue: [(moment: Int64, exchange: Exchange)] = []
        var isScheduled = false
        var isStopped = false
    }

    private let worker: Worker
    private let clock: any Clock
    private let nanoseconds: Int64
    private let state = Mutex(State())

    init(_ nanoseconds: Int64, on worker: Worker, clock: any Clock) {
        self.nanoseconds = nanoseconds
        self.worker = worker
        self.clock = clock
    }

    func begin(_ exchange: Exchange) {
        let moment = clock.monotonicNanoseconds + nanoseconds
        state.withLock { state in
            guard !state.isStopped else { return }
            state.queue.append((moment, exchange))
            schedule(&state)
        }
    }

    func stop() {
        state.withLock { state in
            state.isStopped = true
            state.queue = []
        }
        worker.stop()
    }

    private func schedule(_ state: inout State) {
        guard !state.isScheduled, let next = state.queue.first else { return }
        state.isScheduled = true
        let left = max(0, next.moment - clock.monotonicNanoseconds)
        worker.execute(after: left) { [weak self] in self?.sweep() }
    }

    private func sweep() {
        let now = clock.monotonicNanoseconds
        let expired = state.withLock { state in
            state.isScheduled = false
            guard !state.isStopped else { return [Exchange]() }
            let due = state.queue.prefix { $0.moment <= now }.map(\.exchange)
            state.queue.removeFirst(due.count)
            schedule(&state)
            return due
        }
        for exchange in expired {
            exchange.settle { .error(503, "the node did not answer in time") }
        }
    }
}
