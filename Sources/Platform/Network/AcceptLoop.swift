extension Listener {
    /// Hands every connection to `take`, until the listener is closed.
    ///
    /// One that cannot be accepted, as when the process may open no more files, is logged, and tried
    /// again a moment later.
    package func acceptAll(
        on loop: EventLoop,
        log: Logger,
        _ limiter: LogLimiter,
        _ take: (AcceptedConnection) -> Void
    ) async {
        while true {
            do throws(NetworkError) {
                take(try await accept())
            } catch .closed {
                return
            } catch {
                limiter.limited { suppressed in
                    log.warning(
                        "a connection could not be accepted; raise the limit on open files",
                        ["error": "\(error)", "suppressed": "\(suppressed)"]
                    )
                }
                await loop.sleep(nanoseconds: .milliseconds(100))
            }
        }
    }
}
