import Foundation
import Platform
import Testing

@testable import WriteAheadLog

/// Random work on a log whose machine loses power at a given operation, again and again.
///
/// After each restart the log holds what was handed over, in order and without holes, from no later
/// than what was last released to no earlier than what was last acknowledged.
@Suite struct PowerCutTests {
    /// `CHRONIK_POWER_CUT_SEEDS` sets how many.
    private static let seeds =
        ProcessInfo.processInfo.environment["CHRONIK_POWER_CUT_SEEDS"].flatMap(Int.init) ?? 10

    @Test(arguments: 0..<seeds)
    func `a power cut at any operation loses nothing acknowledged`(_ seed: Int) throws {
        // One power cut at each of the first operations of a life, and then wherever.
        for cut in 1...90 {
            try Self.runLives(seed: UInt64(seed) << 16 | UInt64(cut), firstCut: cut)
        }
    }

    private static func runLives(seed: UInt64, firstCut: Int) throws {
        var generator = SeededGenerator(seed: seed)
        let harness = LogHarness(seed: generator.next())
        // Half of the logs are written by the loop that submits.
        harness.configuration.inlineSyncNanoseconds = firstCut % 2 == 0 ? 0 : .max
        var released = 0
        for life in 0..<3 {
            harness.files.cutAt = life == 0 ? firstCut : 1 + generator.below(120)
            let kept = harness.submitted
            let durable = harness.acknowledged
            if !restart(harness, &generator) { continue }
            try check(harness.found, kept, durable, released, seed)
            released = 0
            work(harness, &generator, &released)
            harness.files.restart(&generator)
        }
        let kept = harness.submitted
        let durable = harness.acknowledged
        try harness.open()
        try check(harness.found, kept, durable, released, seed)
    }

    /// Opens the log; false when the power failed while it did.
    private static func restart(
        _ harness: LogHarness,
        _ generator: inout SeededGenerator
    ) -> Bool {
        do throws(WALError) {
            try harness.open()
            return true
        } catch {
            #expect(harness.files.isDown, "refused: \(error)")
            harness.files.restart(&generator)
            return false
        }
    }

    private static func check(
        _ found: [Int],
        _ kept: [Int],
        _ durable: Int,
        _ released: Int,
        _ seed: UInt64
    ) throws {
        guard let first = found.first else {
            #expect(durable == 0, "seed \(seed): all of \(durable) lost")
            return
        }
        let start = try #require(kept.firstIndex(of: first), "seed \(seed)")
        #expect(start <= released, "seed \(seed): begins at \(start), released \(released)")
        #expect(Array(kept[start...].prefix(found.count)) == found, "seed \(seed)")
        #expect(start + found.count >= durable, "seed \(seed): durable \(durable)")
    }

    private static func work(
        _ harness: LogHarness,
        _ generator: inout SeededGenerator,
        _ released: inout Int
    ) {
        for _ in 0..<60 where !harness.files.isDown {
            for _ in 0..<generator.below(4) { harness.submit(1 + generator.below(6)) }
            for _ in 0..<generator.below(12) where !harness.files.isDown {
                _ = harness.machine.step(&generator)
            }
            if generator.chance(1, in: 8), harness.acknowledged > 0 {
                let index = generator.below(harness.acknowledged)
                if let place = harness.positions[harness.submitted[index]] {
                    // Everything in the files below may be gone, nothing else.
                    released = max(released, index)
                    harness.log?.release(before: place.file)
                }
            }
        }
        if generator.chance(1, in: 4), !harness.files.isDown {
            harness.log?.close { _ in }
            for _ in 0..<200 where !harness.files.isDown {
                if !harness.machine.step(&generator) { break }
            }
        }
    }
}
