import Platform
import Synchronization

/// What handlers may know of the connection a request came over.
final class ClientConnection: Sendable {
    let peer: String
    let loop: EventLoop
    private let log: Logger
    private let limiter: LogLimiter
    private let lastActive: Atomic<Int64>

    init(peer: String, loop: EventLoop, log: Logger, limiter: LogLimiter) {
        self.peer = peer
        self.loop = loop
        self.log = log
        self.limiter = limiter
        lastActive = Atomic(loop.clock.monotonicNanoseconds)
    }

    /// The peer's address without its port, as group descriptions show it.
    var host: String {
        guard let colon = peer.lastIndex(of: ":") else { return peer }
        return String(peer[..<colon])
    }

    func touch(at now: Int64) { lastActive.store(now, ordering: .relaxed) }

    func isIdle(since moment: Int64) -> Bool { lastActive.load(ordering: .relaxed) < moment }

    /// One line for what a peer got wrong, rate-limited over all connections.
    func reportBadInput(_ problem: String) {
        limiter.limited { suppressed in
            log.warning(
                "closing a connection: \(problem)",
                suppressed == 0 ? ["peer": peer] : ["peer": peer, "suppressed": "\(suppressed)"]
            )
        }
    }
}
