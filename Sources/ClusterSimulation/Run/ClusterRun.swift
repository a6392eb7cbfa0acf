import KafkaHistory
import KafkaProtocol
import Platform
import Simulator

/// One run: a cluster is started, worked with and troubled, then mended; it must become whole, and
/// what its clients saw must be what a log may show them.
package final class ClusterRun {
    private let world: ClusterWorld
    private let troubles: Troubles
    private var producers: [SimulatedProducer] = []
    private var consumers: [AssignedConsumer] = []
    private var members: [GroupMember] = []
    private var groups: [(name: String, places: [TopicPartition])] = []
    private var committers: [OffsetCommitter] = []
    private let operatorClient: Operator
    private let configurer: Configurer
    private var generator: ClusterGenerator
    private var outcome = ClusterOutcome()

    private init(_ plan: ClusterPlan, tell: ((String) -> Void)?) {
        world = ClusterWorld(plan, tell: tell)
        troubles = Troubles(world)
        operatorClient = Operator(in: world)
        configurer = Configurer(in: world)
        generator = world.simulation.makeGenerator()
    }

    /// Plays a run to its end; `tell` hears what happens, as it happens.
    package static func play(
        _ plan: ClusterPlan,
        keepsHistory: Bool = false,
        tell: ((String) -> Void)? = nil
    ) -> ClusterOutcome {
        Logger.configure(level: .error, format: .text)
        PlantedClusterBug.plant(plan.plant)
        CoverageMark.startCounting()
        defer { CoverageMark.watch(nil) }
        let run = ClusterRun(plan, tell: tell)
        run.play()
        if keepsHistory { run.outcome.history = run.world.history.map(\.line) }
        return run.outcome
    }

    private func play() {
        if boot() {
            begin()
            _ = world.simulation.run(for: .seconds(world.plan.seconds))
            heal()
        }
        world.isOver = true
        world.add(HistoryChecker.check(world.history))
        conclude()
        for node in world.nodes { node.platform?.end() }
    }

    private var loop: EventLoop { world.clients.loops[0] }

    /// Runs until something is so; reports it as not converged when it is not in time.
    private func wait(_ what: String, seconds: Int64, _ isSo: () -> Bool) -> Bool {
        let done = world.simulation.run(for: .seconds(seconds), until: isSo)
        if !done { world.report(.notConverged, "not within \(seconds) s: \(what)") }
        return done
    }

    /// Runs a body on the clients' loop; false when it does not end in time.
    private func perform(
        _ what: String,
        seconds: Int64,
        _ body: @escaping @Sendable () async -> Void
    ) -> Bool {
        let flag = Flag()
        Task(executorPreference: loop) {
            await body()
            flag.isSet = true
        }
        return wait(what, seconds: seconds) { flag.isSet }
    }

    // MARK: The beginning

    private func boot() -> Bool {
        for node in world.nodes { node.start() }
        guard
            wait("the nodes are up", seconds: 60, { self.world.nodes.allSatisfy { $0.isUp } })
        else { return false }
        let world = world
        let operatorClient = operatorClient
        var generator = generator
        let configs = world.topics.map { _ in Self.drawConfigs(&generator) }
        self.generator = generator
        return perform("topics are created", seconds: 60) {
            for (topic, config) in zip(world.topics, configs) {
                while !(await operatorClient.create(
                    topic.name,
                    topic.partitions,
                    replicas: topic.replicas,
                    configs: config
                )) {
                    await world.clients.loops[0].sleep(nanoseconds: .milliseconds(500))
                }
            }
        }
    }

    private static func drawConfigs(
        _ generator: inout ClusterGenerator
    ) -> [(name: String, value: String)] {
        var configs: [(name: String, value: String)] = []
        if generator.chance(2, in: 3) {
            configs.append(("segment.bytes", "\([16_384, 65_536, 262_144][generator.below(3)])"))
        }
        if generator.chance(1, in: 3) { configs.append(("retention.bytes", "40000")) }
        return configs
    }

    private func begin() {
        let world = world
        world.beginCourse()
        producers = (1...2 + generator.below(3)).map { SimulatedProducer($0, in: world) }
        for (number, place) in world.places.enumerated() where generator.chance(2, in: 3) {
            consumers.append(AssignedConsumer(number, of: place, in: world))
        }
        for number in 0..<generator.below(3) {
            let name = "g\(number)"
            var places = world.places
            places.shuffle(using: &generator)
            places = places.prefix(1 + generator.below(4)).sorted()
            groups.append((name, places))
            for member in 0...generator.below(3) {
                members.append(
                    GroupMember("\(name)-m\(member)", group: name, reading: places, in: world)
                )
            }
        }
        committers = (0..<1 + generator.below(2)).map { OffsetCommitter($0, in: world) }
        for committer in committers { groups.append((committer.group, [committer.place])) }
        for producer in producers { Task(executorPreference: loop) { await producer.run() } }
        for consumer in consumers { Task(executorPreference: loop) { await consumer.run() } }
        for member in members { Task(executorPreference: loop) { await member.run() } }
        for committer in committers { Task(executorPreference: loop) { await committer.run() } }
        for node in world.nodes {
            let observer = Observer(of: node, in: world)
            Task(executorPreference: loop) { await observer.run() }
        }
        let (operatorClient, configurer) = (operatorClient, configurer)
        Task(executorPreference: loop) { await operatorClient.run() }
        Task(executorPreference: loop) { await configurer.run() }
        troubles.begin()
    }

    // MARK: The end

    private var expected: [SimulatedNode] { world.nodes.filter { !$0.isWiped } }

    private func heal() {
        let mended = world.simulation.clock.monotonicNanoseconds
        troubles.mend()
        guard bringUp() else { return }
        world.areProducersEnding = true
        guard
            wait(
                "producers are done",
                seconds: 120,
                {
                    producers.allSatisfy(\.hasEnded) && operatorClient.hasEnded
                        && configurer.hasEnded
                }
            )
        else {
            describe(producers.flatMap(\.lanes).filter { !$0.hasEnded })
            return
        }
        let finale = Finale(world, expected.map(\.id), groups)
        guard perform("replicas are equal", seconds: 120, { await finale.awaitEqual() }) else {
            let world = world
            world.tell(finale.state)
            _ = perform("replicas are described", seconds: 10) {
                for line in await finale.describe() { world.tell(line) }
            }
            return
        }
        outcome.secondsToHeal =
            (world.simulation.clock.monotonicNanoseconds - mended) / 1_000_000_000
        guard wait("consumers are done", seconds: 60, { consumers.allSatisfy(\.hasEnded) }) else {
            for consumer in consumers where !consumer.hasEnded {
                world.tell("\(consumer.name) is at \(consumer.position) of \(consumer.place)")
            }
            return
        }
        world.areGroupsEnding = true
        guard
            wait(
                "members are done",
                seconds: 120,
                { members.allSatisfy(\.hasEnded) && committers.allSatisfy(\.hasEnded) }
            )
        else { return }
        for loss in expected.compactMap(configurer.loss) { world.report(.wrongAnswer, loss) }
        _ = perform("everything is read", seconds: 120) { await finale.readEverything() }
        for node in world.nodes where node.isWiped && node.isUp {
            world.report(.wrongAnswer, "node \(node.id) was wiped, and taken in all the same")
        }
    }

    /// Tells what has kept producers.
    private func describe(_ lanes: [ProducerLane]) {
        let world = world
        let finale = Finale(world, expected.map(\.id), groups)
        _ = perform("what they write to is described", seconds: 10) {
            for lane in lanes {
                world.tell(lane.description)
                for line in await finale.describe(lane.place) { world.tell(line) }
            }
        }
    }

    /// Starts what is down, and restarts what an fdatasync has failed.
    private func bringUp() -> Bool {
        let world = world
        let simulation = world.simulation
        // Stops and starts that are under way end first.
        _ = simulation.run(for: .seconds(20)) { [self] in
            expected.allSatisfy { $0.state == .up || $0.state == .down }
        }
        for node in expected where troubles.mustRestart(node) { node.kill() }
        for node in expected where node.state == .down { node.start() }
        // With everything mended, nothing is a reason not to start.
        var attempts = 0
        let isUp = wait("all nodes are up", seconds: 60) {
            for node in expected where node.state == .down && attempts < Self.mostAttempts {
                let problem = node.problem ?? "its process is gone"
                world.report(.notConverged, "node \(node.id) does not start: \(problem)")
                attempts += 1
                node.start()
            }
            return attempts == Self.mostAttempts || expected.allSatisfy { $0.isUp }
        }
        return isUp && attempts < Self.mostAttempts
    }

    private static let mostAttempts = 20

    private func conclude() {
        outcome.faults = world.faults
        outcome.violations = world.violations.map(\.description)
        outcome.trace = world.simulation.trace.description
        outcome.time = world.simulation.clock.monotonicNanoseconds
        outcome.steps = world.simulation.steps
        outcome.produced = HistoryChecker.records(world.history)
        outcome.acknowledged = world.counts.acknowledged
        outcome.polled = world.counts.polled
        outcome.commits = world.counts.commits
        outcome.topics = world.counts.topics
        outcome.leaders = world.counts.reigns
        outcome.answered = world.counts.answered
        outcome.episodes = world.course.episodeCount
        outcome.troubles = troubles.counts.filter { $0.count > 0 }
        outcome.lastEvents = world.lastEvents
        outcome.marks = CoverageMark.tally
    }

    private final class Flag: @unchecked Sendable {
        // Unchecked: the simulation runs on one thread.
        var isSet = false
    }
}
