import Foundation
import Platform
import Simulator
import Testing

extension Simulations {
    /// The whole broker loses its power at random points, and nothing it promised.
    ///
    /// `CHRONIK_POWER_CUTS` sets how often; `CHRONIK_SEED` runs the one world of that seed.
    @Suite struct PowerCutTests {
        private static let cutsPerWorld = 5
        private static let environment = ProcessInfo.processInfo.environment

        private static var seeds: [UInt64] {
            if let seed = environment["CHRONIK_SEED"].flatMap({ UInt64($0) }) { return [seed] }
            let cuts = environment["CHRONIK_POWER_CUTS"].flatMap { Int($0) } ?? 200
            let worlds = max(1, cuts / cutsPerWorld)
            // Half of them are the same each time, half have never been.
            var fresh = SystemRandomNumberGenerator()
            let known = (1...UInt64((worlds + 1) / 2)).map { $0 }
            let unknown = (0..<worlds / 2).map { (_: Int) -> UInt64 in fresh.next() >> 32 }
            return known + unknown
        }

        @Test func `a power cut loses nothing that was acknowledged`() {
            var (cuts, audits, acknowledged) = (0, 0, 0)
            for seed in Self.seeds {
                let world = World(seed: seed)
                CrashNote.set(Self.replay(seed))
                var lives = PowerCuts(world)
                lives.run(cuts: Self.cutsPerWorld)
                cuts += lives.cuts
                audits += world.ledger.audits
                acknowledged += world.ledger.acknowledged
                for violation in world.ledger.violations { Self.report(violation, seed) }
            }
            print("\(cuts) power cuts, \(audits) audits, \(acknowledged) records acknowledged")
        }

        /// A seed that once found something.
        @Test(arguments: [UInt64(35), 2_696_771_071])
        func `nothing that was found comes back`(_ seed: UInt64) {
            let world = World(seed: seed)
            var lives = PowerCuts(world)
            lives.run(cuts: Self.cutsPerWorld)
            for violation in world.ledger.violations { Self.report(violation, seed) }
        }

        private static func replay(_ seed: UInt64) -> String {
            "replay: CHRONIK_SEED=\(seed) swift test --filter Simulations/PowerCutTests"
        }

        private static func report(_ violation: String, _ seed: UInt64) {
            Issue.record(
                """
                \(violation)
                \(replay(seed))
                """
            )
        }
    }
}
