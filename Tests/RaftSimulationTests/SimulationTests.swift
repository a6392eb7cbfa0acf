import Testing

@testable import RaftSimulation

/// Whole groups under faults: a few of the runs that `chronik-sim groups` plays by the thousand.
@Suite struct SimulationTests {
    private func violations(_ plan: SimulationPlan) -> [String] {
        let outcome = Simulation(plan).run()
        return outcome.violations.map { "\($0); \(plan.command)" }
    }

    @Test(arguments: 1...20)
    func `a fixed seed breaks no invariant`(seed: UInt64) {
        #expect(violations(SimulationPlan(seed: seed, events: 1_500)) == [])
    }

    @Test func `fresh seeds break no invariant`() {
        var generator = SystemRandomNumberGenerator()
        let first = UInt64.random(in: 1 << 32..<1 << 48, using: &generator)
        for seed in first..<(first + 40) {
            #expect(violations(SimulationPlan(seed: seed)) == [])
        }
    }

    @Test(arguments: 1...7)
    func `groups of any size stand all faults at once`(replicas: Int) {
        for seed in UInt64(1)...3 {
            let plan = SimulationPlan(seed: seed, replicas: replicas, faults: .all)
            #expect(violations(plan) == [])
        }
    }

    @Test(arguments: Faults.names.map(\.name))
    func `each kind of fault alone is stood`(name: String) throws {
        let faults = try #require(Faults(name))
        for seed in UInt64(1)...2 {
            #expect(violations(SimulationPlan(seed: seed, faults: faults)) == [])
        }
    }

    @Test func `a group without faults works and is whole at once`() {
        let plan = SimulationPlan(seed: 5, replicas: 3, events: 3_000, faults: Faults.none)
        let outcome = Simulation(plan).run()
        #expect(outcome.violations == [])
        #expect(outcome.crashes == 0)
        #expect(outcome.elections >= 1)
        #expect(outcome.acknowledged > 50)
        #expect(outcome.reads > 10)
        #expect(outcome.wasHealed)
        #expect(outcome.timeoutsToHeal <= 5)
    }

    @Test func `one seed is one run, bit by bit`() {
        for seed in UInt64(1)...5 {
            let plan = SimulationPlan(seed: seed, faults: .all)
            let outcome = Simulation(plan).run()
            #expect(outcome == Simulation(plan).run())
            var told = 0
            #expect(outcome == Simulation(plan) { _ in told += 1 }.run(), "listening changes it")
            #expect(told > 100)
        }
        let traces = (UInt64(1)...50).map { Simulation(SimulationPlan(seed: $0)).run().trace }
        #expect(Set(traces).count == 50)
    }

    @Test func `runs meet everything they are meant to meet`() {
        var total = SimulationOutcome()
        var healed = 0
        for seed in UInt64(100)...160 {
            let outcome = Simulation(SimulationPlan(seed: seed, faults: .all)).run()
            total.commits += outcome.commits
            total.elections += outcome.elections
            total.crashes += outcome.crashes
            total.snapshots += outcome.snapshots
            total.membershipChanges += outcome.membershipChanges
            total.repairs += outcome.repairs
            total.reads += outcome.reads
            if outcome.wasHealed { healed += 1 }
        }
        #expect(total.commits > 1_000)
        #expect(total.elections > 60)
        #expect(total.crashes > 100)
        #expect(total.snapshots > 5)
        #expect(total.membershipChanges > 10)
        #expect(total.reads > 100)
        #expect(healed > 50)
    }

    /// Seeds that broke an invariant once; each story is told again among the tests of Raft.
    @Test(arguments: [
        50, 51, 63, 74, 190, 211, 781, 1_257, 2_003, 4_559, 9_345, 12_114, 19_093, 21_974, 27_853,
        1_012_706, 6_004_791, 10_224_716, 10_722_847, 10_840_077,
        30_103_767,
    ])
    func `a seed that broke an invariant once does not again`(seed: UInt64) {
        #expect(violations(SimulationPlan(seed: seed)) == [])
    }

    @Test(arguments: PlantedBug.allCases.filter { !$0.isWithinCore && $0 != .snapshotKeepsTail })
    func `a planted bug is found`(bug: PlantedBug) {
        let found = (UInt64(1)...60).contains { seed in
            !Simulation(SimulationPlan(seed: seed, plant: bug)).run().violations.isEmpty
        }
        #expect(found)
    }

    @Test func `a failure names the command that plays it again`() {
        var plan = SimulationPlan(seed: 7, plant: .acknowledgementBeforeSync)
        #expect(
            plan.command
                == "chronik-sim groups --seed 7 --events 1000 --plant acknowledgement-before-sync"
        )
        plan.plant = nil
        plan.replicas = 5
        plan.faults = [.loss, .crashes]
        #expect(
            plan.command
                == "chronik-sim groups --seed 7 --replicas 5 --events 1000 --faults loss,crashes"
        )
        #expect(Faults(Faults.all.text) == .all)
        #expect(Faults("loss,rain") == nil)
    }
}
