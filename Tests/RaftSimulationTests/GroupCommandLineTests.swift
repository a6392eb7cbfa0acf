import RaftSimulation
import Testing

@testable import chronik_sim

/// The command line of `chronik-sim groups` and `chronik-sim planted`.
@Suite struct GroupCommandLineTests {
    private func parse(_ line: String) throws(SimError) -> SimCommandLine.Command {
        try SimCommandLine.parse(line.split(separator: " ").map(String.init))
    }

    @Test func `options may stand with or without an equals sign`() throws {
        var settings = GroupSettings()
        settings.seeds = 7...7
        settings.replicas = 3
        settings.events = 500
        settings.faults = [.loss, .tornWrites]
        let line = "groups --seed 7 --replicas=3 --events 500 --faults=loss,torn-writes"
        #expect(try parse(line) == .groups(settings))
        settings.seeds = 1...9
        #expect(try parse(line.replacing("--seed 7", with: "--seeds 1-9")) == .groups(settings))
    }

    @Test func `the command of a plan means that plan`() throws {
        let plan = SimulationPlan(seed: 12, replicas: 4, events: 90, faults: .all)
        let words = plan.command.split(separator: " ").dropFirst().map(String.init)
        guard case .groups(let settings) = try SimCommandLine.parse(words) else {
            Issue.record("\(words)")
            return
        }
        #expect(settings.plan(seed: 12) == plan)
    }

    @Test(arguments: [
        "groups", "groups --seed", "groups --seed x", "groups --seed 9-1",
        "groups --seed 1-2-3",
        "groups --seed 1 --replicas 8", "groups --seed 1 --replicas 0",
        "groups --seed 1 --speed 3",
        "groups --seed 1 --events 0", "groups --seed 1 --faults rain",
        "groups --seed 1 --plant tree",
        "groups --seeds 1-5 --tell", "planted --tell", "groups --seed -1",
    ])
    func `a wrong option is refused with what is right`(line: String) {
        do throws(SimError) {
            _ = try parse(line)
            Issue.record("accepted: \(line)")
        } catch {
            #expect(error.exitCode == 64)
        }
    }

    @Test func `help names every option`() throws {
        guard case .help(let text) = try parse("groups --help") else {
            Issue.record("no help")
            return
        }
        let options = [
            "--seed", "--seeds", "--replicas", "--events", "--faults", "--plant", "--tell",
        ]
        #expect(options.allSatisfy { text.contains($0) })
        #expect(Faults.names.allSatisfy { text.contains($0.name) })
        #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 })
    }
}
