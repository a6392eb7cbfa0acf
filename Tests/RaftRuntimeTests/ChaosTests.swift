import Foundation
import Testing

@testable import RaftRuntime

/// Seeded faults of every kind; what clients saw must be what one register would have shown.
@Suite(.timeLimit(.minutes(30))) struct ChaosTests {
    /// More of them on demand, as in `CHRONIK_SEEDS=5000`.
    private static let seeds =
        Int(ProcessInfo.processInfo.environment["CHRONIK_SEEDS"] ?? "") ?? 200

    @Test(arguments: 0..<10)
    func `a register is linearizable whatever fails`(_ tenth: Int) throws {
        var (acknowledged, reads, crashes) = (0, 0, 0)
        for seed in tenth * Self.seeds / 10..<(tenth + 1) * Self.seeds / 10 {
            let chaos = try Chaos(seed: UInt64(seed + 1))
            let problems = try chaos.run(steps: 80)
            #expect(problems.isEmpty, "seed \(seed + 1): \(problems.prefix(5))")
            acknowledged += chaos.acknowledged
            reads += chaos.reads
            crashes += chaos.crashes
        }
        #expect(acknowledged > 200 && reads > 50 && crashes > 5)
    }
}
