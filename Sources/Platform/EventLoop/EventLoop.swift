/// A thread of execution that actors and tasks are pinned to.
///
/// Works in turns: run what is ready until nothing is, call the end-of-turn hooks (which gather
/// what the turn produced, and may make more work), then wait for the network, a timer or another
/// thread. ``RealPlatform`` runs each on a thread of its own over libuv; the simulator runs all of
/// them on one seeded scheduler.
open class EventLoop: SerialExecutor, TaskExecutor, @unchecked Sendable {
    // Unchecked: everything but `execute` and `enqueue` is confined to the loop's own thread.
    public let index: Int
    public let clock: any Clock
    private var endOfTurnHooks: [() -> Void] = []

    public init(index: Int, clock: any Clock) {
        self.index = index
        self.clock = clock
    }

    // MARK: What an implementation provides

    /// Whether the caller runs on this loop.
    open var isCurrent: Bool { preconditionFailure("an event loop without an implementation") }

    /// Runs `body` on this loop, after everything already handed to it; callable from any thread.
    open func execute(_ body: @escaping @Sendable () -> Void) {
        preconditionFailure("an event loop without an implementation")
    }

    open func enqueue(_ job: consuming ExecutorJob) {
        preconditionFailure("an event loop without an implementation")
    }

    /// Runs `body` on this loop once `nanoseconds` have passed; only from the loop itself.
    open func schedule(after nanoseconds: Int64, _ body: @escaping () -> Void) -> LoopTimer {
        preconditionFailure("an event loop without an implementation")
    }

    /// Starts listening on this loop.
    open func listen(_ address: SocketAddress) throws(NetworkError) -> Listener {
        preconditionFailure("an event loop without an implementation")
    }

    /// Takes over a connection that a listener of any loop accepted.
    open func adopt(_ connection: AcceptedConnection) throws(NetworkError) -> Socket {
        preconditionFailure("an event loop without an implementation")
    }

    open func connect(_ address: SocketAddress) async throws(NetworkError) -> Socket {
        preconditionFailure("an event loop without an implementation")
    }

    // MARK: What follows from it

    /// Adds a hook that runs at the end of every turn in which anything ran, in order of addition.
    public final func atEndOfTurn(_ hook: @escaping () -> Void) {
        precondition(isCurrent, "a hook added from outside the loop")
        endOfTurnHooks.append(hook)
    }

    /// For implementations: call after the ready work of a turn.
    public final func endTurn() {
        for hook in endOfTurnHooks { hook() }
    }

    public final func sleep(nanoseconds: Int64) async {
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            execute { [self] in _ = schedule(after: nanoseconds) { continuation.resume() } }
        }
    }

    public final func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    public final func asUnownedTaskExecutor() -> UnownedTaskExecutor {
        UnownedTaskExecutor(ordinary: self)
    }

    public final func checkIsolated() { precondition(isCurrent, "isolation to another loop") }

    public final func isIsolatingCurrentContext() -> Bool? { isCurrent }
}

/// A scheduled piece of work; cancelling one that has run does nothing.
public final class LoopTimer: @unchecked Sendable {
    // Unchecked: confined to the loop that made it.
    public let deadline: Int64
    public internal(set) var body: (() -> Void)?

    public init(deadline: Int64, body: @escaping () -> Void) {
        self.deadline = deadline
        self.body = body
    }

    public func cancel() { body = nil }

    /// For implementations: runs the body unless cancelled, once.
    public func fire() {
        guard let body else { return }
        self.body = nil
        body()
    }
}
