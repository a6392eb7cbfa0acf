import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// Who creates, deletes, moves and configures topics.
final class Operator: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let client: KafkaClient
    private static let mostPassing = 6
    /// Topics of its own, which come and go.
    private var passing: [(name: String, partitions: Int32)] = []
    private var lastNumber = 0
    private let pace: Int64
    private(set) var hasEnded = false

    private var world: ClusterWorld { client.world }

    init(in world: ClusterWorld) {
        client = KafkaClient("operator", in: world)
        pace = .milliseconds([300, 1_000, 4_000, 4_000][client.generator.below(4)])
    }

    func run() async {
        while !world.areProducersEnding {
            await client.rest(upTo: pace)
            // A long run must not end with hundreds of them.
            let isCrowded = world.plan.isLong && passing.count >= Self.mostPassing
            switch isCrowded ? 3 : client.generator.below(12) {
            case 0..<3 where passing.count < Self.mostPassing:
                lastNumber += 1
                let count = Int32(1 + client.generator.below(3))
                if await create("x\(lastNumber)", count, replicas: replicas, configs: []) {
                    passing.append(("x\(lastNumber)", count))
                }
            case 3..<5: await deleteOne()
            case 5..<8: await reassignOne()
            case 8: await configureOne()
            case 9: await deleteRecords()
            case 10: await growOne()
            default: await client.refresh()
            }
        }
        hasEnded = true
    }

    private var replicas: Int16 {
        let most = min(3, world.nodes.count)
        guard world.faults.contains(.damage) else {
            return Int16(1 + client.generator.below(most))
        }
        return Int16(world.drawsPair(from: &client.generator) ? min(2, most) : most)
    }

    /// The outcome of a topic; `nil` when there was no answer.
    func create(
        _ name: String,
        _ partitions: Int32,
        replicas: Int16,
        configs: [(name: String, value: String)]
    ) async -> Bool {
        var topic = CreateTopicsRequest.CreatableTopic()
        topic.name = name
        topic.numPartitions = partitions
        topic.replicationFactor = replicas
        topic.configs = configs.map { config in
            var entry = CreateTopicsRequest.CreatableTopicConfig()
            entry.name = config.name
            entry.value = config.value
            return entry
        }
        var request = CreateTopicsRequest()
        request.topics = [topic]
        request.timeoutMs = 8_000
        guard let answer = await client.ask(client.controller, request, version: 5),
            let code = answer.topics.first?.errorCode
        else { return false }
        world.counts.topics += 1
        switch ErrorCode(rawValue: code) {
        case .some(.none):
            world.record(.createTopic(.ok, topic: name, partitions: Int(partitions)))
            return true
        case .topicAlreadyExists: return true
        case let error:
            let words = answer.topics.first?.errorMessage ?? "no message"
            world.tell("\(name) is not created: \(error ?? .unknownServerError), \(words)")
            return false
        }
    }

    private func deleteOne() async {
        guard !passing.isEmpty else { return }
        let topic = passing.remove(at: client.generator.below(passing.count))
        world.record(.deleteTopic(topic.name))
        var request = DeleteTopicsRequest()
        request.topicNames = [topic.name]
        request.timeoutMs = 8_000
        _ = await client.ask(client.controller, request, version: 4)
    }

    private func growOne() async {
        guard let topic = passing.popLast() else { return }
        // Whether it has grown may stay unknown: it is deleted next.
        world.record(.deleteTopic(topic.name))
        var entry = CreatePartitionsRequest.CreatePartitionsTopic()
        entry.name = topic.name
        entry.count = topic.partitions + 1
        entry.assignments = nil
        var request = CreatePartitionsRequest()
        request.topics = [entry]
        request.timeoutMs = 8_000
        _ = await client.ask(client.controller, request, version: 1)
        var deletion = DeleteTopicsRequest()
        deletion.topicNames = [topic.name]
        deletion.timeoutMs = 8_000
        _ = await client.ask(client.anyNode, deletion, version: 4)
    }

    private func reassignOne() async {
        let topic = world.topics[client.generator.below(world.topics.count)]
        // A third replica on its way votes: of two that lost entries none then votes for the other.
        guard !world.faults.contains(.damage) || topic.replicas != 2 else { return }
        var ids = world.nodes.map(\.id)
        ids.shuffle(using: &client.generator)
        var partition = AlterPartitionReassignmentsRequest.ReassignablePartition()
        partition.partitionIndex = Int32(client.generator.below(Int(topic.partitions)))
        let count = topic.keepsReplicas ? Int(topic.replicas) : 1 + client.generator.below(3)
        partition.replicas =
            client.generator.chance(1, in: 6) ? nil : Array(ids.prefix(count))
        var entry = AlterPartitionReassignmentsRequest.ReassignableTopic()
        entry.name = topic.name
        entry.partitions = [partition]
        var request = AlterPartitionReassignmentsRequest()
        request.topics = [entry]
        request.timeoutMs = 8_000
        let answer = await client.ask(client.controller, request, version: 0)
        let code = answer?.responses.first?.partitions.first?.errorCode
        world.tell(
            "\(topic.name)-\(partition.partitionIndex) is to move to"
                + " \(partition.replicas?.description ?? "where it was"): \(Self.word(for: code))"
        )
        if code == 0 { world.counts.moves += 1 }
    }

    private func configureOne() async {
        let topic = world.topics[client.generator.below(world.topics.count)]
        var config = IncrementalAlterConfigsRequest.AlterableConfig()
        config.name = "segment.bytes"
        config.value = ["16384", "65536", "1048576"][client.generator.below(3)]
        var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
        resource.resourceType = 2
        resource.resourceName = topic.name
        resource.configs = [config]
        var request = IncrementalAlterConfigsRequest()
        request.resources = [resource]
        _ = await client.ask(client.controller, request, version: 0)
    }

    private static func word(for code: Int16?) -> String {
        guard let code else { return "no answer" }
        return "\(ErrorCode(rawValue: code) ?? .unknownServerError)"
    }

    /// Deletes some of what has been read.
    private func deleteRecords() async {
        let places = world.places
        let place = places[client.generator.below(places.count)]
        guard let leader = await client.leader(of: place) else { return }
        var part = DeleteRecordsRequest.DeleteRecordsPartition()
        part.partitionIndex = place.partition
        part.offset = Int64(client.generator.below(200))
        var topic = DeleteRecordsRequest.DeleteRecordsTopic()
        topic.name = place.topic
        topic.partitions = [part]
        var request = DeleteRecordsRequest()
        request.topics = [topic]
        request.timeoutMs = 5_000
        _ = await client.ask(leader, request, version: 1)
    }
}
