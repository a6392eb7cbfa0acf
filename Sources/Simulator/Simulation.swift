internal import Glibc
package import Platform

/// A world of simulated machines in virtual time, whose whole history follows from its seed.
///
/// Event loops, workers, timers and the network are events on one queue; whoever runs the
/// simulation runs all of them, one after the other, on its own thread. What runs at once on a real
/// machine is ordered by drawn delays. An event takes no time by itself: what it does is charged by
/// ``spend(_:)`` and delays whatever it causes, while others go on meanwhile.
///
/// Files live beside the machines, because they outlive them.
package final class Simulation: @unchecked Sendable {
    // Unchecked: runs on one thread, which `checkThread` proves.
    package let seed: UInt64
    package let clock = SimulatedClock()
    /// For the world itself: delays and orders; tests fork their own.
    var generator: SeededGenerator
    package private(set) lazy var network = SimulatedNetwork(self)
    package private(set) var trace = Trace()
    /// Events that have run.
    package private(set) var steps = 0
    private var events = TimerQueue()
    private let thread = pthread_self()
    private var isRunning = false
    var running: RunningJob?

    package init(seed: UInt64) {
        self.seed = seed
        generator = SeededGenerator(seed: seed)
    }

    /// A generator for one part of a test, so that its draws do not shift the others'.
    package func makeGenerator() -> SeededGenerator { generator.fork() }

    /// Everything must happen on the thread of the simulation: a job that slipped onto another
    /// would make the order of events the scheduler's of the operating system.
    func checkThread() {
        precondition(
            pthread_equal(pthread_self(), thread) != 0,
            "simulated code ran outside the simulation's thread"
        )
    }

    /// Runs `body` as an event of its own once `nanoseconds` have passed.
    @discardableResult
    package func after(_ nanoseconds: Int64, _ body: @escaping () -> Void) -> LoopTimer {
        checkThread()
        precondition(nanoseconds >= 0, "an event \(nanoseconds) ns from now")
        let event = LoopTimer(deadline: clock.now + nanoseconds, body: body)
        events.insert(event)
        return event
    }

    /// The running event takes that much longer.
    package func spend(_ nanoseconds: Int64) { clock.now += nanoseconds }

    /// Runs events until `isDone` or `nanoseconds` of virtual time are over; true when it is done.
    package func run(for nanoseconds: Int64, until isDone: () -> Bool = { false }) -> Bool {
        checkThread()
        precondition(!isRunning, "a simulation run from inside itself")
        isRunning = true
        defer { isRunning = false }
        let end = clock.now + nanoseconds
        while !isDone() {
            guard let next = events.nextDeadline, next <= end, let event = events.popDue(at: next)
            else {
                clock.now = end
                return isDone()
            }
            clock.now = next
            steps += 1
            event.fire()
        }
        return true
    }

    /// Writes down that something happened, so that two runs can be compared.
    package func note(_ a: UInt64, _ b: Int = 0, _ c: Int = 0) {
        trace.fold(UInt64(bitPattern: clock.now))
        trace.fold(a)
        trace.fold(UInt64(bitPattern: Int64(b)))
        trace.fold(UInt64(bitPattern: Int64(c)))
    }

    // MARK: Delays

    /// How long a thread takes to notice work: mostly microseconds, sometimes a stall.
    func drawWakeDelay() -> Int64 {
        switch generator.below(100) {
        case 0: .microseconds(Int64(generator.below(20_000)))
        case 1..<10: .microseconds(Int64(generator.below(1_000)))
        default: 200 + Int64(generator.below(50_000))
        }
    }
}

/// A running hash of all that happened.
package struct Trace: Hashable, Sendable, CustomStringConvertible {
    private var state: UInt64 = 0xcbf2_9ce4_8422_2325

    package init() {}

    package mutating func fold(_ value: UInt64) {
        state = (state ^ value) &* 0x9E37_79B9_7F4A_7C15
        state ^= state >> 29
    }

    package var description: String { String(state, radix: 16) }
}
