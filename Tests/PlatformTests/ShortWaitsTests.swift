import Testing

@testable import Platform

@Suite struct ShortWaitsTests {
    private static let limit = ShortWaits.nanoseconds

    /// Waits from `start` for `length`; how long the loop looked on before it slept.
    private static func wait(
        _ waits: inout ShortWaits,
        from start: Int64,
        for length: Int64
    ) -> Int64 {
        var now = start
        while now < start + length && waits.looksAgain(at: now) { now += 1_000 }
        waits.ended(at: start + length)
        return now - start
    }

    @Test func `a loop sleeps until a wait was short`() {
        var waits = ShortWaits()
        #expect(Self.wait(&waits, from: 0, for: 20_000) == 0)
        #expect(Self.wait(&waits, from: 100_000, for: 20_000) == 20_000)
        #expect(Self.wait(&waits, from: 200_000, for: 40_000) == 40_000)
    }

    @Test func `a wait that grows long is slept through, and so is the next`() {
        var waits = ShortWaits()
        _ = Self.wait(&waits, from: 0, for: 20_000)
        #expect(Self.wait(&waits, from: 100_000, for: 900_000) == Self.limit)
        #expect(Self.wait(&waits, from: 1_000_000, for: 20_000) == 0)
        #expect(Self.wait(&waits, from: 1_100_000, for: 20_000) == 20_000)
    }

    @Test func `what wakes a loop without giving it work does not end the wait`() {
        var waits = ShortWaits()
        _ = Self.wait(&waits, from: 0, for: 20_000)
        let looks = [100_000, 100_000 + Self.limit, 100_005 + Self.limit].map {
            (now: Int64) in waits.looksAgain(at: now)
        }
        #expect(looks == [true, false, false] && waits.isWaiting)
        waits.ended(at: 100_006 + Self.limit)
        #expect(!waits.isWaiting)
        let next = waits.looksAgain(at: 300_000)
        #expect(!next)
    }
}
