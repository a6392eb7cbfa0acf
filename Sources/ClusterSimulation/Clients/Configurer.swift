import ClusterMetadata
import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// Changes settings of the topics again and again, never to the same value twice; what was
/// acknowledged last must be there in the end.
final class Configurer: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    /// But for the first they change nothing; each is one more that may be lost.
    private static let keys = ["retention.ms", "flush.ms", "flush.messages"]
    private struct Setting: Hashable {
        let topic: String
        let key: String
    }

    private let client: KafkaClient
    private let pace: Int64
    private var last: Int64
    /// The value that was acknowledged last.
    private var acknowledged: [Setting: String] = [:]
    /// Values that were sent and not answered: each may be taken at any later time.
    private var open: [Setting: Set<String>] = [:]
    private(set) var hasEnded = false

    private var world: ClusterWorld { client.world }

    init(in world: ClusterWorld) {
        client = KafkaClient("configurer", in: world)
        last = world.retention
        pace = .milliseconds([200, 1_000, 4_000][client.generator.below(3)])
    }

    func run() async {
        while !world.areProducersEnding {
            await client.rest(upTo: pace)
            let topic = world.topics[client.generator.below(world.topics.count)].name
            last += 1
            let key = Self.keys[client.generator.below(Self.keys.count)]
            await set("\(last)", of: Setting(topic: topic, key: key))
        }
        hasEnded = true
    }

    private func set(_ value: String, of setting: Setting) async {
        var config = IncrementalAlterConfigsRequest.AlterableConfig()
        config.name = setting.key
        config.value = value
        var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
        resource.resourceType = 2
        resource.resourceName = setting.topic
        resource.configs = [config]
        var request = IncrementalAlterConfigsRequest()
        request.resources = [resource]
        let answer = await client.ask(client.controller, request, version: 0, within: .seconds(3))
        if answer?.responses.first?.errorCode == 0 {
            acknowledged[setting] = value
        } else {
            open[setting, default: []].insert(value)
        }
    }

    /// What of it a node does not know; `nil` when nothing is lost.
    func loss(at node: SimulatedNode) -> String? {
        for topic in world.topics {
            for key in Self.keys {
                let setting = Setting(topic: topic.name, key: key)
                guard let known = node.image.topic(topic.name), let value = acknowledged[setting],
                    known.configs[key] != value
                else { continue }
                let found = known.configs[key] ?? "not set"
                if open[setting]?.contains(found) == true { continue }
                return
                    "\(key) of \(topic.name) is \(found) on node \(node.id); it was answered that"
                    + " it is \(value)"
            }
        }
        return nil
    }
}
