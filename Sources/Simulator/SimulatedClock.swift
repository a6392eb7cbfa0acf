package import Platform

/// Virtual time: stands still while code runs, and moves to the next event.
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
