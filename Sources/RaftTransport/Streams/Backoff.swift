internal import Platform

/// How long to wait before the next attempt: twice as long after each failure, and a random part
/// less, so that nodes that lost each other at once do not come back at once.
struct Backoff {
    let least: Int64
    let most: Int64
    private var failures = 0

    init(least: Int64, most: Int64) {
        precondition(least > 0 && most >= least, "a wait of \(least) to \(most) ns")
        self.least = least
        self.most = most
    }

    /// Between half of the full wait and all of it.
    mutating func next(_ generator: inout SeededGenerator) -> Int64 {
        // Beyond 2^40 times the least, any limit is reached.
        let full = min(most, least.multipliedReportingOverflow(by: 1 << Int64(min(failures, 30))).0)
        failures += 1
        let wait = full <= 0 ? most : full
        return wait - Int64(generator.below(Int(wait / 2) + 1))
    }

    mutating func reset() { failures = 0 }
}
