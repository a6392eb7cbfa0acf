import Bytes
package import KafkaMessages
import KafkaProtocol

extension GroupCoordinatorShard {
    // MARK: SyncGroup

    package func sync(
        _ request: SyncGroupRequest,
        token: ReplyToken,
        now: Int64
    ) -> GroupEffects {
        var effects = GroupEffects()
        if let code = sync(request, token, now, &effects) {
            effects.replies.append((token, .sync(Self.syncFailure(code))))
        }
        return effects
    }

    private func sync(
        _ request: SyncGroupRequest,
        _ token: ReplyToken,
        _ now: Int64,
        _ effects: inout GroupEffects
    ) -> ErrorCode? {
        guard !request.groupId.isEmpty else { return .invalidGroupId }
        guard let group = group(request.groupId) else { return .unknownMemberId }
        let id = request.memberId
        if let code = fence(group, memberID: id, instance: request.groupInstanceId) { return code }
        guard group.member(id) != nil else { return .unknownMemberId }
        guard request.generationId == group.generation else { return .illegalGeneration }
        if let type = request.protocolType, type != group.protocolType {
            return .inconsistentGroupProtocol
        }
        if let name = request.protocolName, name != group.protocolName {
            return .inconsistentGroupProtocol
        }
        group.update(id) { $0.sessionDeadline = now + $0.sessionTimeout }
        switch group.state {
        case .empty, .dead: return .unknownMemberId
        case .preparingRebalance: return .rebalanceInProgress
        case .stable:
            effects.replies.append((token, .sync(assignment(of: id, in: group))))
        case .completingRebalance:
            group.update(id) { member in
                if let old = member.awaitingSync {
                    effects.replies.append((old, .sync(Self.syncFailure(.rebalanceInProgress))))
                }
                member.awaitingSync = token
                member.hasSynced = true
            }
            if group.leader == id && group.assignmentWrite == nil {
                writeAssignment(request.assignments, group, &effects)
            }
        }
        return nil
    }

    private func writeAssignment(
        _ given: [SyncGroupRequest.SyncGroupRequestAssignment],
        _ group: Group,
        _ effects: inout GroupEffects
    ) {
        var assignments: [String: ByteSlice] = [:]
        for entry in given { assignments[entry.memberId] = entry.assignment.copied() }
        let generation = group.generation
        let record = GroupRecords.group(group, assignments: assignments)
        let id = write([record], &effects) { [unowned self] code, effects, now in
            guard group.state == .completingRebalance, group.generation == generation else {
                return
            }
            group.assignmentWrite = nil
            guard code == .none else {
                failSyncs(of: group, code, now, &effects)
                prepareRebalance(group, now, &effects)
                return
            }
            transition(group, to: .stable)
            if group.members.allSatisfy(\.hasSynced) { group.syncDeadline = nil }
            for member in group.members {
                group.update(member.id) {
                    $0.assignment = assignments[member.id] ?? ByteSlice()
                    $0.awaitingSync = nil
                    $0.sessionDeadline = now + $0.sessionTimeout
                }
                guard let token = member.awaitingSync else { continue }
                effects.replies.append((token, .sync(assignment(of: member.id, in: group))))
            }
        }
        group.assignmentWrite = id
    }

    private func assignment(of id: String, in group: Group) -> SyncGroupResponse {
        group.update(id) { $0.hasSynced = true }
        if group.members.allSatisfy(\.hasSynced) { group.syncDeadline = nil }
        var response = SyncGroupResponse()
        response.protocolType = group.protocolType
        response.protocolName = group.protocolName
        response.assignment = group.member(id)?.assignment ?? ByteSlice()
        return response
    }

    // MARK: Heartbeat

    package func heartbeat(
        _ request: HeartbeatRequest,
        token: ReplyToken,
        now: Int64
    ) -> GroupEffects {
        var effects = GroupEffects()
        var response = HeartbeatResponse()
        response.errorCode = heartbeat(request, now).rawValue
        effects.replies.append((token, .heartbeat(response)))
        return effects
    }

    private func heartbeat(_ request: HeartbeatRequest, _ now: Int64) -> ErrorCode {
        guard !request.groupId.isEmpty else { return .invalidGroupId }
        guard let group = group(request.groupId) else { return .unknownMemberId }
        if let code = fence(group, memberID: request.memberId, instance: request.groupInstanceId) {
            return code
        }
        guard group.member(request.memberId) != nil else { return .unknownMemberId }
        guard request.generationId == group.generation else { return .illegalGeneration }
        group.update(request.memberId) { $0.sessionDeadline = now + $0.sessionTimeout }
        switch group.state {
        case .preparingRebalance: return .rebalanceInProgress
        case .completingRebalance, .stable: return .none
        case .empty, .dead: return .unknownMemberId
        }
    }

    // MARK: LeaveGroup

    package func leave(
        _ request: LeaveGroupRequest,
        version: Int16,
        token: ReplyToken,
        now: Int64
    ) -> GroupEffects {
        var effects = GroupEffects()
        var response = LeaveGroupResponse()
        if request.groupId.isEmpty {
            response.errorCode = ErrorCode.invalidGroupId.rawValue
        } else if version < 3 {
            response.errorCode =
                leave(request.groupId, request.memberId, nil, now, &effects).rawValue
        } else {
            for member in request.members {
                var answer = LeaveGroupResponse.MemberResponse()
                answer.memberId = member.memberId
                answer.groupInstanceId = member.groupInstanceId
                answer.errorCode =
                    leave(
                        request.groupId,
                        member.memberId,
                        member.groupInstanceId,
                        now,
                        &effects
                    ).rawValue
                response.members.append(answer)
            }
        }
        effects.replies.append((token, .leave(response)))
        return effects
    }

    private func leave(
        _ groupID: String,
        _ memberID: String,
        _ instance: String?,
        _ now: Int64,
        _ effects: inout GroupEffects
    ) -> ErrorCode {
        guard let group = group(groupID) else { return .unknownMemberId }
        if group.isPending(memberID) {
            group.removePending(memberID)
            tryCompleteJoin(group, now, &effects)
            removeIfVoid(group)
            return .none
        }
        var id = memberID
        if let instance {
            guard let member = group.member(instance: instance) else { return .unknownMemberId }
            // An administrator names the instance alone.
            guard memberID.isEmpty || memberID == member.id else { return .fencedInstanceId }
            id = member.id
        }
        guard group.member(id) != nil else { return .unknownMemberId }
        removeMember(id, from: group, now, &effects)
        return .none
    }

    func removeMember(
        _ id: String,
        from group: Group,
        _ now: Int64,
        _ effects: inout GroupEffects
    ) {
        guard let member = group.remove(id) else { return }
        if let token = member.awaitingJoin {
            effects.replies.append((token, .join(Self.joinFailure(.unknownMemberId, memberID: id))))
        }
        if let token = member.awaitingSync {
            effects.replies.append((token, .sync(Self.syncFailure(.unknownMemberId))))
        }
        switch group.state {
        case .stable, .completingRebalance: prepareRebalance(group, now, &effects)
        case .preparingRebalance: tryCompleteJoin(group, now, &effects)
        case .empty, .dead: break
        }
    }

    // MARK: Time

    /// Ends what has taken too long, once ``nextDeadline`` has come.
    package func expire(now: Int64) -> GroupEffects {
        var effects = GroupEffects()
        guard earliest.time <= now else { return effects }
        earliest.reset()
        for group in groups.values.sorted(by: { $0.id < $1.id }) {
            defer { group.noteDeadlines() }
            if group.removePending(dueAt: now) {
                tryCompleteJoin(group, now, &effects)
                removeIfVoid(group)
            }
            for member in group.members where member.isWatched && member.sessionDeadline <= now {
                removeMember(member.id, from: group, now, &effects)
            }
            if let deadline = group.joinDeadline, deadline <= now {
                joinDeadlinePassed(group, now, &effects)
            }
            if let deadline = group.syncDeadline, deadline <= now {
                group.syncDeadline = nil
                for member in group.members where !member.hasSynced {
                    removeMember(member.id, from: group, now, &effects)
                }
            }
        }
        return effects
    }
}
