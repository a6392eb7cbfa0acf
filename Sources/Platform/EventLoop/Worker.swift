/// A place where blocking calls are allowed: a thread that runs what it is given, in order.
///
/// The write-ahead log writer, segment writers and cold reads each have one, so that no blocking
/// call ever runs on an ``EventLoop``.
open class Worker: @unchecked Sendable {
    // Unchecked: `execute` and `execute(after:)` may be called from any thread; implementations
    // synchronise.
    public init() {}

    /// Runs `body` after everything given before it.
    open func execute(_ body: @escaping @Sendable () -> Void) {
        preconditionFailure("a worker without an implementation")
    }

    /// Runs `body` once `nanoseconds` have passed, before what arrives later.
    open func execute(after nanoseconds: Int64, _ body: @escaping @Sendable () -> Void) {
        preconditionFailure("a worker without an implementation")
    }

    /// Finishes what was given and ends the thread; nothing may be given afterwards.
    open func stop() {
        preconditionFailure("a worker without an implementation")
    }

    /// Runs `body` here and comes back with its result.
    public final func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        await withUnsafeContinuation { continuation in
            execute { continuation.resume(returning: body()) }
        }
    }
}
