import ClusterMetadata
import KafkaProtocol
import Platform
import Testing

@Suite struct DecisionPipelineTests {
    private var pipeline = DecisionPipeline(settings: .init(nodeID: 1))

    private mutating func create(
        _ name: String,
        _ number: Int
    ) throws -> DecisionPipeline.Pending<MetadataImage.Topic> {
        try pipeline.decide { (controller) throws(MetadataProblem) in
            try controller.createTopic(.init(name: name), id: Cluster.id(number))
        }
    }

    @Test mutating func `only a leader decides`() {
        #expect(throws: MetadataProblem.self) { try create("t", 1) }
    }

    @Test mutating func `decisions see each other before they are committed`() throws {
        pipeline.begin(term: 1)
        let first = try create("t", 1)
        let second = try create("u", 2)
        let clash = try create("t", 3)
        #expect(pipeline.committed.topicCount == 0 && pipeline.decided.topicCount == 2)
        #expect(pipeline.recordsUnderWay == 4)
        guard case .failure(let problem) = clash.result else {
            Issue.record("created twice")
            return
        }
        #expect(problem.code == .topicAlreadyExists)
        #expect(pipeline.state(of: clash.ticket) == .waiting)
        pipeline.replay(first.records)
        #expect(pipeline.state(of: first.ticket) == .committed)
        #expect(pipeline.state(of: second.ticket) == .waiting)
        #expect(pipeline.state(of: clash.ticket) == .waiting)
        pipeline.replay(second.records)
        #expect(pipeline.state(of: clash.ticket) == .committed)
        #expect(pipeline.committed.fingerprint == pipeline.decided.fingerprint)
    }

    @Test mutating func `what is under way is thrown away with the leadership`() throws {
        pipeline.begin(term: 1)
        let lost = try create("t", 1)
        pipeline.end()
        #expect(pipeline.state(of: lost.ticket) == .lost && pipeline.decided.topicCount == 0)
        // Another leader's records.
        pipeline.replay([.topic(id: Cluster.id(9), name: "theirs")])
        pipeline.begin(term: 3)
        #expect(pipeline.state(of: lost.ticket) == .lost)
        let again = try create("t", 1)
        #expect(
            again.records == [
                .topic(id: Cluster.id(1), name: "t"),
                .partition(topicID: Cluster.id(1), index: 0, groupID: 1, replicas: [1]),
            ]
        )
        let theirs = try create("theirs", 2)
        #expect(theirs.records.isEmpty)
    }

    @Test mutating func `what the log did not take is taken back`() throws {
        pipeline.begin(term: 1)
        let first = try create("t", 1)
        let refused = try create("u", 2)
        pipeline.withdraw(refused)
        #expect(pipeline.decided.topic("u") == nil && pipeline.recordsUnderWay == 2)
        let next = try create("v", 3)
        guard case .partition(_, _, 2, _)? = next.records.last else {
            Issue.record("the group id was not taken back")
            return
        }
        pipeline.replay(first.records + next.records)
        #expect(pipeline.state(of: next.ticket) == .committed)
        #expect(pipeline.committed.sortedTopics.map(\.name) == ["t", "v"])
    }

    @Test mutating func `there is a limit to what is under way`() throws {
        pipeline = DecisionPipeline(settings: .init(nodeID: 1), limit: 4)
        pipeline.begin(term: 1)
        let first = try create("t", 1)
        _ = try create("u", 2)
        do {
            _ = try create("v", 3)
            Issue.record("no limit")
        } catch let problem as MetadataProblem {
            #expect(problem.code == .throttlingQuotaExceeded)
        }
        pipeline.replay(first.records)
        _ = try create("v", 3)
    }

    /// Three nodes, one log: whoever leads appends, a change of leader cuts off what was not
    /// committed, and a command whose outcome was lost is sent again.
    @Test(arguments: 1...30 as ClosedRange<UInt64>)
    func `nothing is given twice over changes of leadership`(_ seed: UInt64) throws {
        var world = LeadershipWorld(seed: seed)
        for _ in 0..<600 { try world.step() }
        #expect(world.acknowledgedBlocks > 20 && world.terms > 10)
        for node in world.nodes.indices { world.catchUp(node) }
        let prints = world.nodes.map(\.committed.fingerprint)
        #expect(prints[0] == prints[1] && prints[1] == prints[2])
        for name in world.acknowledgedTopics {
            #expect(world.nodes[0].committed.topic(name) != nil)
        }
        var groups: Set<UInt64> = []
        for topic in world.nodes[0].committed.sortedTopics {
            for partition in topic.partitions {
                #expect(groups.insert(partition.groupID).inserted)
            }
        }
    }
}

/// Three pipelines over one committed log.
private struct LeadershipWorld {
    private enum Asked {
        case block
        case topic(String, Int)
    }

    private struct UnderWay {
        let asked: Asked
        let pending: DecisionPipeline.Pending<MetadataAnswer>
    }

    var nodes: [DecisionPipeline]
    var terms: UInt64 = 0
    var acknowledgedBlocks = 0
    var acknowledgedTopics: [String] = []
    private var generator: SeededGenerator
    private var log: [[MetadataRecord]] = []
    private var applied = [0, 0, 0]
    private var leader: Int?
    /// Appended by the leader, not committed.
    private var tail: [[MetadataRecord]] = []
    private var underWay: [UnderWay] = []
    private var lost: [Asked] = []
    private var nextProducerID: Int64 = 0
    private var topics = 0

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        let settings = MetadataController.Settings(nodeID: 1, clusterID: Cluster.clusterID)
        nodes = [0, 1, 2].map { _ in DecisionPipeline(settings: settings) }
        log.append([.brokerRegistration(Cluster.broker(1), epoch: 1)])
    }

    mutating func catchUp(_ node: Int) {
        while applied[node] < log.count {
            nodes[node].replay(log[applied[node]])
            applied[node] += 1
        }
    }

    mutating func step() throws {
        guard let leader else { return elect() }
        switch generator.below(12) {
        case 0: depose()
        case 1...5: try ask(leader, .block)
        case 6...7:
            topics += 1
            try ask(leader, .topic("t\(topics)", topics))
        case 8:
            if let asked = lost.popLast() { try ask(leader, asked, isRetry: true) }
        case 9: catchUp(generator.below(3))
        default:
            // The majority has the next few entries.
            let count = min(tail.count, generator.below(4))
            log += tail[..<count]
            tail.removeFirst(count)
            catchUp(leader)
            acknowledge(leader)
        }
    }

    private mutating func elect() {
        let node = generator.below(3)
        terms += 1
        log.append([])
        catchUp(node)
        nodes[node].begin(term: terms)
        leader = node
    }

    private mutating func depose() {
        guard let node = leader else { return }
        leader = nil
        // Some of what was appended is committed by the next leader, the rest is cut off.
        let kept = generator.below(tail.count + 1)
        nodes[node].end()
        log += tail[..<kept]
        tail = []
        for entry in underWay {
            #expect(nodes[node].state(of: entry.pending.ticket) == .lost)
            lost.append(entry.asked)
        }
        underWay = []
    }

    private mutating func ask(_ node: Int, _ asked: Asked, isRetry: Bool = false) throws {
        let request: MetadataCommand.Request =
            switch asked {
            case .block: .allocateProducerIDs(broker: 1, epoch: 1)
            case .topic(let name, let number):
                .createTopics([.init(id: Cluster.id(number), name: name)], validateOnly: false)
            }
        let pending = try nodes[node].decide { (controller) throws(MetadataProblem) in
            controller.handle(.init(request, isRetry: isRetry))
        }
        if generator.below(10) == 0 { return nodes[node].withdraw(pending) }
        if !pending.records.isEmpty { tail.append(pending.records) }
        underWay.append(UnderWay(asked: asked, pending: pending))
    }

    private mutating func acknowledge(_ node: Int) {
        while let first = underWay.first,
            nodes[node].state(of: first.pending.ticket) == .committed
        {
            underWay.removeFirst()
            switch (first.asked, first.pending.result) {
            case (.block, .success(.producerIDs(let start, let count))):
                #expect(start >= nextProducerID, "\(start) was given before")
                nextProducerID = start + count
                acknowledgedBlocks += 1
            case (.topic(let name, _), .success(.topics(let topics))):
                #expect(topics.map(\.outcome) == [.done])
                acknowledgedTopics.append(name)
            default: Issue.record("\(first.pending.result)")
            }
        }
    }
}
