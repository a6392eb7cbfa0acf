import Platform
import Synchronization

/// One limit on the bytes a node holds: requests in progress and batches not yet in segments.
///
/// At the limit connections stop reading, so that clients feel back-pressure and nothing is
/// dropped. Loops look at it after each request; the gate opens again when a loop reports less.
final class MemoryBudget: Sendable {
    private struct Gate {
        var waiting: [(loop: EventLoop, continuation: UnsafeContinuation<Void, Never>)] = []
    }

    let limit: Int
    private let used = Atomic<Int>(0)
    private let closed = Atomic(false)
    private let gate = Mutex(Gate())

    init(limit: Int) {
        precondition(limit > 0, "a budget of \(limit) bytes")
        self.limit = limit
    }

    var current: Int { used.load(ordering: .relaxed) }

    /// Counts `bytes` more, or fewer when negative.
    func add(_ bytes: Int) {
        let now = used.add(bytes, ordering: .relaxed).newValue
        if bytes < 0 && closed.load(ordering: .relaxed) && now < limit { open() }
    }

    var isExhausted: Bool { used.load(ordering: .relaxed) >= limit }

    /// Returns at once while there is room; otherwise once there is.
    func waitForRoom(on loop: EventLoop) async {
        guard isExhausted else { return }
        await withUnsafeContinuation { continuation in
            gate.withLock { $0.waiting.append((loop, continuation)) }
            closed.store(true, ordering: .sequentiallyConsistent)
            // Room may have come between the look and the wait.
            if !isExhausted { open() }
        }
    }

    private func open() {
        let waiting = gate.withLock { gate in
            closed.store(false, ordering: .sequentiallyConsistent)
            defer { gate.waiting = [] }
            return gate.waiting
        }
        for waiter in waiting { waiter.continuation.resume() }
    }
}
