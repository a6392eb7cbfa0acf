import ClusterMetadata
import KafkaMessages
import KafkaProtocol

/// CreateTopics: answers once the topics' partitions have leaders.
struct CreateTopicsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 2...7

    let broker: BrokerServices

    func handle(
        _ request: CreateTopicsRequest,
        _ context: RequestContext
    ) async -> CreateTopicsResponse? {
        var response = CreateTopicsResponse()
        var counts: [String: Int] = [:]
        for topic in request.topics { counts[topic.name, default: 0] += 1 }
        for topic in request.topics {
            guard counts[topic.name] == 1 else {
                response.topics.append(
                    failure(topic.name, .init(.invalidRequest, "the topic is named twice"))
                )
                continue
            }
            response.topics.append(await create(topic, validateOnly: request.validateOnly))
        }
        return response
    }

    private func create(
        _ asked: CreateTopicsRequest.CreatableTopic,
        validateOnly: Bool
    ) async -> CreateTopicsResponse.CreatableTopicResult {
        let assignments = asked.assignments.sorted { $0.partitionIndex < $1.partitionIndex }
        guard assignments.enumerated().allSatisfy({ Int32($0.offset) == $0.element.partitionIndex })
        else {
            return failure(
                asked.name,
                .init(.invalidReplicaAssignment, "assignments must name partitions 0, 1, 2, …")
            )
        }
        let topic = MetadataController.NewTopic(
            name: asked.name,
            partitions: asked.numPartitions,
            replicationFactor: asked.replicationFactor,
            assignments: assignments.map(\.brokerIds),
            configs: asked.configs.map { ($0.name, $0.value) }
        )
        do {
            let made = try await TopicCreation(broker: broker).create(
                topic,
                validateOnly: validateOnly
            )
            var result = CreateTopicsResponse.CreatableTopicResult()
            result.name = asked.name
            result.topicId = made.id
            result.numPartitions = made.partitions
            result.replicationFactor = made.replicationFactor
            result.configs = configs(of: asked)
            return result
        } catch {
            return failure(asked.name, error)
        }
    }

    private func configs(
        of topic: CreateTopicsRequest.CreatableTopic
    ) -> [CreateTopicsResponse.CreatableTopicConfigs] {
        let lookup = ConfigurationLookup(
            topic: topic.configs.reduce(into: [:]) { $0[$1.name] = $1.value },
            dynamicBroker: broker.image.brokerConfigs,
            staticBroker: broker.settings.brokerConfigs
        )
        return TopicConfigurationKey.all.map { key in
            let layer = lookup.layers(of: key)[0]
            var entry = CreateTopicsResponse.CreatableTopicConfigs()
            entry.name = key.name
            entry.value = layer.value
            entry.configSource = layer.source.rawValue
            return entry
        }
    }

    private func failure(
        _ name: String,
        _ problem: MetadataProblem
    ) -> CreateTopicsResponse.CreatableTopicResult {
        var result = CreateTopicsResponse.CreatableTopicResult()
        result.name = name
        result.errorCode = problem.code.rawValue
        result.errorMessage = problem.message
        return result
    }
}
