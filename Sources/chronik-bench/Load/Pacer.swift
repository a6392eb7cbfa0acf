import Platform

/// Wakes sleepers of one loop at a moment, more finely than the loop's own timers of a millisecond.
///
/// A thread of its own sleeps until the earliest; all that are due by then are woken together, so
/// that the number of wake-ups stays bounded however many requests are due.
final class Pacer: @unchecked Sendable {
    // Unchecked: all but the worker is confined to `loop`.
    private let loop: EventLoop
    private let worker: Worker
    private var sleepers = TimerQueue()
    private var armed = Int64.max

    init(on loop: EventLoop, worker: Worker) {
        self.loop = loop
        self.worker = worker
    }

    /// Returns at `deadline` or soon after; at once, and false, if it has passed.
    func sleep(until deadline: Int64) async -> Bool {
        if loop.clock.monotonicNanoseconds >= deadline { return false }
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            sleepers.insert(LoopTimer(deadline: deadline) { continuation.resume() })
            arm()
        }
        return true
    }

    private func arm() {
        guard let next = sleepers.nextDeadline, next < armed else { return }
        armed = next
        let delay = max(0, next - loop.clock.monotonicNanoseconds)
        worker.execute(after: delay) { [self] in loop.execute { [self] in wake() } }
    }

    private func wake() {
        armed = .max
        let now = loop.clock.monotonicNanoseconds
        while let timer = sleepers.popDue(at: now) { timer.fire() }
        arm()
    }
}
