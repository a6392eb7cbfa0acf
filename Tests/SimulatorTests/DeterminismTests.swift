import Platform
import Simulator
import Testing

extension Simulations {
    /// Everything a failure needs to be found again follows from its seed.
    @Suite struct DeterminismTests {
        private struct History: Equatable {
            let trace: Trace
            let steps: Int
            let acknowledged: Int
        }

        @Test(arguments: 1...4)
        func `two runs of one seed are the same to the last event`(_ seed: UInt64) {
            let first = Self.run(seed)
            #expect(first.acknowledged > 0)
            #expect(Self.run(seed) == first)
        }

        @Test func `another seed is another run`() {
            #expect(Self.run(1).trace != Self.run(2).trace)
        }

        private static func run(_ seed: UInt64) -> History {
            let world = World(seed: seed)
            var lives = PowerCuts(world)
            lives.run(cuts: 2)
            #expect(world.ledger.violations == [])
            return History(
                trace: world.simulation.trace,
                steps: world.simulation.steps,
                acknowledged: world.ledger.acknowledged
            )
        }
    }
}
