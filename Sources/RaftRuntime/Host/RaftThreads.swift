package import Platform

/// The event loops that hosts run on.
///
/// They live as long as the process, so a program makes them once and has all its hosts share them.
/// Groups are spread over the loops; each lives on one for good. Blocking work, writes of the log
/// among it, runs on threads that each ``RaftHost`` has for itself.
public final class RaftThreads: Sendable {
    package let platform: any HostPlatform

    /// Starts the threads.
    ///
    /// - Parameter eventLoops: How many, at least 1; more than there are processors gain nothing.
    public convenience init(eventLoops: Int = 1) {
        self.init(RealPlatform(loopCount: eventLoops))
    }

    package init(_ platform: any HostPlatform) { self.platform = platform }

    var loops: [EventLoop] { platform.loops }
}

extension EventLoop {
    /// Runs `body` on the loop, in its turn, and comes back with the result.
    package func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        await withUnsafeContinuation { continuation in
            execute { continuation.resume(returning: body()) }
        }
    }
}
