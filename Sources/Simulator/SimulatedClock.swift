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

/// The clock of one machine, whose time of day may be set.
final class MachineClock: Clock, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let time: SimulatedClock
    /// Milliseconds by which the time of day is ahead.
    var wallOffset: Int64 = 0

    init(_ time: SimulatedClock) { self.time = time }

    var monotonicNanoseconds: Int64 { time.now }
    var wallMilliseconds: Int64 { time.wallMilliseconds + wallOffset }
}
