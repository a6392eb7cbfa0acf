import ClusterSimulation
import Testing

/// Simulated clusters in processes of their own, as `chronik-sim cluster` plays them.
@Suite struct ClusterProcessTests {
    @Test func `a seed is the same run in every process`() async throws {
        let arguments = ["cluster", "--seeds", "1-4", "--seconds", "2", "--tally"]
        let lines = try await ChronikSim.said(by: arguments).prefix(4)
        let alike = try await ChronikSim.said(by: arguments, hashesAlike: true).prefix(4)
        #expect(lines == alike)
        let together = try await ChronikSim.said(by: arguments + ["--processes", "3"]).prefix(4)
        #expect(lines == together)
        // In this process, backwards.
        let here = (1...4 as ClosedRange<UInt64>).reversed().map { seed in
            "\(seed) \(ClusterRun.play(ClusterPlan(seed: seed, seconds: 2)).trace)"
        }
        let traces = lines.map {
            $0.split(separator: " ").prefix(2).joined(separator: " ")
        }
        #expect(traces == here.reversed())
    }
}
