import ClusterMetadata
import KafkaMessages
import KafkaProtocol

/// CreatePartitions: adds partitions to a topic; there is no taking them away.
struct CreatePartitionsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...3

    let broker: BrokerServices

    func handle(
        _ request: CreatePartitionsRequest,
        _ context: RequestContext
    ) async -> CreatePartitionsResponse? {
        var response = CreatePartitionsResponse()
        for topic in request.topics {
            var result = CreatePartitionsResponse.CreatePartitionsTopicResult()
            result.name = topic.name
            do {
                try await add(topic, validateOnly: request.validateOnly)
            } catch {
                result.errorCode = error.code.rawValue
                result.errorMessage = error.message
            }
            response.results.append(result)
        }
        return response
    }

    private func add(
        _ topic: CreatePartitionsRequest.CreatePartitionsTopic,
        validateOnly: Bool
    ) async throws(MetadataProblem) {
        let assignments = topic.assignments.map { $0.map(\.brokerIds) }
        let growth = MetadataCommand.PartitionGrowth(
            topic: topic.name,
            count: topic.count,
            assignments: assignments
        )
        try await broker.metadata.write(
            MetadataCommand(.createPartitions([growth], validateOnly: validateOnly))
        ).requireDone()
        guard !validateOnly, let grown = broker.image.topic(topic.name) else { return }
        await broker.waitForLeaders(of: grown)
    }
}
