import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// A controller whose decisions are committed at once, and the log of what it decided.
struct Cluster {
    static let clusterID = "AAAAAAAAAAAAAAAAAAAAAA"

    var controller: MetadataController
    var log: [MetadataRecord] = []

    init(
        brokers: ClosedRange<Int32>? = 1...3,
        racks: [String?] = [nil],
        defaultReplicationFactor: Int16 = 3,
        maxPartitions: Int = 100_000
    ) {
        controller = MetadataController(
            settings: .init(
                nodeID: 1,
                clusterID: Self.clusterID,
                defaultReplicationFactor: defaultReplicationFactor,
                maxPartitions: maxPartitions
            ),
            committed: MetadataImage()
        )
        for id in brokers.map(Array.init) ?? [] {
            run(
                .registerBroker(
                    Self.broker(id, rack: racks[Int(id) % racks.count]),
                    clusterID: Self.clusterID
                )
            )
        }
    }

    static func broker(
        _ id: Int32,
        disk: UInt64 = 0,
        run: UInt64 = 0,
        host: String? = nil,
        rack: String? = nil
    ) -> BrokerRegistration {
        BrokerRegistration(
            id: id,
            directoryID: KafkaUUID(high: 0xd15c, low: UInt64(UInt32(bitPattern: id)) << 32 | disk),
            incarnation: KafkaUUID(high: 0x18c, low: UInt64(UInt32(bitPattern: id)) << 32 | run),
            kafka: BrokerEndpoint(host: host ?? "node\(id)", port: 9092),
            raft: BrokerEndpoint(host: host ?? "node\(id)", port: 5001),
            rack: rack
        )
    }

    static func id(_ number: Int) -> KafkaUUID { KafkaUUID(high: 0x709c, low: UInt64(number)) }

    var image: MetadataImage { controller.decided }

    @discardableResult
    mutating func run(_ request: MetadataCommand.Request, isRetry: Bool = false) -> MetadataAnswer {
        let decision = controller.handle(MetadataCommand(request, isRetry: isRetry))
        log += decision.records
        return decision.answer
    }

    mutating func commit<Answer>(_ decision: Decision<Answer>) -> Answer {
        log += decision.records
        return decision.answer
    }

    @discardableResult
    mutating func silence(_ id: Int32) -> Int {
        let decision = controller.brokerIsSilent(id)
        log += decision.records
        return decision.records.count
    }

    @discardableResult
    mutating func hear(_ id: Int32, run: UInt64 = 0) -> Int {
        let incarnation = Self.broker(id, run: run).incarnation
        let decision = controller.brokerIsBack(id, incarnation: incarnation)
        log += decision.records
        return decision.records.count
    }

    @discardableResult
    mutating func create(
        _ name: String,
        number: Int = 1,
        partitions: Int32 = 1,
        replicationFactor: Int16 = -1,
        assignments: [[Int32]] = []
    ) -> MetadataAnswer.Outcome? {
        let topic = MetadataCommand.TopicCreation(
            id: Self.id(number),
            name: name,
            partitions: assignments.isEmpty ? partitions : -1,
            replicationFactor: replicationFactor,
            assignments: assignments
        )
        guard case .topics(let outcomes) = run(.createTopics([topic], validateOnly: false)) else {
            return nil
        }
        return outcomes.first?.outcome
    }

    func partition(_ name: String, _ index: Int = 0) -> MetadataImage.Partition? {
        guard let topic = image.topic(name), index < topic.partitions.count else { return nil }
        return topic.partitions[index]
    }

    /// The first replica of every partition leads it, with all in sync.
    mutating func electPreferred(epoch: Int32 = 1) {
        var reports: [Int32: [GroupLeadership]] = [:]
        for topic in image.sortedTopics {
            for partition in topic.partitions {
                reports[partition.replicas[0], default: []].append(
                    GroupLeadership(
                        groupID: partition.groupID,
                        .init(
                            leader: partition.replicas[0],
                            epoch: epoch,
                            inSync: partition.replicas
                        )
                    )
                )
            }
        }
        for (broker, reports) in reports.sorted(by: { $0.key < $1.key }) {
            report(reports, by: broker)
        }
    }

    @discardableResult
    mutating func report(_ reports: [GroupLeadership], by broker: Int32) -> MetadataAnswer {
        let epoch = image.broker(broker)?.epoch ?? 0
        return run(.reportLeaderships(broker: broker, epoch: epoch, reports))
    }
}

extension MetadataAnswer {
    /// The only outcome of a command that names one thing.
    var outcome: Outcome? {
        switch self {
        case .outcomes(let outcomes): outcomes.count == 1 ? outcomes[0] : nil
        case .topics(let topics): topics.count == 1 ? topics[0].outcome : nil
        case .refused(let outcome): outcome
        case .brokerEpoch, .producerIDs: .done
        }
    }

    var code: ErrorCode? { outcome?.code }
    var text: String { outcome?.message ?? "" }
}

extension MetadataImage {
    /// Everything an image holds, as the bytes of its snapshot.
    var fingerprint: [[UInt8]] {
        var writer = MetadataSnapshotWriter(self, at: .init(index: 0, term: 0))
        var pieces: [[UInt8]] = []
        while let piece = writer.next() { pieces.append(piece.array) }
        return pieces
    }
}
