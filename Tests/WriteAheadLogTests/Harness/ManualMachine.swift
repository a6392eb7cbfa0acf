import Platform

/// A clock, workers and a loop that move only when the test says so.
final class ManualMachine: @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    let clock = ManualClock()
    let writing: ManualWorker
    let preparing: ManualWorker
    let loop: ManualLoop

    init() {
        writing = ManualWorker(clock)
        preparing = ManualWorker(clock)
        loop = ManualLoop(clock)
    }

    /// Runs what is ready, one job at a time, until nothing is; time stands still.
    func drain() {
        while writing.step() || preparing.step() || loop.step() {}
    }

    /// Runs until nothing is left, timers included.
    func settle() {
        repeat { drain() } while advance()
    }

    /// Runs one ready job of a worker drawn at random, or lets time pass; false when all is done.
    func step(_ generator: inout SeededGenerator) -> Bool {
        let order = generator.below(3)
        for turn in 0..<3 {
            switch (order + turn) % 3 {
            case 0: if writing.step() { return true }
            case 1: if preparing.step() { return true }
            default: if loop.step() { return true }
            }
        }
        return advance()
    }

    /// Lets time pass until the next timer.
    private func advance() -> Bool {
        let deadlines = [writing.nextDeadline, preparing.nextDeadline, loop.nextDeadline]
        guard let next = deadlines.compactMap({ $0 }).min() else { return false }
        clock.now = max(clock.now, next)
        return true
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
    private let clock: ManualClock
    private var ready: [@Sendable () -> Void] = []
    private var delayed: [(deadline: Int64, body: @Sendable () -> Void)] = []

    init(_ clock: ManualClock) { self.clock = clock }

    var nextDeadline: Int64? { delayed.map(\.deadline).min() }

    override func execute(_ body: @escaping @Sendable () -> Void) { ready.append(body) }

    override func execute(after nanoseconds: Int64, _ body: @escaping @Sendable () -> Void) {
        delayed.append((clock.now + nanoseconds, body))
    }

    override func stop() {}

    /// Runs one job that is ready or due.
    func step() -> Bool {
        if let due = delayed.indices.filter({ delayed[$0].deadline <= clock.now })
            .min(by: { delayed[$0].deadline < delayed[$1].deadline })
        {
            delayed.remove(at: due).body()
            return true
        }
        guard !ready.isEmpty else { return false }
        ready.removeFirst()()
        return true
    }
}

final class ManualLoop: EventLoop, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private var ready: [@Sendable () -> Void] = []
    private var timers: [LoopTimer] = []
    private(set) var wakes = 0

    init(_ clock: ManualClock) { super.init(index: 0, clock: clock) }

    var nextDeadline: Int64? { timers.map(\.deadline).min() }

    override var isCurrent: Bool { true }

    override func execute(_ body: @escaping @Sendable () -> Void) {
        ready.append(body)
        wakes += 1
    }

    override func schedule(after nanoseconds: Int64, _ body: @escaping () -> Void) -> LoopTimer {
        let timer = LoopTimer(deadline: clock.monotonicNanoseconds + nanoseconds, body: body)
        timers.append(timer)
        return timer
    }

    /// Runs one thing that is ready or due.
    func step() -> Bool {
        let now = clock.monotonicNanoseconds
        if let due = timers.firstIndex(where: { $0.deadline <= now }) {
            timers.remove(at: due).fire()
            return true
        }
        guard !ready.isEmpty else { return false }
        ready.removeFirst()()
        return true
    }
}
