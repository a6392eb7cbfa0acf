import Platform
import Synchronization

/// One limit on the bytes a node holds: requests in progress and batches not yet in segments.
///
/// At the limit connections stop reading, so that clients feel back-pressure and nothing is dropped.
///
/// | account | counted | when it is full |
/// |---|---|---|
/// | held | whole requests until they are answered, batches until they are in segments | no connection reads a further request |
/// | arriving | what has arrived of requests too large for a connection's buffer | one goes on at a time: ``ArrivalPool`` |
///
/// A quarter of the memory is for what arrives, half of that for requests beyond a 32nd of all, so
/// that slow senders of large requests leave the rest to others.
final class MemoryBudget: Sendable {
    private let heldLimit: Int
    private let ordinaryLength: Int
    private let ordinary: ArrivalPool
    private let large: ArrivalPool
    private let held = Atomic<Int>(0)
    private let closed = Atomic(false)
    /// Loops whose batches cannot be written to segments: what they hold is there to stay.
    private let stuck = Atomic<Int>(0)
    private let gate = Mutex<[UnsafeContinuation<Void, Never>]>([])

    init(limit: Int) {
        precondition(limit > 0, "a budget of \(limit) bytes")
        heldLimit = max(1, limit * 3 / 4)
        ordinary = ArrivalPool(limit: max(1, limit / 8))
        large = ArrivalPool(limit: max(1, limit / 8))
        ordinaryLength = limit / 32
    }

    // MARK: What is held

    var heldBytes: Int { held.load(ordering: .relaxed) }

    /// Counts `bytes` more, or fewer when negative.
    func add(_ bytes: Int) {
        let now = held.add(bytes, ordering: .relaxed).newValue
        if bytes < 0 && closed.load(ordering: .relaxed) && now < heldLimit { open() }
    }

    /// While segments cannot be written nobody waits for room: no batch is taken in anyway, and
    /// what consumers ask for needs none.
    func setStuck(_ isStuck: Bool) {
        stuck.add(isStuck ? 1 : -1, ordering: .relaxed)
        if isStuck { open() }
    }

    var isExhausted: Bool {
        held.load(ordering: .relaxed) >= heldLimit && stuck.load(ordering: .relaxed) == 0
    }

    /// Returns at once while there is room; otherwise once there is.
    func waitForRoom() async {
        while isExhausted {
            await withUnsafeContinuation { continuation in
                gate.withLock { $0.append(continuation) }
                closed.store(true, ordering: .sequentiallyConsistent)
                // Room may have come between the look and the wait.
                if !isExhausted { open() }
            }
        }
    }

    private func open() {
        let waiting = gate.withLock { gate in
            closed.store(false, ordering: .sequentiallyConsistent)
            defer { gate = [] }
            return gate
        }
        for continuation in waiting { continuation.resume() }
    }

    // MARK: What arrives

    /// Where a request of that length is counted while it arrives.
    func pool(for length: Int) -> ArrivalPool { length <= ordinaryLength ? ordinary : large }
}

/// A request that took too long to arrive while memory was short.
struct SlowRequest: Error, CustomStringConvertible {
    var description: String { "a request arrives too slowly while memory is short" }
}
