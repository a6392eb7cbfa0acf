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
        response.brokers = [node]
        response.clusterId = broker.clusterID
        response.controllerId = broker.nodeID
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

    private var node: MetadataResponse.MetadataResponseBroker {
        var node = MetadataResponse.MetadataResponseBroker()
        node.nodeId = broker.nodeID
        node.host = broker.advertised.host
        node.port = Int32(broker.advertised.port)
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
        if let topic = broker.image.topics[name] { return describe(topic) }
        var answer = MetadataResponse.MetadataResponseTopic()
        answer.name = name
        guard mayCreate && broker.settings.autoCreateTopics else {
            answer.errorCode = ErrorCode.unknownTopicOrPartition.rawValue
            return answer
        }
        do {
            return describe(try await TopicCreation(broker: broker).create(.init(name: name)))
        } catch {
            // Another request was first: the topic is there.
            if error.code == .topicAlreadyExists, let topic = broker.image.topics[name] {
                return describe(topic)
            }
            answer.errorCode = error.code.rawValue
            return answer
        }
    }

    private func describe(_ topic: MetadataImage.Topic) -> MetadataResponse.MetadataResponseTopic {
        var answer = MetadataResponse.MetadataResponseTopic()
        answer.name = topic.name
        answer.topicId = topic.id
        answer.isInternal = topic.isInternal
        answer.partitions = topic.partitions.map { partition in
            var entry = MetadataResponse.MetadataResponsePartition()
            entry.partitionIndex = partition.index
            entry.replicaNodes = partition.replicas
            entry.isrNodes = partition.replicas
            let id = TopicPartition(topic: topic.name, partition: partition.index)
            if let epoch = broker.leaders.epoch(of: id) {
                entry.leaderId = broker.nodeID
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

    func create(
        _ topic: MetadataController.NewTopic,
        validateOnly: Bool = false
    ) async throws(MetadataProblem) -> MetadataImage.Topic {
        let id = await broker.metadata.newTopicID()
        let made = try await broker.metadata.commit { (controller) throws(MetadataProblem) in
            try controller.createTopic(topic, id: id, validateOnly: validateOnly)
        }
        if !validateOnly {
            await broker.leaders.waitForLeaders(
                of: made.partitions.map { TopicPartition(topic: made.name, partition: $0.index) }
            )
        }
        return made
    }
}
