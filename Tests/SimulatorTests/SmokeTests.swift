import Platform
import Simulator
import Testing

@Suite(.serialized) struct SmokeTests {
    @Test(arguments: 0..<20) func `one seed is one run`(_ seed: Int) {
        var runs: [(Trace, Int, Int)] = []
        for _ in 0..<2 {
            let world = World(seed: UInt64(seed))
            world.wantTopics(3)
            world.start()
            #expect(world.runToReady())
            _ = world.simulation.run(for: .milliseconds(200))
            world.end(.powerCut)
            world.start()
            #expect(world.runToReady())
            #expect(world.audit())
            world.settle()
            #expect(world.audit())
            #expect(world.ledger.violations == [])
            runs.append((world.simulation.trace, world.simulation.steps, world.ledger.acknowledged))
        }
        print(runs)
        #expect(runs.allSatisfy { $0 == runs[0] })
    }
}
