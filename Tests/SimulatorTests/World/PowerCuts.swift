import Platform
import Simulator

/// Lives of one broker, each ended by whatever ends a broker, until the power was cut often enough.
struct PowerCuts {
    private static let maxTopics = 5

    let world: World
    private var generator: SeededGenerator
    private(set) var cuts = 0
    private var topics = 1

    init(_ world: World) {
        self.world = world
        generator = world.generator.fork()
    }

    /// Ends with a life without faults, in which all that was sent must arrive and be found.
    mutating func run(cuts wanted: Int) {
        while cuts < wanted, world.ledger.violations.isEmpty {
            live()
            if !world.disk.isOn { cuts += 1 }
        }
        guard world.ledger.violations.isEmpty else { return }
        world.wantTopics(topics)
        world.start()
        guard world.runToReady() else { return }
        _ = world.audit()
        world.settle()
        world.end(.stop)
        world.start()
        guard world.runToReady() else { return }
        _ = world.audit()
        world.end(.kill)
        if world.disk.misaligned > 0 { world.ledger.report("direct access was not aligned") }
    }

    private mutating func live() {
        world.wantTopics(topics)
        if topics < Self.maxTopics, generator.chance(1, in: 4) { topics += 1 }
        let isCutEarly = generator.chance(1, in: 4)
        if isCutEarly {
            world.turnOn()
            world.disk.changesUntilPowerCut = 1 + generator.below(60)
        } else if generator.chance(1, in: 6) {
            world.disk.changesUntilKill = 1 + generator.below(60)
        }
        world.start()
        guard world.runToReady() else { return }
        if !isCutEarly {
            guard world.audit() else { return }
            switch generator.below(6) {
            case 0: world.disk.changesUntilKill = 1 + generator.below(400)
            case 1...3: world.disk.changesUntilPowerCut = 1 + generator.below(400)
            default: break
            }
        }
        let nanoseconds = Int64.microseconds(Int64(generator.below(120_000)))
        if world.simulation.run(for: nanoseconds, until: { world.isOver }) { return }
        switch generator.below(8) {
        case 0: world.end(.kill)
        case 1: world.end(.stop)
        default: world.end(.powerCut)
        }
    }
}
