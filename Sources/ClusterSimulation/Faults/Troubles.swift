import KafkaHistory
import Platform
import Simulator

/// Makes trouble, and ends it after a while.
final class Troubles {
    private unowned let world: ClusterWorld
    private var generator: ClusterGenerator
    private let faults: [ClusterFaults]
    /// How long it is quiet between two troubles, at most.
    private let pace: Int64
    private var isOn = true
    private var hasDamaged = false
    private(set) var counts: [(name: String, count: Int)]
    /// Nodes of which it was said that they do not start.
    private var complaints: Set<Int32> = []
    private lazy var upsets = Upsets(world) { [unowned self] in self.tell($0) }
    /// Nodes whose disk could not be written or read, and the life that met it.
    private var failed: [Int32: Int] = [:]

    init(_ world: ClusterWorld) {
        self.world = world
        generator = world.simulation.makeGenerator()
        faults = world.faults.list
        pace = .milliseconds([1_000, 3_000, 8_000][generator.below(3)])
        counts = ClusterFaults.names.map { ($0.name, 0) }
    }

    private var simulation: Simulation { world.simulation }
    private var network: SimulatedNetwork { simulation.network }
    private var hosts: [String] { world.nodes.map(\.host) + ["clients"] }

    // MARK: The course of things

    func begin() {
        watchNodes()
        if !faults.isEmpty { planNext() }
        let troubles = Handed(self)
        CoverageMark.watch { troubles.value.met($0, $1, $2) }
    }

    /// A node has come by a mark.
    private func met(_ mark: CoverageMark, _ a: UInt64, _ b: UInt64) {
        guard let node = world.nodes.first(where: \.isInTurn) else { return }
        if mark == .electionWon { world.electionWon(by: node, group: a, term: b) }
        if mark == .logEndLost { world.logEndLost(by: node) }
        if isOn { upsets.met(mark, at: node) }
    }

    private func after(_ nanoseconds: Int64, _ body: @escaping () -> Void) {
        simulation.after(nanoseconds) { [self] in if isOn { body() } }
    }

    private func planNext() {
        let drawn = Int64(generator.below(Int(pace)))
        guard let delay = world.course.delay(of: drawn, at: simulation.clock.now) else { return }
        after(delay) { [self] in
            make(faults[generator.below(faults.count)])
            planNext()
        }
    }

    /// Brings back nodes that are down, as an operator would.
    private func watchNodes() {
        after(.milliseconds(500)) { [self] in
            for node in world.nodes where node.state == .down {
                check(node)
                if generator.chance(1, in: 4) { node.start() }
            }
            watchNodes()
        }
    }

    /// A node that did not start must have had a reason.
    private func check(_ node: SimulatedNode) {
        // One that cannot write asks the others to start again, too.
        guard world.faults.isDisjoint(with: [.fullDisks, .syncErrors, .damage, .readErrors]),
            let problem = node.problem, complaints.insert(node.id).inserted
        else { return }
        world.report(.notConverged, "node \(node.id) does not start: \(problem)")
    }

    private func tell(_ line: String) {
        world.tell(line)
        world.record(.fault(line))
    }

    private func draw(_ from: Int64, _ to: Int64) -> Int64 {
        from + Int64(generator.below(Int(to - from)))
    }

    private var someNode: SimulatedNode { world.nodes[generator.below(world.nodes.count)] }

    /// The one that leads the metadata has most to lose.
    private var someNodeOrLeader: SimulatedNode {
        guard generator.chance(1, in: 3) else { return someNode }
        return world.nodes.first { $0.id == world.controller } ?? someNode
    }

    private func someLink() -> (from: String, to: String) {
        let from = generator.below(hosts.count)
        let to = (from + 1 + generator.below(hosts.count - 1)) % hosts.count
        return (hosts[from], hosts[to])
    }

    private func make(_ fault: ClusterFaults) {
        if let index = ClusterFaults.names.firstIndex(where: { $0.fault == fault }) {
            counts[index].count += 1
        }
        switch fault {
        case .clogs, .losses, .resets, .partitions, .oneWay: troubleNetwork(fault)
        case .syncErrors, .readErrors, .fullDisks, .damage, .wipes: troubleDisk(fault)
        case .upsets: upsets.begin()
        default: troubleProcess(fault)
        }
    }

    // MARK: The network

    private func troubleNetwork(_ fault: ClusterFaults) {
        let link = someLink()
        let long = draw(.milliseconds(200), .seconds(12))
        switch fault {
        case .clogs:
            let delay = draw(.milliseconds(1), .milliseconds(400))
            tell("\(link.from) to \(link.to) takes \(delay / 1_000_000) ms longer")
            network.clog(from: link.from, to: link.to, by: delay)
            after(long) { [self] in network.clog(from: link.from, to: link.to, by: 0) }
        case .losses:
            let pieces = 2 + generator.below(50)
            tell("one of \(pieces) pieces is lost from \(link.from) to \(link.to)")
            network.lose(oneOf: pieces, from: link.from, to: link.to)
            after(long) { [self] in network.lose(oneOf: nil, from: link.from, to: link.to) }
        case .resets:
            guard generator.chance(1, in: 2) else {
                tell("connections of \(link.from) and \(link.to) break")
                return network.reset(link.from, link.to)
            }
            tell("connections of \(link.from) and \(link.to) break one by one")
            if generator.chance(1, in: 2) {
                network.clog(
                    from: link.from,
                    to: link.to,
                    by: draw(.milliseconds(1), .milliseconds(200))
                )
                after(.seconds(2)) { [self] in network.clog(from: link.from, to: link.to, by: 0) }
            }
            breakOne(of: link, left: 1 + generator.below(30))
        case .oneWay:
            tell("nothing comes from \(link.from) to \(link.to)")
            network.cutOff(from: link.from, to: link.to)
            after(long) { [self] in heal(link.from, link.to) }
        default:
            let alone = someNodeOrLeader.host
            let others = hosts.filter { $0 != alone }
            let cut = generator.chance(1, in: 2) ? others : others.filter { $0 != "clients" }
            tell("\(alone) is cut off from \(cut.joined(separator: ", "))")
            for other in cut { network.partition(alone, other) }
            after(long) { [self] in for other in cut { heal(alone, other) } }
        }
    }

    private func breakOne(of link: (from: String, to: String), left: Int) {
        network.resetOne(link.from, link.to) { generator.below($0) }
        guard left > 1 else { return }
        after(draw(.milliseconds(1), .milliseconds(150))) { [self] in
            breakOne(of: link, left: left - 1)
        }
    }

    /// What a long partition leaves: connections that go on, or that were given up.
    private func heal(_ a: String, _ b: String) {
        if generator.chance(1, in: 3) { network.reset(a, b) }
        network.heal(a, b)
        world.tell("\(a) and \(b) reach each other")
    }

    // MARK: Processes

    private func troubleProcess(_ fault: ClusterFaults) {
        let node = someNodeOrLeader
        switch fault {
        case .pauses:
            // At times for longer than the others leave their connections open.
            let long = draw(.milliseconds(50), .seconds(generator.chance(1, in: 3) ? 12 : 4))
            guard node.isRunning else { return }
            tell("node \(node.id) stands still for \(long / 1_000_000) ms")
            node.platform?.pause(for: long)
        case .kills:
            guard node.isRunning else { return }
            tell("node \(node.id) is killed")
            node.kill()
            // Whoever watches the process may be quick: it comes back into the same election.
            if generator.chance(1, in: 3) {
                after(draw(.milliseconds(1), .milliseconds(100))) {
                    if node.state == .down { node.start() }
                }
            }
        case .powerCuts: cutPower(of: [node])
        case .blackouts: cutPower(of: world.nodes.filter { $0.state != .lost })
        case .restarts:
            guard node.isUp else { return }
            tell("node \(node.id) is stopped")
            node.stop()
        case .drift:
            guard let platform = node.platform else { return }
            platform.clockDrift = draw(-100_000, 100_000)
            tell("node \(node.id)'s clock runs \(platform.clockDrift) millionths fast")
        default:
            guard let platform = node.platform else { return }
            let jump = draw(-3_600_000, 3_600_000)
            tell("node \(node.id)'s clock jumps by \(jump) ms")
            platform.wallOffsetMilliseconds += jump
        }
    }

    private func cutPower(of nodes: [SimulatedNode]) {
        let on = nodes.filter(\.isRunning)
        guard !on.isEmpty else { return }
        tell("nodes \(on.map(\.id)) lose their power")
        for node in on { node.cutPower() }
    }

    // MARK: Disks

    private func troubleDisk(_ fault: ClusterFaults) {
        let node = someNode
        switch fault {
        case .syncErrors:
            // One disk; or a fault that all of them have in common.
            for node in generator.chance(1, in: 4) ? world.nodes : [node] { failSync(node) }
        case .fullDisks:
            guard node.isUp, node.disk.capacity == .max else { return }
            tell("node \(node.id)'s disk is full")
            node.disk.capacity = node.disk.usedBytes + generator.below(64 << 10)
            after(draw(.seconds(1), .seconds(12))) { [self] in
                node.disk.capacity = .max
                world.tell("node \(node.id)'s disk has room")
            }
        case .readErrors: failReads(node)
        case .damage: damage(node)
        default:
            guard !hasDamaged, world.nodes.count > 2, world.nodes.allSatisfy(\.isUp) else { return }
            hasDamaged = true
            tell("node \(node.id)'s disk is wiped")
            node.wipe()
            // The cluster must not take it back under its id: what it had promised is gone.
            after(draw(.milliseconds(100), .seconds(5))) { node.start() }
        }
    }

    /// The next fdatasync of the log fails; an operator notices after a while.
    private func failSync(_ node: SimulatedNode) {
        guard node.isUp, node.disk.failure == nil else { return }
        tell("an fdatasync of node \(node.id) is to fail")
        let disk = node.disk
        let life = node.incarnation
        disk.failure = { [weak disk, weak self] operation, path in
            guard operation == .sync, path.hasPrefix("/data/wal/"), path.hasSuffix(".wal") else {
                return nil
            }
            disk?.failure = nil
            self?.failed[node.id] = node.incarnation
            return .inputOutput
        }
        after(draw(.milliseconds(500), .seconds(6))) { [self] in
            disk.failure = nil
            guard node.incarnation == life, node.isRunning else { return }
            tell("node \(node.id) is killed for its failed log")
            node.kill()
        }
    }

    /// Some or all reads of one file fail for a while.
    private func failReads(_ node: SimulatedNode) {
        let paths = node.disk.paths.filter { $0.hasPrefix("/data/") }
        guard node.isUp, node.disk.failure == nil, !paths.isEmpty else { return }
        let path = paths[generator.below(paths.count)]
        let share = 1 + generator.below(3)
        tell("one of \(share) reads of \(path) of node \(node.id) fails")
        let disk = node.disk
        var dice = generator.fork()
        disk.failure = { [weak self] operation, read in
            guard operation == .read, read == path, dice.chance(1, in: share) else { return nil }
            self?.failed[node.id] = node.incarnation
            return .inputOutput
        }
        after(draw(.milliseconds(200), .seconds(6))) { [self] in
            disk.failure = nil
            // Replicas that met it stay offline until they are started again.
            guard mustRestart(node) else { return }
            tell("node \(node.id) is killed for what it could not read")
            node.kill()
        }
    }

    /// Damages a log file of a node that is then down, in one place.
    private func damage(_ node: SimulatedNode) {
        guard !hasDamaged, node.isUp, world.nodes.allSatisfy({ $0.state == .up }) else { return }
        let files = node.disk.paths.filter { $0.hasPrefix("/data/wal/") && $0.hasSuffix(".wal") }
        guard !files.isEmpty else { return }
        hasDamaged = true
        let path = files[generator.below(files.count)]
        tell("node \(node.id) is killed, and \(path) damaged")
        node.kill()
        let seed = generator.fork()
        node.disk.damage(path) { bytes in
            var generator = seed
            guard bytes.count > 16_384 else { return }
            Self.damage(&bytes, &generator)
        }
    }

    /// Flips a few bytes, or loses a write of some sectors, which may have gone to another place.
    private static func damage(_ bytes: inout [UInt8], _ generator: inout ClusterGenerator) {
        let at = 4_096 + generator.below(bytes.count - 8_192)
        let kind = generator.below(3)
        if kind == 0 {
            for offset in 0..<1 + generator.below(16) { bytes[at + offset] ^= 0x5A }
            return
        }
        let sectors = at / 512 * 512..<min(bytes.count, (at / 512 + 1 + generator.below(16)) * 512)
        let lost = Array(bytes[sectors])
        bytes.replaceSubrange(sectors, with: repeatElement(0, count: lost.count))
        guard kind == 2 else { return }
        let other = (4_096 + generator.below(bytes.count - 4_096 - lost.count)) / 512 * 512
        bytes.replaceSubrange(other..<other + lost.count, with: lost)
    }

    // MARK: The end

    /// Whether its disk has failed it in this life.
    func mustRestart(_ node: SimulatedNode) -> Bool {
        node.isRunning && failed[node.id] == node.incarnation
    }

    /// Everything works again from now on.
    func mend() {
        isOn = false
        world.isMended = true
        upsets.end()
        for a in hosts {
            for b in hosts where a != b {
                network.heal(a, b)
                network.clog(from: a, to: b, by: 0)
                network.lose(oneOf: nil, from: a, to: b)
            }
        }
        for node in world.nodes {
            node.platform?.clockDrift = 0
            node.disk.capacity = .max
            node.disk.failure = nil
        }
        world.tell("everything is mended")
    }
}

/// Carries what belongs to the simulation's one thread into closures that may run anywhere.
private struct Handed<Value>: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let value: Value

    init(_ value: Value) { self.value = value }
}
