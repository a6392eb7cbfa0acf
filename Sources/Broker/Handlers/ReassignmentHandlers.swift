import ClusterMetadata
import KafkaMessages
import KafkaProtocol

/// AlterPartitionReassignments: other replicas for partitions, or a reassignment taken back
/// (KIP-455).
///
/// Answered once the metadata has it; ListPartitionReassignments tells when the replicas have
/// followed.
struct AlterPartitionReassignmentsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...0

    let broker: BrokerServices

    func handle(
        _ request: AlterPartitionReassignmentsRequest,
        _ context: RequestContext
    ) async -> AlterPartitionReassignmentsResponse? {
        let asked = request.topics.flatMap { topic in
            topic.partitions.map {
                MetadataCommand.PartitionReassignment(
                    topic: topic.name,
                    partition: $0.partitionIndex,
                    replicas: $0.replicas
                )
            }
        }
        var response = AlterPartitionReassignmentsResponse()
        response.errorMessage = nil
        let outcomes: [MetadataAnswer.Outcome]
        do {
            outcomes = asked.isEmpty ? [] : try await reassign(asked)
        } catch {
            response.errorCode = error.code.rawValue
            response.errorMessage = error.message
            outcomes = asked.map { _ in error.outcome }
        }
        var rest = outcomes[...]
        response.responses = request.topics.map { topic in
            var answer = AlterPartitionReassignmentsResponse.ReassignableTopicResponse()
            answer.name = topic.name
            answer.partitions = topic.partitions.map {
                let outcome = rest.popFirst() ?? .init(.unknownServerError)
                var result = AlterPartitionReassignmentsResponse.ReassignablePartitionResponse()
                result.partitionIndex = $0.partitionIndex
                result.errorCode = outcome.code.rawValue
                result.errorMessage = outcome.message
                return result
            }
            return answer
        }
        return response
    }

    private func reassign(
        _ asked: [MetadataCommand.PartitionReassignment]
    ) async throws(MetadataProblem) -> [MetadataAnswer.Outcome] {
        let answer = try await broker.metadata.write(MetadataCommand(.reassign(asked)))
        guard case .outcomes(let outcomes) = answer, outcomes.count == asked.count else {
            throw answer.problem
        }
        return outcomes
    }
}

/// ListPartitionReassignments: the reassignments that are under way.
struct ListPartitionReassignmentsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...0

    let broker: BrokerServices

    func handle(
        _ request: ListPartitionReassignmentsRequest,
        _ context: RequestContext
    ) async -> ListPartitionReassignmentsResponse? {
        var response = ListPartitionReassignmentsResponse()
        response.errorMessage = nil
        let image: MetadataImage
        do {
            image = try await broker.metadata.linearizableImage()
        } catch {
            response.errorCode = error.code.rawValue
            response.errorMessage = error.message
            return response
        }
        if let asked = request.topics {
            response.topics = asked.compactMap { wanted in
                image.topic(wanted.name).flatMap { topic in
                    Self.answer(
                        topic,
                        wanted.partitionIndexes.compactMap { index in
                            topic.partitions[checked: index]
                        }
                    )
                }
            }
        } else {
            response.topics = image.sortedTopics.compactMap {
                Self.answer($0, $0.partitions.map { $0 })
            }
        }
        return response
    }

    /// `nil` when none of the partitions moves.
    private static func answer(
        _ topic: MetadataImage.Topic,
        _ partitions: [MetadataImage.Partition]
    ) -> ListPartitionReassignmentsResponse.OngoingTopicReassignment? {
        let moving = partitions.filter(\.assignment.isReassigning)
        guard !moving.isEmpty else { return nil }
        var answer = ListPartitionReassignmentsResponse.OngoingTopicReassignment()
        answer.name = topic.name
        answer.partitions = moving.map { partition in
            var result = ListPartitionReassignmentsResponse.OngoingPartitionReassignment()
            result.partitionIndex = partition.index
            result.replicas = partition.assignment.replicas
            result.addingReplicas = partition.assignment.adding
            result.removingReplicas = partition.assignment.removing
            return result
        }
        return answer
    }
}
