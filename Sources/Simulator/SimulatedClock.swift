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
