import Foundation
import Testing

@testable import RaftRuntime

/// Seeded faults of every kind; what clients saw must be what one register would have shown.
@Suite(.timeLimit(.minutes(30))) struct ChaosTests {
    /// Others and more of them on demand, as in `CHRONIK_FIRST_SEED=1000 CHRONIK_SEEDS=5000`.
    private static let seeds = number("CHRONIK_SEEDS") ?? 200
    private static let firstSeed = number("CHRONIK_FIRST_SEED") ?? 1

    private static func number(_ name: String) -> Int? {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
    }

    @Test(arguments: 0..<10)
    func `a register is linearizable whatever fails`(_ tenth: Int) throws {
        var (acknowledged, reads, crashes) = (0, 0, 0)
        for seed in tenth * Self.seeds / 10..<(tenth + 1) * Self.seeds / 10 {
            let chaos = try Chaos(seed: UInt64(seed + Self.firstSeed))
            let problems = try chaos.run(steps: 80)
            #expect(problems.isEmpty, "seed \(seed + Self.firstSeed): \(problems.prefix(5))")
            acknowledged += chaos.acknowledged
            reads += chaos.reads
            crashes += chaos.crashes
        }
        #expect(Self.seeds < 200 || acknowledged > 200 && reads > 50 && crashes > 5)
    }
}
