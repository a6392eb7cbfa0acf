import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Testing

/// What a client says when it joins.
struct Joiner {
    var group = "g"
    var id = ""
    var instance: String?
    var type = "consumer"
    var protocols: [(String, String)] = [("range", "r")]
    var session: Int32 = 10_000
    var rebalance: Int32 = 60_000
    var client = "c"
    /// Before version 4 a member need not come back with its id.
    var version: Int16 = 3
}

/// A member of a stable group.
struct Member {
    let id: String
    let generation: Int32
    var instance: String?
}

extension Coordinator {
    @discardableResult
    func join(_ joiner: Joiner) -> ReplyToken {
        var request = JoinGroupRequest()
        request.groupId = joiner.group
        request.memberId = joiner.id
        request.groupInstanceId = joiner.instance
        request.protocolType = joiner.type
        request.sessionTimeoutMs = joiner.session
        request.rebalanceTimeoutMs = joiner.rebalance
        request.protocols = joiner.protocols.map { name, metadata in
            var entry = JoinGroupRequest.JoinGroupRequestProtocol()
            entry.name = name
            entry.metadata = ByteSlice(metadata)
            return entry
        }
        let client = GroupClient(clientID: joiner.client, host: "/host", version: joiner.version)
        return perform { $0.join(request, client, token: $1, now: now) }
    }

    @discardableResult
    func sync(
        _ id: String,
        generation: Int32,
        group: String = "g",
        instance: String? = nil,
        type: String? = nil,
        protocol name: String? = nil,
        assigning assignments: [String: String] = [:]
    ) -> ReplyToken {
        var request = SyncGroupRequest()
        request.groupId = group
        request.memberId = id
        request.generationId = generation
        request.groupInstanceId = instance
        request.protocolType = type
        request.protocolName = name
        request.assignments = assignments.sorted { $0.key < $1.key }.map { id, text in
            var entry = SyncGroupRequest.SyncGroupRequestAssignment()
            entry.memberId = id
            entry.assignment = ByteSlice(text)
            return entry
        }
        return perform { $0.sync(request, token: $1, now: now) }
    }

    @discardableResult
    func heartbeat(
        _ id: String,
        generation: Int32,
        group: String = "g",
        instance: String? = nil
    ) -> ErrorCode? {
        var request = HeartbeatRequest()
        request.groupId = group
        request.memberId = id
        request.generationId = generation
        request.groupInstanceId = instance
        let token = perform { $0.heartbeat(request, token: $1, now: now) }
        guard case .heartbeat(let response)? = try? reply(token, #_sourceLocation) else {
            return nil
        }
        return ErrorCode(rawValue: response.errorCode)
    }

    @discardableResult
    func leave(_ id: String, group: String = "g", instance: String? = nil) -> ErrorCode? {
        var request = LeaveGroupRequest()
        request.groupId = group
        var member = LeaveGroupRequest.MemberIdentity()
        member.memberId = id
        member.groupInstanceId = instance
        request.members = [member]
        let token = perform { $0.leave(request, version: 5, token: $1, now: now) }
        guard case .leave(let response)? = try? reply(token, #_sourceLocation) else { return nil }
        return ErrorCode(rawValue: response.members.first?.errorCode ?? response.errorCode)
    }

    /// Asks for a commit; the codes come once it is written.
    @discardableResult
    func askToCommit(
        _ offsets: [(topic: String, partition: Int32, offset: Int64)],
        group: String = "g",
        member id: String = "",
        generation: Int32 = -1,
        instance: String? = nil,
        metadata: String = "",
        refused: [TopicPartition: ErrorCode] = [:]
    ) -> ReplyToken {
        var request = OffsetCommitRequest()
        request.groupId = group
        request.memberId = id
        request.generationIdOrMemberEpoch = generation
        request.groupInstanceId = instance
        request.topics = offsets.map { topic, index, offset in
            var partition = OffsetCommitRequest.OffsetCommitRequestPartition()
            partition.partitionIndex = index
            partition.committedOffset = offset
            partition.committedLeaderEpoch = 7
            partition.committedMetadata = metadata
            var entry = OffsetCommitRequest.OffsetCommitRequestTopic()
            entry.name = topic
            entry.partitions = [partition]
            return entry
        }
        return perform {
            $0.commitOffsets(
                request,
                refused: refused,
                token: $1,
                now: now
            )
        }
    }

    func commitCodes(
        _ token: ReplyToken,
        _ place: SourceLocation = #_sourceLocation
    ) throws -> [ErrorCode?] {
        guard case .offsetCommit(let response) = try reply(token, place) else {
            throw WrongReply()
        }
        return response.topics.flatMap(\.partitions).map { ErrorCode(rawValue: $0.errorCode) }
    }

    @discardableResult
    func delete(_ group: String = "g") -> ReplyToken {
        perform { $0.delete(group, token: $1, now: now) }
    }

    func deleted(
        _ token: ReplyToken,
        _ place: SourceLocation = #_sourceLocation
    ) throws -> ErrorCode? {
        guard case .delete(let code) = try reply(token, place) else { throw WrongReply() }
        return ErrorCode(rawValue: code)
    }

    func offset(_ topic: String, _ partition: Int32 = 0, group: String = "g") -> Int64? {
        shard.committedOffset(group: group, topic: topic, partition: partition)?.offset
    }

    func state(_ group: String = "g") -> String { shard.describe(group).groupState }

    func memberIDs(_ group: String = "g") -> [String] {
        shard.describe(group).members.map(\.memberId)
    }

    // MARK: Whole phases

    /// The members join together and sync; the first leads.
    func formGroup(_ joiners: [Joiner]) throws -> [Member] {
        let group = joiners[0].group
        // The first one's join is over at once; the others bring it back.
        var tokens = [join(joiners[0])]
        let first = try joined(tokens[0])
        for joiner in joiners.dropFirst() { tokens.append(join(joiner)) }
        if joiners.count > 1 {
            var again = joiners[0]
            again.id = first.memberId
            tokens[0] = join(again)
        }
        var members: [Member] = []
        for (token, joiner) in zip(tokens, joiners) {
            let response = try joined(token)
            #expect(response.code == ErrorCode.none)
            members.append(
                Member(
                    id: response.memberId,
                    generation: response.generationId,
                    instance: joiner.instance
                )
            )
        }
        try syncAll(members, group: group)
        return members
    }

    func syncAll(_ members: [Member], group: String = "g") throws {
        let assignments = Dictionary(uniqueKeysWithValues: members.map { ($0.id, "of " + $0.id) })
        let leader = try joinedLeader(group, members)
        let tokens = members.map { member in
            sync(
                member.id,
                generation: member.generation,
                group: group,
                instance: member.instance,
                assigning: member.id == leader ? assignments : [:]
            )
        }
        for (token, member) in zip(tokens, members) {
            #expect(try synced(token).text == "of " + member.id)
        }
        #expect(state(group) == "Stable")
    }

    private func joinedLeader(_ group: String, _ members: [Member]) throws -> String {
        try #require(members.first).id
    }
}
