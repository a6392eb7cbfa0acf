import ClusterMetadata
import Coordinators
import KafkaMessages
import KafkaProtocol
import Platform

/// OffsetCommit: durable before it is answered.
struct OffsetCommitHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 2...9
    let broker: BrokerServices

    func handle(
        _ request: OffsetCommitRequest,
        _ context: RequestContext
    ) async -> OffsetCommitResponse? {
        let image = broker.image
        var refused: [TopicPartition: ErrorCode] = [:]
        for topic in request.topics {
            let count = image.topic(topic.name)?.partitions.count ?? 0
            for partition in topic.partitions
            where partition.partitionIndex < 0 || Int(partition.partitionIndex) >= count {
                refused[TopicPartition(topic: topic.name, partition: partition.partitionIndex)] =
                    .unknownTopicOrPartition
            }
        }
        let problems = refused
        let reply = await broker.groups.request(group: request.groupId) { coordinator, token, now in
            coordinator.commitOffsets(
                request,
                refused: problems,
                token: token,
                now: now
            )
        }
        if case .offsetCommit(let response) = reply { return response }
        let refusal = await broker.groups.refusal(group: request.groupId).rawValue
        var response = OffsetCommitResponse()
        response.topics = request.topics.map { topic in
            var answer = OffsetCommitResponse.OffsetCommitResponseTopic()
            answer.name = topic.name
            answer.partitions = topic.partitions.map { partition in
                var entry = OffsetCommitResponse.OffsetCommitResponsePartition()
                entry.partitionIndex = partition.partitionIndex
                entry.errorCode = refusal
                return entry
            }
            return answer
        }
        return response
    }
}

/// OffsetFetch: of some partitions or all, of one group or from version 8 several.
struct OffsetFetchHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 1...9
    let broker: BrokerServices

    private struct Asked: Sendable {
        var topic: String
        var partitions: [Int32]
    }

    private struct Answer: Sendable {
        var topic: String
        var partitions: [(index: Int32, offset: CommittedOffset?)]
    }

    func handle(
        _ request: OffsetFetchRequest,
        _ context: RequestContext
    ) async -> OffsetFetchResponse? {
        var response = OffsetFetchResponse()
        if context.apiVersion >= 8 {
            for group in request.groups {
                let asked = group.topics?.map {
                    Asked(topic: $0.name, partitions: $0.partitionIndexes)
                }
                if let answers = await offsets(of: group.groupId, asked) {
                    response.groups.append(Self.describe(group.groupId, answers))
                } else {
                    var refused = OffsetFetchResponse.OffsetFetchResponseGroup()
                    refused.groupId = group.groupId
                    refused.errorCode = await broker.groups.refusal(group: group.groupId).rawValue
                    response.groups.append(refused)
                }
            }
            return response
        }
        let asked = request.topics?.map { Asked(topic: $0.name, partitions: $0.partitionIndexes) }
        guard let answers = await offsets(of: request.groupId, asked) else {
            let code = await broker.groups.refusal(group: request.groupId).rawValue
            if context.apiVersion >= 2 { response.errorCode = code }
            response.topics = (asked ?? []).map { topic in
                Self.topic(
                    Answer(topic: topic.topic, partitions: topic.partitions.map { ($0, nil) }),
                    error: code
                )
            }
            return response
        }
        response.topics = answers.map { Self.topic($0, error: 0) }
        return response
    }

    /// `nil` when this node is not the group's coordinator.
    private func offsets(of group: String, _ asked: [Asked]?) async -> [Answer]? {
        await broker.groups.read(group: group) { coordinator in
            if let asked {
                return asked.map { topic in
                    Answer(
                        topic: topic.topic,
                        partitions: topic.partitions.map { index in
                            (
                                index,
                                coordinator.committedOffset(
                                    group: group,
                                    topic: topic.topic,
                                    partition: index
                                )
                            )
                        }
                    )
                }
            }
            return coordinator.committedOffsets(group: group).map { topic, partitions in
                Answer(topic: topic, partitions: partitions.map { ($0.partition, $0.offset) })
            }
        }
    }

    private static func topic(
        _ answer: Answer,
        error: Int16
    ) -> OffsetFetchResponse.OffsetFetchResponseTopic {
        var topic = OffsetFetchResponse.OffsetFetchResponseTopic()
        topic.name = answer.topic
        topic.partitions = answer.partitions.map { partition in
            var entry = OffsetFetchResponse.OffsetFetchResponsePartition()
            entry.partitionIndex = partition.index
            entry.committedOffset = partition.offset?.offset ?? -1
            entry.committedLeaderEpoch = partition.offset?.leaderEpoch ?? -1
            entry.metadata = partition.offset?.metadata ?? ""
            entry.errorCode = error
            return entry
        }
        return topic
    }

    private static func describe(
        _ id: String,
        _ answers: [Answer]
    ) -> OffsetFetchResponse.OffsetFetchResponseGroup {
        var group = OffsetFetchResponse.OffsetFetchResponseGroup()
        group.groupId = id
        group.topics = answers.map { answer in
            var topic = OffsetFetchResponse.OffsetFetchResponseTopics()
            topic.name = answer.topic
            topic.partitions = answer.partitions.map { partition in
                var entry = OffsetFetchResponse.OffsetFetchResponsePartitions()
                entry.partitionIndex = partition.index
                entry.committedOffset = partition.offset?.offset ?? -1
                entry.committedLeaderEpoch = partition.offset?.leaderEpoch ?? -1
                entry.metadata = partition.offset?.metadata ?? ""
                return entry
            }
            return topic
        }
        return group
    }
}

/// OffsetDelete: takes committed offsets away from a group that does not read the topics.
struct OffsetDeleteHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...0
    let broker: BrokerServices

    func handle(
        _ request: OffsetDeleteRequest,
        _ context: RequestContext
    ) async -> OffsetDeleteResponse? {
        let reply = await broker.groups.request(group: request.groupId) { coordinator, token, now in
            coordinator.deleteOffsets(request, token: token, now: now)
        }
        if case .offsetDelete(let response) = reply { return response }
        var response = OffsetDeleteResponse()
        response.errorCode = await broker.groups.refusal(group: request.groupId).rawValue
        return response
    }
}
