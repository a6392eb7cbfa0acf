import KafkaProtocol
import Platform
import Simulator
import Testing

extension Simulations {
    /// Disks that are full or fail, under a whole broker.
    @Suite struct DiskFaultTests {
        /// A broker that serves two topics and has taken in something.
        private static func serving(_ seed: UInt64) -> World {
            let world = World(seed: seed)
            world.wantTopics(2)
            world.start()
            #expect(world.runToReady())
            #expect(
                world.run(for: .seconds(10)) {
                    world.ledger.acknowledged > 200 && world.ledger.topics.count == 2
                }
            )
            return world
        }

        /// Fills the disk until the broker says so.
        ///
        /// Requests that wait already may have to wait until their time is up.
        private static func fill(_ world: World) -> Bool {
            world.disk.capacity = world.disk.usedBytes + 64 << 10
            return world.run(for: .seconds(45)) { world.answers[.kafkaStorageError] ?? 0 > 0 }
        }

        /// Everything that was promised is there, now and after a power cut; what is sent arrives.
        private static func check(_ world: World, _ seed: UInt64) {
            #expect(world.audit(), "seed \(seed)")
            world.end(.powerCut)
            world.start()
            #expect(world.runToReady(), "seed \(seed)")
            #expect(world.audit(), "seed \(seed)")
            world.settle()
            #expect(world.audit(), "seed \(seed)")
            #expect(world.ledger.violations == [], "seed \(seed)")
        }

        @Test(arguments: 1...10)
        func `a full disk refuses records and takes them again once it has room`(_ seed: UInt64) {
            let world = Self.serving(seed)
            #expect(Self.fill(world), "seed \(seed)")
            #expect(world.audit())
            let before = world.ledger.acknowledged
            world.disk.capacity = .max
            #expect(world.run(for: .seconds(10)) { world.ledger.acknowledged > before + 200 })
            Self.check(world, seed)
        }

        @Test(arguments: 1...10)
        func `a power cut while the disk is full loses nothing`(_ seed: UInt64) {
            let world = Self.serving(seed)
            #expect(Self.fill(world), "seed \(seed)")
            world.end(.powerCut)
            world.disk.capacity = .max
            world.start()
            #expect(world.runToReady())
            Self.check(world, seed)
        }

        @Test(arguments: 1...6)
        func `after a failed fdatasync of the log nothing is acknowledged`(_ seed: UInt64) {
            let world = Self.serving(seed)
            let hasFailed = Flag()
            var syncs: [String: Int] = [:]
            world.disk.failure = { operation, path in
                guard operation == .sync, path.hasPrefix("/data/wal/"), !hasFailed.isSet else {
                    return nil
                }
                syncs[path, default: 0] += 1
                // The first is that of a file being made, by whatever name it had then.
                guard syncs[path] == 5 else { return nil }
                hasFailed.isSet = true
                return .inputOutput
            }
            #expect(world.run(for: .seconds(5)) { hasFailed.isSet })
            // What was durable before may still be on its way to the clients.
            _ = world.run(for: .milliseconds(200))
            let before = world.ledger.acknowledged
            world.forgetAnswers()
            _ = world.run(for: .milliseconds(500))
            #expect(world.ledger.acknowledged == before, "seed \(seed)")
            #expect(world.answers[.kafkaStorageError] ?? 0 > 0, "seed \(seed): \(world.answers)")
            world.end(seed % 2 == 0 ? .kill : .powerCut)
            world.disk.failure = nil
            world.start()
            #expect(world.runToReady())
            Self.check(world, seed)
        }

        @Test(arguments: [UInt64(1), 2, 6])
        func `a failed fdatasync of a segment is made good from the log`(_ seed: UInt64) {
            let world = Self.serving(seed)
            var generator = world.simulation.makeGenerator()
            var failures = 0
            world.disk.failure = { operation, path in
                guard operation == .sync || operation == .syncDirectory,
                    path.hasPrefix("/data/topics/"), generator.chance(1, in: 30)
                else { return nil }
                failures += 1
                return .inputOutput
            }
            let before = world.ledger.acknowledged
            #expect(world.run(for: .seconds(60)) { failures > 5 }, "seed \(seed)")
            // The write-ahead log may be at its limit meanwhile.
            #expect(
                world.run(for: .seconds(20)) { world.ledger.acknowledged > before + 200 },
                "seed \(seed)"
            )
            world.disk.failure = nil
            Self.check(world, seed)
        }

        @Test(arguments: 1...5)
        func `a disk that lies about fdatasync is found out`(_ seed: UInt64) {
            let world = World(seed: seed)
            world.disk.lies.aboutSync = true
            var lives = PowerCuts(world)
            lives.run(cuts: 20)
            #expect(!world.ledger.violations.isEmpty)
        }

        @Test func `a disk that lies about fsync of directories is found out`() {
            var found = 0
            for seed in UInt64(1)...5 {
                let world = World(seed: seed)
                world.disk.lies.aboutDirectorySync = true
                var lives = PowerCuts(world)
                lives.run(cuts: 20)
                if !world.ledger.violations.isEmpty { found += 1 }
            }
            #expect(found == 5)
        }
    }
}
