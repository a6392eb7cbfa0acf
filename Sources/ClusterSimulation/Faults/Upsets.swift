import Platform
import Simulator

/// Strikes just when something happens that is over in a moment.
///
/// Trouble that comes at any time seldom meets the few hundred microseconds in which a vote is given,
/// an election won or a snapshot taken over. Here the code's own marks say that it is time. While the
/// seed has it so, one blow after the other falls, each undoing the last one's cuts: of three nodes
/// the one that was left behind meets the one that forgot.
final class Upsets {
    /// What may be met.
    private static let moments: [CoverageMark] = [
        .electionWon, .voteGranted, .logTruncated, .snapshotInstalled, .snapshotSent,
        .walFileRecycled, .segmentRolled, .retentionDropped, .recordsDeleted, .coordinatorLoaded,
        .duplicateAnswered, .leadershipHandedOver, .partitionRetired,
    ]
    /// Those at which it is decided who leads.
    private static let elections = 2

    private unowned let world: ClusterWorld
    private var generator: ClusterGenerator
    private let tell: (String) -> Void
    private var watched: Set<CoverageMark> = []
    /// One of so many moments is struck.
    private var rarity = 1
    /// Blows that are left.
    private var left = 0
    /// After a blow nothing is met before this time.
    private var restsUntil: Int64 = 0
    /// Nodes that a blow has cut off.
    private var alone: Set<String> = []

    init(_ world: ClusterWorld, tell: @escaping (String) -> Void) {
        self.world = world
        self.tell = tell
        generator = world.simulation.makeGenerator()
    }

    private var simulation: Simulation { world.simulation }

    /// Watches for a few moments of the kinds it draws.
    func begin() {
        let isElection = generator.chance(1, in: 2)
        let kinds = isElection ? Array(Self.moments.prefix(Self.elections)) : Self.moments
        watched = []
        for _ in 0..<1 + generator.below(3) { watched.insert(kinds[generator.below(kinds.count)]) }
        left = 1 + generator.below(6)
        rarity = [1, 1, 4][generator.below(3)]
        guard isElection, generator.chance(2, in: 3) else { return }
        // What it led is led by another next.
        let leader = world.nodes.first { $0.id == world.controller && generator.chance(1, in: 2) }
        let node = leader ?? world.nodes[generator.below(world.nodes.count)]
        if node.isRunning { changePlaces(node) }
    }

    func end() {
        left = 0
        for host in alone.sorted() { rejoin(host) }
    }

    /// The node whose turn it is has come by a mark.
    func met(_ mark: CoverageMark, at node: SimulatedNode) {
        let now = simulation.clock.monotonicNanoseconds
        guard left > 0, watched.contains(mark), now >= restsUntil, generator.chance(1, in: rarity)
        else { return }
        left -= 1
        let delay = Self.draw(&generator, [0, 200, 2_000, 50_000, 500_000])
        restsUntil = now + delay + Self.draw(&generator, [0, 20_000, 2_000_000])
        let life = node.incarnation
        simulation.after(delay) { [self] in
            guard left >= 0, !world.isMended, node.incarnation == life, node.isRunning else {
                return
            }
            strike(node, mark)
        }
    }

    /// Up to so many microseconds, of which one is drawn first.
    private static func draw(_ generator: inout ClusterGenerator, _ most: [Int]) -> Int64 {
        .microseconds(Int64(generator.below(1 + most[generator.below(most.count)])))
    }

    private func strike(_ node: SimulatedNode, _ mark: CoverageMark) {
        tell("node \(node.id) is met at \(mark.rawValue)")
        switch generator.below(8) {
        case 0..<2: restart(node)
        case 2: pause(node)
        case 3..<6: changePlaces(node)
        default:
            // Who is cut off takes with it what only it and those that forget have seen.
            changePlaces(node)
            for other in world.nodes where other.id != node.id && generator.chance(1, in: 2) {
                restart(other)
            }
        }
    }

    /// Down, and back before anybody has missed it.
    private func restart(_ node: SimulatedNode) {
        guard node.isRunning else { return }
        if generator.chance(1, in: 2) { node.cutPower() } else { node.kill() }
        simulation.after(Self.draw(&generator, [1_000, 30_000, 100_000])) {
            if node.state == .down { node.start() }
        }
    }

    private func pause(_ node: SimulatedNode) {
        let long = Self.draw(&generator, [50_000, 3_000_000])
        tell("node \(node.id) stands still for \(long / 1_000_000) ms")
        node.platform?.pause(for: long)
    }

    // MARK: Places

    /// The node reaches no other, though clients reach it; and whoever was cut off before is back.
    private func changePlaces(_ node: SimulatedNode) {
        for host in alone.sorted() where host != node.host { rejoin(host) }
        tell("\(node.host) is cut off from the other nodes")
        alone.insert(node.host)
        for other in world.nodes where other.id != node.id {
            simulation.network.partition(node.host, other.host)
        }
        let host = node.host
        let long = .milliseconds(300) + Self.draw(&generator, [1_000_000, 6_000_000])
        simulation.after(long) { [self] in if alone.contains(host) { rejoin(host) } }
    }

    private func rejoin(_ host: String) {
        alone.remove(host)
        let breaks = generator.chance(2, in: 3)
        for other in world.nodes where other.host != host && !alone.contains(other.host) {
            if breaks { simulation.network.reset(host, other.host) }
            simulation.network.heal(host, other.host)
        }
        world.tell("\(host) reaches the other nodes")
    }
}
