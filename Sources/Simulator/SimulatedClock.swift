internal import Platform

/// Virtual time: the moment of the event that runs, plus what it has spent so far.
package final class SimulatedClock: Clock, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    /// Milliseconds since 1970 at which every simulation begins.
    private static let epoch: Int64 = 1_750_000_000_000

    /// Nanoseconds since the simulation began.
    package internal(set) var now: Int64 = 0

    init() {}

    package var monotonicNanoseconds: Int64 { now }
    package var wallMilliseconds: Int64 { Self.epoch + now / 1_000_000 }
}

/// The clock of one machine, whose time of day may be set, and which may run fast or slow.
final class MachineClock: Clock, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let time: SimulatedClock
    /// Milliseconds by which the time of day is ahead.
    var wallOffset: Int64 = 0
    private var speed: Int64 = 0
    /// From when it has run at this speed.
    private var since: Int64 = 0
    /// Nanoseconds it was ahead by then.
    private var gained: Int64 = 0

    init(_ time: SimulatedClock) { self.time = time }

    /// Millionths by which it runs fast; slow below 0.
    var drift: Int64 {
        get { speed }
        set {
            precondition(abs(newValue) < 1_000_000, "a clock that runs \(newValue) millionths fast")
            (gained, since, speed) = (gain, time.now, newValue)
        }
    }

    private var gain: Int64 {
        guard speed != 0 else { return gained }
        let (seconds, rest) = (time.now - since).quotientAndRemainder(dividingBy: .seconds(1))
        return gained + seconds * 1_000 * speed + rest * speed / 1_000_000
    }

    var monotonicNanoseconds: Int64 { time.now + gain }
    var wallMilliseconds: Int64 { time.wallMilliseconds + gain / 1_000_000 + wallOffset }

    /// How long it takes in truth until this clock has come so much further.
    func trueNanoseconds(_ nanoseconds: Int64) -> Int64 {
        guard speed != 0 else { return nanoseconds }
        return Int64(Int128(nanoseconds) * 1_000_000 / Int128(1_000_000 + speed)) + 1
    }
}
