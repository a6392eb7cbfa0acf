import RaftSimulation
import Testing

/// One seed is one run: whatever the process, its hash seed, and what it played before.
@Suite struct DeterminismTests {
    @Test func `a seed is the same run in every process, alone or among others`() async throws {
        let together = try await ChronikSim.said(by: ["groups", "--tally", "--seeds", "1-30"])
        #expect(together.count == 30)
        let alike = try await ChronikSim.said(
            by: ["groups", "--tally", "--seeds", "1-30"],
            hashesAlike: true
        )
        #expect(together == alike)
        for seed in [30, 7, 1] {
            let alone = try await ChronikSim.said(by: ["groups", "--tally", "--seeds", "\(seed)"])
            #expect(alone == [together[seed - 1]])
        }
        // In this process, backwards.
        let here = (1...30).reversed().map { seed in
            let outcome = Simulation(SimulationPlan(seed: UInt64(seed))).run()
            return "\(seed) \(String(outcome.trace, radix: 16)) ok"
        }
        #expect(together.map(String.init) == here.reversed())
    }

    @Test func `a run is told in the same words in every process`() async throws {
        let arguments = ["groups", "--seed", "9", "--events", "300", "--tell"]
        let words = try await ChronikSim.said(by: arguments)
        #expect(words.count > 100)
        #expect(try await ChronikSim.said(by: arguments, hashesAlike: true) == words)
    }
}
