internal import Synchronization

/// How many snapshots a node sends and receives at the same time, and how fast it sends them.
///
/// Shared by the loops of a node; taken once a snapshot, and once a piece of one.
package final class SnapshotLimits: Sendable {
    private struct State {
        var sent = 0
        var received = 0
        /// When what was sent so far would have been sent at the allowed rate.
        var paidUntil: Int64 = 0
    }

    private let config: RaftConfig
    private let state = Mutex(State())

    package init(_ config: RaftConfig) { self.config = config }

    func takeSending() -> Bool {
        state.withLock {
            guard $0.sent < config.maxSnapshotsSent else { return false }
            $0.sent += 1
            return true
        }
    }

    func giveSending() { state.withLock { $0.sent -= 1 } }

    func takeReceiving() -> Bool {
        state.withLock {
            guard $0.received < config.maxSnapshotsReceived else { return false }
            $0.received += 1
            return true
        }
    }

    func giveReceiving() { state.withLock { $0.received -= 1 } }

    /// Nanoseconds to wait before so many bytes may be sent.
    func delay(_ bytes: Int, now: Int64) -> Int64 {
        let cost = Int64(bytes) * 1_000_000_000 / Int64(config.snapshotBytesPerSecond)
        return state.withLock {
            let start = max($0.paidUntil, now)
            $0.paidUntil = start + cost
            return start - now
        }
    }
}
