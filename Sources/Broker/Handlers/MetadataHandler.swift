import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// Metadata: brokers, topics, partitions and who leads them; makes a topic that is asked for and
/// missing, where that is allowed.
struct MetadataHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...12

    let broker: BrokerServices

    func handle(_ request: MetadataRequest, _ context: RequestContext) async -> MetadataResponse? {
        var response = MetadataResponse()
        response.brokers = broker.brokersForClients.map(describe)
        response.clusterId = broker.clusterID
        response.controllerId = await broker.metadata.leader ?? -1
        let wantsAll = request.topics == nil || (context.apiVersion == 0 && request.topics == [])
        if wantsAll {
            response.topics = broker.image.sortedTopics.map(describe)
        } else {
            for topic in request.topics ?? [] {
                response.topics.append(
                    await describe(topic, mayCreate: request.allowAutoTopicCreation)
                )
            }
        }
        if context.apiVersion < 12 {
            // Before version 12 a name could not be null; an unknown id has none.
            for index in response.topics.indices where response.topics[index].name == nil {
                response.topics[index].name = ""
            }
        }
        return response
    }

    private func describe(
        _ known: MetadataImage.Broker
    ) -> MetadataResponse.MetadataResponseBroker {
        var node = MetadataResponse.MetadataResponseBroker()
        node.nodeId = known.id
        node.host = known.host
        node.port = Int32(known.port)
        node.rack = known.rack
        return node
    }

    private func describe(
        _ asked: MetadataRequest.MetadataRequestTopic,
        mayCreate: Bool
    ) async -> MetadataResponse.MetadataResponseTopic {
        guard let name = asked.name else {
            if let topic = broker.image.topic(asked.topicId) { return describe(topic) }
            var answer = MetadataResponse.MetadataResponseTopic()
            answer.name = nil
            answer.topicId = asked.topicId
            answer.errorCode = ErrorCode.unknownTopicId.rawValue
            return answer
        }
        if let topic = broker.image.topic(name) { return describe(topic) }
        var answer = MetadataResponse.MetadataResponseTopic()
        answer.name = name
        guard mayCreate && broker.settings.autoCreateTopics else {
            answer.errorCode = ErrorCode.unknownTopicOrPartition.rawValue
            return answer
        }
        do {
            _ = try await TopicCreation(broker: broker).create(.init(name: name))
        } catch {
            // Another request may have been first: then the topic is there.
            guard error.code == .topicAlreadyExists else {
                answer.errorCode = error.code.rawValue
                return answer
            }
        }
        if let topic = broker.image.topic(name) { return describe(topic) }
        answer.errorCode = ErrorCode.unknownTopicOrPartition.rawValue
        return answer
    }

    private func describe(_ topic: MetadataImage.Topic) -> MetadataResponse.MetadataResponseTopic {
        var answer = MetadataResponse.MetadataResponseTopic()
        answer.name = topic.name
        answer.topicId = topic.id
        answer.isInternal = topic.isInternal
        let image = broker.image
        answer.partitions = topic.partitions.map { partition in
            var entry = MetadataResponse.MetadataResponsePartition()
            let view = image.clientView(of: partition)
            entry.partitionIndex = partition.index
            entry.replicaNodes = partition.replicas
            entry.isrNodes = view.inSync.isEmpty ? partition.replicas : view.inSync
            entry.offlineReplicas = view.offline
            if let (leader, epoch) = broker.leadership(of: partition, in: topic.name) {
                entry.leaderId = leader
                entry.leaderEpoch = epoch
            } else {
                entry.leaderId = -1
                entry.errorCode = ErrorCode.leaderNotAvailable.rawValue
            }
            return entry
        }
        return answer
    }
}

/// Makes a topic and waits until its partitions can be used.
struct TopicCreation {
    let broker: BrokerServices

    /// The topic that was made; with `validateOnly`, what would have been.
    func create(
        _ topic: MetadataController.NewTopic,
        validateOnly: Bool = false
    ) async throws(MetadataProblem) -> MetadataAnswer.TopicOutcome {
        let asked = MetadataCommand.TopicCreation(
            id: await broker.metadata.newTopicID(),
            name: topic.name,
            partitions: topic.partitions,
            replicationFactor: topic.replicationFactor,
            assignments: topic.assignments,
            configs: topic.configs.map { .init($0.key, $0.value) }
        )
        let answer = try await broker.metadata.write(
            MetadataCommand(.createTopics([asked], validateOnly: validateOnly))
        )
        guard case .topics(let made) = answer, made.count == 1 else { throw answer.problem }
        guard made[0].outcome.code == .none else { throw MetadataProblem(made[0].outcome) }
        if !validateOnly, let topic = broker.image.topic(topic.name) {
            await broker.waitForLeaders(of: topic)
        }
        return made[0]
    }
}
