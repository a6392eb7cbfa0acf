import ClusterMetadata
import KafkaMessages
import KafkaProtocol

/// ListOffsets: earliest, latest, by timestamp, and of the largest timestamp.
struct ListOffsetsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 1...9
    let broker: BrokerServices

    func handle(
        _ request: ListOffsetsRequest,
        _ context: RequestContext
    ) async -> ListOffsetsResponse? {
        var response = ListOffsetsResponse()
        let image = broker.image
        for topic in request.topics {
            var answer = ListOffsetsResponse.ListOffsetsTopicResponse()
            answer.name = topic.name
            for partition in topic.partitions {
                answer.partitions.append(
                    await look(up: partition, in: image.topic(topic.name))
                )
            }
            response.topics.append(answer)
        }
        return response
    }

    private func look(
        up asked: ListOffsetsRequest.ListOffsetsPartition,
        in topic: MetadataImage.Topic?
    ) async -> ListOffsetsResponse.ListOffsetsPartitionResponse {
        var answer = ListOffsetsResponse.ListOffsetsPartitionResponse()
        answer.partitionIndex = asked.partitionIndex
        guard let topic, let partition = topic.partitions[checked: asked.partitionIndex] else {
            answer.errorCode = ErrorCode.unknownTopicOrPartition.rawValue
            return answer
        }
        let found = await broker.shard(of: partition).offset(
            of: TopicPartition(topic: topic.name, partition: partition.index),
            timestamp: asked.timestamp,
            clientEpoch: asked.currentLeaderEpoch
        )
        answer.errorCode = found.error.rawValue
        answer.offset = found.offset
        answer.timestamp = found.timestamp
        answer.leaderEpoch = found.leaderEpoch
        return answer
    }
}

/// OffsetForLeaderEpoch: where an epoch ended, by which a consumer finds that the log was truncated.
struct OffsetForLeaderEpochHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 2...4
    let broker: BrokerServices

    func handle(
        _ request: OffsetForLeaderEpochRequest,
        _ context: RequestContext
    ) async -> OffsetForLeaderEpochResponse? {
        var response = OffsetForLeaderEpochResponse()
        let image = broker.image
        for topic in request.topics {
            var answer = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult()
            answer.topic = topic.topic
            for asked in topic.partitions {
                var entry = OffsetForLeaderEpochResponse.EpochEndOffset()
                entry.partition = asked.partition
                if let partition = image.topic(topic.topic)?.partitions[checked: asked.partition] {
                    let found = await broker.shard(of: partition).endOffset(
                        of: TopicPartition(topic: topic.topic, partition: asked.partition),
                        epoch: asked.leaderEpoch,
                        clientEpoch: asked.currentLeaderEpoch
                    )
                    entry.errorCode = found.error.rawValue
                    entry.leaderEpoch = found.epoch
                    entry.endOffset = found.endOffset
                } else {
                    entry.errorCode = ErrorCode.unknownTopicOrPartition.rawValue
                }
                answer.partitions.append(entry)
            }
            response.topics.append(answer)
        }
        return response
    }
}

/// DeleteRecords: moves the start of a partition's log.
struct DeleteRecordsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...2
    let broker: BrokerServices

    func handle(
        _ request: DeleteRecordsRequest,
        _ context: RequestContext
    ) async -> DeleteRecordsResponse? {
        var response = DeleteRecordsResponse()
        let image = broker.image
        for topic in request.topics {
            var answer = DeleteRecordsResponse.DeleteRecordsTopicResult()
            answer.name = topic.name
            for asked in topic.partitions {
                var entry = DeleteRecordsResponse.DeleteRecordsPartitionResult()
                entry.partitionIndex = asked.partitionIndex
                entry.lowWatermark = -1
                let found = image.topic(topic.name)
                if found?.isInternal == true {
                    entry.errorCode = ErrorCode.invalidTopicException.rawValue
                } else if let partition = found?.partitions[checked: asked.partitionIndex] {
                    let done = await broker.shard(of: partition).deleteRecords(
                        of: TopicPartition(topic: topic.name, partition: asked.partitionIndex),
                        before: asked.offset
                    )
                    entry.lowWatermark = done.lowWatermark
                    entry.errorCode = done.error.rawValue
                } else {
                    entry.errorCode = ErrorCode.unknownTopicOrPartition.rawValue
                }
                answer.partitions.append(entry)
            }
            response.topics.append(answer)
        }
        return response
    }
}

extension RandomAccessCollection where Index == Int {
    /// The element at an index that came over the network; `nil` when there is none.
    subscript(checked index: Int32) -> Element? {
        index >= 0 && Int(index) < count ? self[Int(index)] : nil
    }
}
