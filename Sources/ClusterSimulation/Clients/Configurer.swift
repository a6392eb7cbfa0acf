import ClusterMetadata
import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// Changes one setting of the topics again and again, never to the same value twice; what was
/// acknowledged last must be there in the end.
final class Configurer: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private static let key = "retention.ms"
    private let client: KafkaClient
    private let pace: Int64
    private var last: Int64
    /// The value that was acknowledged last, by topic.
    private var acknowledged: [String: String] = [:]
    /// Values that were sent and not answered: each may be taken at any later time.
    private var open: [String: Set<String>] = [:]
    private(set) var hasEnded = false

    private var world: ClusterWorld { client.world }

    init(in world: ClusterWorld) {
        client = KafkaClient("configurer", in: world)
        last = world.retention
        pace = .milliseconds([200, 1_000, 4_000][client.generator.below(3)])
    }

    func run() async {
        while !world.areProducersEnding {
            await client.pause(upTo: pace)
            let topic = world.topics[client.generator.below(world.topics.count)].name
            last += 1
            await set("\(last)", of: topic)
        }
        hasEnded = true
    }

    private func set(_ value: String, of topic: String) async {
        var config = IncrementalAlterConfigsRequest.AlterableConfig()
        config.name = Self.key
        config.value = value
        var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
        resource.resourceType = 2
        resource.resourceName = topic
        resource.configs = [config]
        var request = IncrementalAlterConfigsRequest()
        request.resources = [resource]
        let answer = await client.ask(client.controller, request, version: 0, within: .seconds(3))
        if answer?.responses.first?.errorCode == 0 {
            acknowledged[topic] = value
        } else {
            open[topic, default: []].insert(value)
        }
    }

    /// What of it a node does not know; `nil` when nothing is lost.
    func loss(at node: SimulatedNode) -> String? {
        for topic in world.topics {
            guard let known = node.image.topic(topic.name), let value = acknowledged[topic.name],
                known.configs[Self.key] != value
            else { continue }
            let found = known.configs[Self.key] ?? "not set"
            if open[topic.name]?.contains(found) == true { continue }
            return
                "\(Self.key) of \(topic.name) is \(found) on node \(node.id); it was answered that"
                + " it is \(value)"
        }
        return nil
    }
}
