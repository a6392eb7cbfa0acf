import Platform
import Simulator
import Testing

extension Simulations {
    /// Processes killed in the middle of anything, on a machine that loses power soon after.
    ///
    /// What a killed process wrote is there for the next one to see, and not for certain durable.
    @Suite struct KillTests {
        @Test(arguments: 1...4)
        func `a kill at any change of a start and a power cut behind it lose nothing`(_ part: Int) {
            for change in 1...10 {
                let seed = UInt64(part * 100 + change)
                let world = World(seed: seed)
                world.wantTopics(2)
                world.disk.changesUntilKill = (part - 1) * 10 + change
                world.start()
                _ = world.run(for: .milliseconds(60), until: { world.isOver })
                world.end(.kill)
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                _ = world.run(for: .milliseconds(Int64(world.generator.below(40))))
                world.end(.powerCut)
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                #expect(world.audit(), "seed \(seed)")
                #expect(world.ledger.violations == [], "seed \(seed)")
            }
        }

        @Test(arguments: 1...4)
        func `a kill at any change of a serving broker and a power cut lose nothing`(_ part: Int) {
            for step in 1...6 {
                let seed = UInt64(1_000 + part * 100 + step)
                let world = World(seed: seed)
                world.wantTopics(2)
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                world.disk.changesUntilKill = (part - 1) * 40 + step * 7
                _ = world.run(for: .milliseconds(200), until: { world.isOver })
                world.end(.kill)
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                _ = world.run(for: .milliseconds(Int64(world.generator.below(40))))
                world.end(.powerCut)
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                #expect(world.audit(), "seed \(seed)")
                #expect(world.ledger.violations == [], "seed \(seed)")
            }
        }

        @Test(arguments: ["/data/wal", "/data/topics/t0-0", "/data/topics/__chronik_metadata-0"])
        func `a kill before a directory is synced and a power cut lose nothing`(_ path: String) {
            for seed in UInt64(1)...8 {
                let world = World(seed: seed)
                world.wantTopics(2)
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                var left = 1 + world.generator.below(6)
                world.disk.failure = { operation, synced in
                    guard operation == .syncDirectory, synced == path else { return nil }
                    left -= 1
                    if left == 0 { world.end(.kill) }
                    return nil
                }
                _ = world.run(for: .milliseconds(400), until: { world.isOver })
                world.end(.kill)
                world.disk.failure = nil
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                let nanoseconds = Int64.microseconds(Int64(world.generator.below(60_000)))
                _ = world.run(for: nanoseconds)
                world.end(.powerCut)
                world.start()
                #expect(world.runToReady(), "seed \(seed)")
                #expect(world.audit(), "seed \(seed)")
                #expect(world.ledger.violations == [], "seed \(seed)")
            }
        }
    }
}
