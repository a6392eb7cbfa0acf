import ClusterMetadata
import KafkaMessages
import Platform

/// Commands of every kind, drawn from a seed, many of them sensible.
struct Workload {
    var generator: SeededGenerator
    private var topics = 0

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func draw(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &generator) }

    private mutating func broker() -> Int32 { Int32(draw(5) + 1) }

    private mutating func brokers(upTo count: Int = 4) -> [Int32] {
        (0..<draw(count)).map { _ in broker() }
    }

    private mutating func topic(of image: MetadataImage) -> MetadataImage.Topic? {
        let topics = image.sortedTopics
        return topics.isEmpty ? nil : topics[draw(topics.count)]
    }

    private mutating func partition(of image: MetadataImage) -> MetadataImage.Partition? {
        guard let topic = topic(of: image), !topic.partitions.isEmpty else { return nil }
        return topic.partitions[draw(topic.partitions.count)]
    }

    mutating func next(for image: MetadataImage) -> MetadataCommand.Request {
        switch draw(14) {
        case 0, 1:
            topics += 1
            return .createTopics(
                [
                    .init(
                        id: KafkaUUID(high: 5, low: UInt64(topics)),
                        name: "t_\(draw(40))",
                        partitions: Int32(draw(4)),
                        replicationFactor: Int16(draw(4)),
                        configs: draw(2) == 0 ? [.init("retention.ms", "\(draw(9))")] : []
                    )
                ],
                validateOnly: draw(8) == 0
            )
        case 2: return .deleteTopics([topic(of: image)?.id ?? .zero])
        case 3:
            let topic = topic(of: image)
            return .createPartitions(
                [.init(topic: topic?.name ?? "", count: Int32(draw(6)))],
                validateOnly: false
            )
        case 4:
            return .alterTopicConfigs(
                topic: topic(of: image)?.name ?? "",
                [.init("segment.ms", draw(3) == 0 ? .delete : .set("\(draw(100) + 1)"))],
                validateOnly: false
            )
        case 5:
            return .alterBrokerConfigs([.init("log.retention.ms", .set("7"))], validateOnly: false)
        case 6:
            return .registerBroker(
                Cluster.broker(broker(), disk: UInt64(draw(2)), run: UInt64(draw(3))),
                clusterID: Cluster.clusterID
            )
        case 7:
            let id = broker()
            return .stopBroker(id: id, epoch: image.broker(id)?.epoch ?? 0)
        case 8:
            let id = broker()
            return .replaceBroker(
                id: id,
                directoryID: image.broker(id)?.registration.directoryID ?? .zero
            )
        case 9:
            let id = broker()
            return .allocateProducerIDs(broker: id, epoch: image.broker(id)?.epoch ?? 0)
        case 10: return leadership(in: image)
        case 11: return members(in: image)
        case 12: return .unregisterBroker(id: broker())
        default:
            return .reassign([
                .init(
                    topic: topic(of: image)?.name ?? "",
                    partition: Int32(draw(3)),
                    replicas: draw(4) == 0 ? nil : brokers()
                )
            ])
        }
    }

    private mutating func leadership(in image: MetadataImage) -> MetadataCommand.Request {
        guard let partition = partition(of: image), let leader = partition.replicas.first else {
            return .deleteTopics([])
        }
        let report = GroupLeadership(
            groupID: partition.groupID,
            .init(leader: leader, epoch: Int32(draw(20)), inSync: partition.replicas)
        )
        let epoch = image.broker(leader)?.epoch ?? 0
        return .reportLeaderships(broker: leader, epoch: epoch, [report])
    }

    private mutating func members(in image: MetadataImage) -> MetadataCommand.Request {
        guard let partition = partition(of: image) else { return .deleteTopics([]) }
        let members = GroupMembers(
            voters: draw(2) == 0 ? partition.assignment.target : brokers(),
            learners: draw(4) == 0 ? brokers() : []
        )
        return .reportMembers([
            .init(
                groupID: partition.groupID,
                epoch: partition.leadership.epoch,
                revision: partition.assignment.revision,
                members: members,
                commit: UInt64(draw(1_000))
            )
        ])
    }

    /// What a history of so many commands has laid down.
    static func history(seed: UInt64, commands: Int) -> Cluster {
        var workload = Workload(seed: seed)
        var cluster = Cluster(brokers: 1...3, racks: ["a", "b", nil])
        for _ in 0..<commands {
            switch workload.draw(10) {
            case 0: cluster.silence(Int32(workload.draw(5) + 1))
            case 1: cluster.hear(Int32(workload.draw(5) + 1), run: UInt64(workload.draw(3)))
            default: cluster.run(workload.next(for: cluster.image))
            }
        }
        return cluster
    }
}
