import KafkaHistory
import KafkaProtocol
import Platform
import Simulator

/// A topic that clients work with.
struct WorkTopic {
    let name: String
    let partitions: Int32
    let replicas: Int16
    /// Moves leave it as many replicas as it has.
    let keepsReplicas: Bool
}

/// How often what was done; for the story of a run.
struct WorldCounts {
    var acknowledged = 0
    var polled = 0
    var commits = 0
    var rebalances = 0
    var topics = 0
    var moves = 0
    var leaders = 0
    /// Requests of all kinds that were answered.
    var answered = 0
    /// Leaders of partitions that clients heard of, each in its term.
    private(set) var reigns = 0
    private var epochs: [TopicPartition: Int32] = [:]

    /// A client hears of a leader, whom others may know.
    mutating func heard(_ epoch: Int32, of place: TopicPartition) {
        guard epoch > epochs[place] ?? -1 else { return }
        epochs[place] = epoch
        reigns += 1
    }

    private var errors: [Int16: Int] = [:]

    mutating func count(produce error: ErrorCode) { errors[error.rawValue, default: 0] += 1 }

    var produceErrors: String {
        errors.sorted { $0.key < $1.key }
            .map { "\(ErrorCode(rawValue: $0.key) ?? .unknownServerError) \($0.value)" }
            .joined(separator: ", ")
    }
}

/// A cluster of whole nodes, its clients, and what was seen of them.
final class ClusterWorld: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let plan: ClusterPlan
    let faults: ClusterFaults
    let simulation: Simulation
    let clients: SimulatedPlatform
    private(set) var nodes: [SimulatedNode] = []
    private(set) var topics: [WorkTopic] = []
    private(set) var places: [TopicPartition] = []
    var generator: ClusterGenerator
    /// From when its work begins.
    private(set) var course: Course
    /// What clients pause for at most while all is calm.
    let calmPace: Int64
    private(set) var history: [HistoryEvent] = []
    private(set) var violations: [HistoryViolation] = []
    var counts = WorldCounts()
    /// Told what happens, as it happens.
    var onTell: ((String) -> Void)?
    private var story: [String] = []
    private static let storyLength = 40

    var areProducersEnding = false
    var areGroupsEnding = false
    /// No more trouble is made.
    var isMended = false
    /// Who leads the metadata, as somebody said last.
    var controller: Int32?
    /// Where ``Configurer`` begins to count `retention.ms` up: for ever, or so little that a clock that
    /// jumps takes records away.
    let retention: Int64
    /// Nothing is looked at any more.
    var isOver = false
    /// Where partitions end, once nobody writes any more.
    var finalEnds: [TopicPartition: Int64] = [:]
    private var deleted: Set<String> = []
    private var producerIDs: [Int64: String] = [:]
    private var probeGenerator: ClusterGenerator

    init(_ plan: ClusterPlan, tell: ((String) -> Void)?) {
        self.plan = plan
        onTell = tell
        simulation = Simulation(seed: plan.seed)
        var generator = simulation.makeGenerator()
        faults = plan.faults ?? ClusterFaults.draw(&generator)
        let shape = ClusterShape.draw(&generator, for: plan)
        clients = SimulatedPlatform(simulation, host: "clients")
        probeGenerator = generator.fork()
        retention = generator.chance(1, in: 3) ? 900_000 : 604_800_000
        calmPace = .seconds(plan.isLong ? [5, 20, 60][generator.below(3)] : 0)
        course = Course(seconds: 0, from: 0, &generator)
        self.generator = generator
        nodes = (1...plan.nodes).map {
            SimulatedNode(Int32($0), of: plan.nodes, simulation, shape)
        }
        for node in nodes {
            node.tell = { [unowned self] in self.tell($0) }
            node.disk.lies.aboutSync = plan.plant == .lyingSync
        }
        drawTopics()
    }

    /// Work begins now.
    func beginCourse() {
        course = Course(
            seconds: plan.seconds,
            from: simulation.clock.monotonicNanoseconds,
            &generator
        )
    }

    private func drawTopics() {
        let mustBeSafe = !faults.isDisjoint(with: [.damage, .wipes])
        let most = min(3, plan.nodes)
        for number in 0..<2 + generator.below(2) {
            let isSmall = !mustBeSafe && generator.chance(1, in: 4)
            let partitions = Int32(1 + generator.below(3))
            let safe = drawsPair(from: &generator) ? min(2, most) : most
            let topic = WorkTopic(
                name: "t\(number)",
                partitions: partitions,
                replicas: Int16(isSmall ? 1 + generator.below(most) : safe),
                keepsReplicas: !isSmall
            )
            topics.append(topic)
            for partition in 0..<topic.partitions {
                places.append(TopicPartition(topic: topic.name, partition: partition))
            }
        }
    }

    /// Whether a topic gets two replicas where a log is damaged.
    ///
    /// One of two that lost entries takes part again, for the other has them; a wiped disk of two is
    /// one too many.
    func drawsPair(from generator: inout ClusterGenerator) -> Bool {
        guard faults.contains(.damage), !faults.contains(.wipes) else { return false }
        return generator.chance(1, in: 2)
    }

    // MARK: What was seen

    func record(_ what: HistoryEvent.What) {
        history.append(HistoryEvent(time: simulation.clock.monotonicNanoseconds, what))
    }

    func tell(_ line: String) {
        let seconds = simulation.clock.monotonicNanoseconds / 1_000_000
        let text = "\(seconds / 1_000).\(String(seconds % 1_000 + 1_000).dropFirst()) \(line)"
        onTell?(text)
        if story.count == Self.storyLength { story.removeFirst() }
        story.append(text)
    }

    var lastEvents: [String] { story }

    func report(_ rule: HistoryViolation.Rule, _ what: String) {
        tell("\(rule.rawValue): \(what)")
        guard violations.count < 20 else { return }
        violations.append(HistoryViolation(rule, what))
    }

    func add(_ found: [HistoryViolation]) {
        for violation in found where violations.count < 20 { violations.append(violation) }
    }

    /// Whether moves leave the topic's replicas on the nodes they are on.
    func staysPut(_ name: String) -> Bool {
        guard let topic = topics.first(where: { $0.name == name }) else { return true }
        return topic.keepsReplicas && Int(topic.replicas) == nodes.count
    }

    func isDeleted(_ topic: String) -> Bool { deleted.contains(topic) }

    func producerStarted(_ name: String, id: Int64) {
        if let other = producerIDs.updateValue(name, forKey: id) {
            report(.wrongAnswer, "\(other) and \(name) were both given producer id \(id)")
        }
    }

    /// Who has won an election, by group and term.
    private var winners: [[UInt64]: (node: Int32, life: Int)] = [:]

    func electionWon(by node: SimulatedNode, group: UInt64, term: UInt64) {
        let now = (node.id, node.incarnation)
        guard let before = winners.updateValue(now, forKey: [group, term]), before != now else {
            return
        }
        report(
            .twoLeaders,
            "nodes \(before.node) and \(node.id) have both won term \(term) of group \(group)"
        )
    }

    /// Nothing but damage takes away what a replica has acknowledged.
    func logEndLost(by node: SimulatedNode) {
        if faults.contains(.damage) { return }
        report(.acknowledgedBeforeDurable, "node \(node.id) lost entries that it had acknowledged")
    }

    // MARK: Durability

    /// Looks, now and then, whether the disks have what has just been acknowledged.
    func acknowledged(
        _ producer: SimulatedProducer,
        _ id: Int,
        _ value: String,
        _ place: TopicPartition
    ) {
        counts.acknowledged += 1
        guard producer.acks == .all, retention > 3_600_000, probeGenerator.chance(1, in: 10),
            !faults.contains(.wipes),
            !faults.contains(.damage),
            staysPut(place.topic), topics.contains(where: { $0.name == place.topic })
        else { return }
        let key = Array(value.utf8.prefix { $0 != UInt8(ascii: ";") }) + [UInt8(ascii: ";")]
        let endings = [".wal", ".log"]
        let holders = nodes.count { $0.disk.durablyHolds(key, inFilesEndingWith: endings) }
        record(
            .durable(
                process: producer.name,
                id: id,
                nodes: holders,
                replicas: nodes.count
            )
        )
    }
}
