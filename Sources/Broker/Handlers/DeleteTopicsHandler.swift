import ClusterMetadata
import KafkaMessages
import KafkaProtocol

/// DeleteTopics: by name, and from version 6 by id.
struct DeleteTopicsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 1...6

    let broker: BrokerServices

    func handle(
        _ request: DeleteTopicsRequest,
        _ context: RequestContext
    ) async -> DeleteTopicsResponse? {
        var response = DeleteTopicsResponse()
        if context.apiVersion >= 6 {
            for topic in request.topics {
                response.responses.append(await delete(name: topic.name, id: topic.topicId))
            }
        } else {
            for name in request.topicNames {
                response.responses.append(await delete(name: name, id: .zero))
            }
        }
        return response
    }

    private func delete(
        name: String?,
        id: KafkaUUID
    ) async -> DeleteTopicsResponse.DeletableTopicResult {
        var result = DeleteTopicsResponse.DeletableTopicResult()
        result.name = name
        result.topicId = id
        let image = broker.image
        guard let topic = name.map({ image.topic($0) }) ?? image.topic(id) else {
            let code: ErrorCode = name == nil ? .unknownTopicId : .unknownTopicOrPartition
            result.errorCode = code.rawValue
            return result
        }
        result.name = topic.name
        result.topicId = topic.id
        do {
            try await broker.metadata.write(MetadataCommand(.deleteTopics([topic.id])))
                .requireDone()
            await broker.groups.topicDeleted(topic.name)
        } catch {
            result.errorCode = error.code.rawValue
            result.errorMessage = error.message
        }
        return result
    }
}
