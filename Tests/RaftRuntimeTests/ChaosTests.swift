import Testing

@testable import RaftRuntime

/// Seeded faults of every kind; what clients saw must be what one register would have shown.
@Suite(.timeLimit(.minutes(5))) struct ChaosTests {
    @Test(arguments: 0..<10)
    func `a register is linearizable whatever fails`(_ decade: Int) throws {
        var (acknowledged, reads, crashes) = (0, 0, 0)
        for seed in decade * 30..<(decade + 1) * 30 {
            let chaos = try Chaos(seed: UInt64(seed + 1))
            let problems = try chaos.run(steps: 120)
            #expect(problems.isEmpty, "seed \(seed + 1): \(problems.prefix(5))")
            acknowledged += chaos.acknowledged
            reads += chaos.reads
            crashes += chaos.crashes
        }
        #expect(acknowledged > 300 && reads > 100 && crashes > 20)
    }
}
