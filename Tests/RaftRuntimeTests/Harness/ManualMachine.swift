import Platform

/// A loop and workers that move only when the test says so; files are real.
final class ManualMachine: @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    let clock = ManualClock()
    let loop: ManualLoop
    let writing = ManualWorker()
    let preparing = ManualWorker()
    let reading = ManualWorker()

    init() { loop = ManualLoop(clock) }

    /// Runs everything until nothing is left to run.
    func settle() {
        repeat {
            loop.turn()
        } while writing.run() || preparing.run() || reading.run() || loop.isReady
    }
}

final class ManualClock: Clock, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    var now: Int64 = 0
    var monotonicNanoseconds: Int64 { now }
    var wallMilliseconds: Int64 { now / 1_000_000 }
}

final class ManualWorker: Worker, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private var ready: [@Sendable () -> Void] = []

    override func execute(_ body: @escaping @Sendable () -> Void) { ready.append(body) }

    /// Time does not matter here: the log's retries come at once.
    override func execute(after nanoseconds: Int64, _ body: @escaping @Sendable () -> Void) {
        ready.append(body)
    }

    override func stop() {}

    /// Runs what was given so far; false when there was nothing.
    func run() -> Bool {
        let now = ready
        ready = []
        for body in now { body() }
        return !now.isEmpty
    }
}

final class ManualLoop: EventLoop, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private var ready: [@Sendable () -> Void] = []
    private var timers: [LoopTimer] = []

    init(_ clock: ManualClock) { super.init(index: 0, clock: clock) }

    var isReady: Bool { !ready.isEmpty }

    override var isCurrent: Bool { true }

    override func execute(_ body: @escaping @Sendable () -> Void) { ready.append(body) }

    override func schedule(after nanoseconds: Int64, _ body: @escaping () -> Void) -> LoopTimer {
        let timer = LoopTimer(deadline: clock.monotonicNanoseconds + nanoseconds, body: body)
        timers.append(timer)
        return timer
    }

    /// Runs what is ready, and ends the turn.
    func turn() {
        while !ready.isEmpty {
            let now = ready
            ready = []
            for body in now { body() }
        }
        endTurn()
    }

    func fireTimers() {
        let now = timers
        timers = []
        for timer in now { timer.fire() }
    }
}
