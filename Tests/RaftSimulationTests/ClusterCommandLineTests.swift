import ClusterSimulation
import Testing

@testable import chronik_sim

/// The command line of `chronik-sim cluster` and `chronik-sim check`.
@Suite struct ClusterCommandLineTests {
    private static func parse(_ line: String) throws(SimError) -> SimCommandLine.Command {
        try SimCommandLine.parse(line.split(separator: " ").map(String.init))
    }

    @Test func `a plan is parsed`() throws {
        let command = try Self.parse(
            "cluster --seed 7 --nodes=5 --minutes 2 --faults kills,clogs --tell"
        )
        guard case .cluster(let settings) = command else {
            Issue.record("\(command)")
            return
        }
        #expect(
            settings.plan
                == ClusterPlan(seed: 7, nodes: 5, seconds: 120, faults: [.kills, .clogs])
        )
        #expect(settings.isTold)
    }

    @Test func `what plays a run again is parsed to the same plan`() throws {
        let plan = ClusterPlan(seed: 3, nodes: 4, seconds: 5, faults: [], plant: .lyingSync)
        let line = String(plan.command.dropFirst("chronik-sim ".count))
        guard case .cluster(let settings) = try Self.parse(line) else { return }
        #expect(settings.plan == plan)
    }

    @Test func `a history is named`() throws {
        #expect(try Self.parse("check history.jsonl") == .check(path: "history.jsonl"))
    }

    @Test(arguments: [
        "cluster", "cluster --seed", "cluster --seed x", "cluster --seed 1 --nodes 8",
        "cluster --seed 1 --minutes 0", "cluster --seed 1 --faults rain",
        "cluster --seed 1 --plant tree", "cluster --seeds 1-5 --tell",
        "cluster --seeds 1-5 --history x", "cluster --seed 1 --speed 3", "check", "check -x",
        "check a b",
    ])
    func `what is wrong is said`(line: String) {
        #expect(throws: SimError.self) { try Self.parse(line) }
    }
}
