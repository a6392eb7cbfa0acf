package import KafkaMessages
package import KafkaProtocol

extension GroupCoordinatorShard {
    // MARK: OffsetCommit

    /// Commits offsets, but for those in `refused`, for the reason given there.
    package func commitOffsets(
        _ request: OffsetCommitRequest,
        refused: [TopicPartition: ErrorCode] = [:],
        token: ReplyToken,
        now: Int64
    ) -> GroupEffects {
        var effects = GroupEffects()
        if let code = checkCommit(request, now) {
            effects.replies.append(
                (token, .offsetCommit(Self.commitResponse(request) { _, _ in code }))
            )
            return effects
        }
        let commitTimestamp = wallMilliseconds()
        var refused = refused
        var records: [CoordinatorRecord] = []
        for topic in request.topics {
            for partition in topic.partitions {
                let id = TopicPartition(topic: topic.name, partition: partition.partitionIndex)
                guard refused[id] == nil else { continue }
                let metadata = partition.committedMetadata ?? ""
                let limit = min(settings.offsetMetadataMaxBytes, GroupRecords.maxNameBytes)
                guard metadata.utf8.count <= limit else {
                    refused[id] = .offsetMetadataTooLarge
                    continue
                }
                let offset = CommittedOffset(
                    offset: partition.committedOffset,
                    leaderEpoch: partition.committedLeaderEpoch,
                    metadata: metadata,
                    commitTimestamp: commitTimestamp
                )
                records.append(
                    GroupRecords.offset(
                        group: request.groupId,
                        topic: topic.name,
                        partition: partition.partitionIndex,
                        offset
                    )
                )
            }
        }
        let problems = refused
        let respond = { (code: ErrorCode) in
            GroupReply.offsetCommit(
                Self.commitResponse(request) { topic, partition in
                    problems[TopicPartition(topic: topic, partition: partition)] ?? code
                }
            )
        }
        guard !records.isEmpty else {
            effects.replies.append((token, respond(.none)))
            return effects
        }
        _ = write(records, &effects) { code, effects, _ in
            effects.replies.append((token, respond(code)))
        }
        return effects
    }

    private func checkCommit(_ request: OffsetCommitRequest, _ now: Int64) -> ErrorCode? {
        let generation = request.generationIdOrMemberEpoch
        guard let group = group(request.groupId) else {
            guard generation < 0 else { return .illegalGeneration }
            guard Self.isValid(groupID: request.groupId) else { return .invalidGroupId }
            // The group comes into being with the record.
            return groups.count < settings.maxGroups ? nil : .coordinatorNotAvailable
        }
        // A consumer that assigns its own partitions commits to a group without members.
        if generation < 0 && group.state == .empty { return nil }
        if let code = fence(group, memberID: request.memberId, instance: request.groupInstanceId) {
            return code
        }
        guard group.member(request.memberId) != nil else { return .unknownMemberId }
        guard generation == group.generation else { return .illegalGeneration }
        group.update(request.memberId) { $0.sessionDeadline = now + $0.sessionTimeout }
        return group.state == .completingRebalance ? .rebalanceInProgress : nil
    }

    private static func commitResponse(
        _ request: OffsetCommitRequest,
        _ code: (String, Int32) -> ErrorCode
    ) -> OffsetCommitResponse {
        var response = OffsetCommitResponse()
        response.topics = request.topics.map { topic in
            var answer = OffsetCommitResponse.OffsetCommitResponseTopic()
            answer.name = topic.name
            answer.partitions = topic.partitions.map { partition in
                var entry = OffsetCommitResponse.OffsetCommitResponsePartition()
                entry.partitionIndex = partition.partitionIndex
                entry.errorCode = code(topic.name, partition.partitionIndex).rawValue
                return entry
            }
            return answer
        }
        return response
    }

    // MARK: OffsetFetch

    /// A committed offset; `nil` when there is none.
    package func committedOffset(
        group id: String,
        topic: String,
        partition: Int32
    ) -> CommittedOffset? {
        group(id)?.offsets[topic]?[partition]
    }

    /// All committed offsets of a group, sorted.
    package func committedOffsets(
        group id: String
    ) -> [(topic: String, partitions: [(partition: Int32, offset: CommittedOffset)])] {
        guard let group = group(id) else { return [] }
        return group.offsets.sorted { $0.key < $1.key }.map { topic, partitions in
            (topic, partitions.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        }
    }

    // MARK: OffsetDelete

    package func deleteOffsets(
        _ request: OffsetDeleteRequest,
        token: ReplyToken,
        now: Int64
    ) -> GroupEffects {
        var effects = GroupEffects()
        var response = OffsetDeleteResponse()
        guard let group = group(request.groupId) else {
            response.errorCode = ErrorCode.groupIdNotFound.rawValue
            effects.replies.append((token, .offsetDelete(response)))
            return effects
        }
        let subscribed = subscribedTopics(of: group)
        guard group.isEmpty || subscribed != nil else {
            response.errorCode = ErrorCode.nonEmptyGroup.rawValue
            effects.replies.append((token, .offsetDelete(response)))
            return effects
        }
        var records: [CoordinatorRecord] = []
        for topic in request.topics {
            var answer = OffsetDeleteResponse.OffsetDeleteResponseTopic()
            answer.name = topic.name
            let isSubscribed = subscribed?.contains(topic.name) == true
            for partition in topic.partitions {
                var entry = OffsetDeleteResponse.OffsetDeleteResponsePartition()
                entry.partitionIndex = partition.partitionIndex
                if isSubscribed {
                    entry.errorCode = ErrorCode.groupSubscribedToTopic.rawValue
                } else if group.offsets[topic.name]?[partition.partitionIndex] != nil {
                    records.append(
                        GroupRecords.offset(
                            group: group.id,
                            topic: topic.name,
                            partition: partition.partitionIndex,
                            nil
                        )
                    )
                }
                answer.partitions.append(entry)
            }
            response.topics.append(answer)
        }
        guard !records.isEmpty else {
            effects.replies.append((token, .offsetDelete(response)))
            return effects
        }
        let success = response
        _ = write(records, &effects) { code, effects, _ in
            var answer = success
            if code != .none {
                answer.errorCode = code.rawValue
                answer.topics = []
            }
            effects.replies.append((token, .offsetDelete(answer)))
        }
        return effects
    }

    /// The topics the members of a group of consumers subscribe to; `nil` when that is not known.
    private func subscribedTopics(of group: Group) -> Set<String>? {
        if group.isEmpty { return [] }
        guard group.protocolType == "consumer", let name = group.protocolName else { return nil }
        var topics: Set<String> = []
        for member in group.members {
            guard let own = ConsumerSubscription(member.metadata(of: name)).topics else {
                return nil
            }
            topics.formUnion(own)
        }
        return topics
    }
}
