import Platform
import Simulator
import Testing

extension Simulations {
    /// Machines whose clocks run fast or slow.
    @Suite struct MachineClockTests {
        private final class Heard: @unchecked Sendable {
            // Unchecked: the simulation runs on one thread.
            var times: [Int64] = []
        }

        @Test(arguments: [-100_000, -1, 0, 1, 100_000] as [Int64])
        func `a timer goes off when the clock of its machine says so`(drift: Int64) {
            let simulation = Simulation(seed: 1)
            let platform = SimulatedPlatform(simulation, host: "one")
            platform.clockDrift = drift
            let heard = Heard()
            let loop = platform.loops[0]
            loop.execute {
                _ = loop.schedule(after: .seconds(100)) { heard.times.append(simulation.clock.now) }
            }
            #expect(simulation.run(for: .seconds(200)) { !heard.times.isEmpty })
            let due = Int64.seconds(100) * 1_000_000 / (1_000_000 + drift)
            #expect((due..<due + .milliseconds(50)).contains(heard.times[0]))
            let shown = simulation.clock.now + simulation.clock.now * drift / 1_000_000
            #expect(abs(platform.clock.monotonicNanoseconds - shown) <= 1)
            #expect(
                abs(
                    platform.clock.wallMilliseconds - simulation.clock.wallMilliseconds
                        - simulation.clock.now / 1_000_000 * drift / 1_000_000
                ) <= 2
            )
        }

        @Test(arguments: 1...20)
        func `a clock that changes its speed never goes back, and no timer goes off early`(
            seed: UInt64
        ) {
            let simulation = Simulation(seed: seed)
            var generator = simulation.makeGenerator()
            let platform = SimulatedPlatform(simulation, host: "one")
            let clock = platform.clock
            let loop = platform.loops[0]
            let worker = platform.makeWorker(name: "one")
            let early = Heard()
            let fired = Heard()
            var before: Int64 = 0
            for _ in 0..<200 {
                platform.clockDrift = Int64(generator.below(200_000)) - 100_000
                let delay = Int64(generator.below(300_000_000))
                loop.execute {
                    let due = clock.monotonicNanoseconds + delay
                    _ = loop.schedule(after: delay) {
                        fired.times.append(due)
                        if clock.monotonicNanoseconds < due { early.times.append(due) }
                    }
                }
                worker.execute(after: delay) { fired.times.append(0) }
                _ = simulation.run(for: Int64(generator.below(100_000_000)))
                #expect(clock.monotonicNanoseconds >= before)
                before = clock.monotonicNanoseconds
            }
            #expect(simulation.run(for: .seconds(2)) { fired.times.count == 400 })
            #expect(early.times == [])
        }
    }
}
