import Bytes
package import KafkaMessages
import KafkaProtocol

/// Who sends a request to the coordinator.
package struct GroupClient: Sendable {
    package let clientID: String
    package let host: String
    package let version: Int16

    package init(clientID: String, host: String, version: Int16) {
        self.clientID = clientID
        self.host = host
        self.version = version
    }
}

/// A JoinGroup on its way.
private struct Joining {
    let request: JoinGroupRequest
    let client: GroupClient
    let token: ReplyToken
    let now: Int64
    let protocols: [(name: String, metadata: ByteSlice)]

    /// Version 0 knew only the session timeout.
    var rebalanceTimeout: Int64 {
        request.rebalanceTimeoutMs < 0
            ? Int64(request.sessionTimeoutMs) : Int64(request.rebalanceTimeoutMs)
    }

    var hasStorableNames: Bool {
        let limit = GroupRecords.maxNameBytes
        return client.clientID.utf8.count <= limit && request.protocolType.utf8.count <= limit
            && request.groupInstanceId?.utf8.count ?? 0 <= limit
            && protocols.allSatisfy { $0.name.utf8.count <= limit }
    }

    func member(_ id: String) -> GroupMember {
        GroupMember(
            id: id,
            instanceID: request.groupInstanceId,
            clientID: client.clientID,
            clientHost: client.host,
            sessionTimeout: Int64(request.sessionTimeoutMs),
            rebalanceTimeout: rebalanceTimeout,
            protocols: protocols,
            awaitingJoin: token,
            sessionDeadline: now + Int64(request.sessionTimeoutMs)
        )
    }
}

extension GroupCoordinatorShard {
    // MARK: JoinGroup

    package func join(
        _ request: JoinGroupRequest,
        _ client: GroupClient,
        token: ReplyToken,
        now: Int64
    ) -> GroupEffects {
        var effects = GroupEffects()
        let joining = Joining(
            request: request,
            client: client,
            token: token,
            now: now,
            protocols: request.protocols.map { ($0.name, $0.metadata.copied()) }
        )
        if let code = join(joining, &effects) {
            effects.replies.append(
                (token, .join(Self.joinFailure(code, memberID: request.memberId)))
            )
        }
        return effects
    }

    /// Returns why the member may not join; `nil` when it was or will be replied to.
    private func join(_ joining: Joining, _ effects: inout GroupEffects) -> ErrorCode? {
        let request = joining.request
        guard Self.isValid(groupID: request.groupId) else { return .invalidGroupId }
        guard joining.hasStorableNames else { return .invalidRequest }
        let session = Int64(request.sessionTimeoutMs)
        guard session >= settings.minSessionTimeout, session <= settings.maxSessionTimeout else {
            return .invalidSessionTimeout
        }
        guard let group = group(request.groupId) else {
            guard request.memberId.isEmpty else { return .unknownMemberId }
            guard groups.count < settings.maxGroups else { return .coordinatorNotAvailable }
            guard !request.protocolType.isEmpty, !joining.protocols.isEmpty else {
                return .inconsistentGroupProtocol
            }
            return joinUnknown(joining, makeGroup(request.groupId), &effects)
        }
        guard group.supports(type: request.protocolType, protocols: joining.protocols) else {
            return .inconsistentGroupProtocol
        }
        return request.memberId.isEmpty
            ? joinUnknown(joining, group, &effects) : joinKnown(joining, group, &effects)
    }

    private func isFull(_ group: Group) -> Bool {
        group.members.count + group.pendingMembers.count >= settings.maxGroupSize
    }

    /// A member without an id: a new one, or a static one that has restarted.
    private func joinUnknown(
        _ joining: Joining,
        _ group: Group,
        _ effects: inout GroupEffects
    ) -> ErrorCode? {
        let request = joining.request
        if let instance = request.groupInstanceId {
            let id = memberID(prefix: instance)
            if let old = group.member(instance: instance) {
                rejoinStatic(joining, group, old: old, id: id, &effects)
                return nil
            }
            guard !isFull(group) else { return .groupMaxSizeReached }
            addMember(joining, group, id: id, &effects)
            return nil
        }
        guard !isFull(group) else { return .groupMaxSizeReached }
        let id = memberID(prefix: joining.client.clientID)
        guard joining.client.version >= 4 else {
            addMember(joining, group, id: id, &effects)
            return nil
        }
        group.addPending(id, until: joining.now + Int64(request.sessionTimeoutMs))
        effects.replies.append(
            (joining.token, .join(Self.joinFailure(.memberIdRequired, memberID: id)))
        )
        return nil
    }

    /// A member with an id.
    private func joinKnown(
        _ joining: Joining,
        _ group: Group,
        _ effects: inout GroupEffects
    ) -> ErrorCode? {
        let request = joining.request
        let id = request.memberId
        if group.isPending(id) {
            guard request.groupInstanceId == nil else { return .unknownMemberId }
            group.removePending(id)
            addMember(joining, group, id: id, &effects)
            return nil
        }
        if let code = fence(group, memberID: id, instance: request.groupInstanceId) { return code }
        guard let member = group.member(id) else { return .unknownMemberId }
        switch group.state {
        case .preparingRebalance:
            updateMember(joining, group, &effects)
            tryCompleteJoin(group, joining.now, &effects)
        case .completingRebalance:
            if member.hasSameProtocols(as: joining.protocols) {
                // Its reply got lost.
                reply(joining.token, with: group, member: id, &effects)
            } else {
                updateMember(joining, group, &effects)
                prepareRebalance(group, joining.now, &effects)
            }
        case .stable:
            if group.leader == id || !member.hasSameProtocols(as: joining.protocols) {
                updateMember(joining, group, &effects)
                prepareRebalance(group, joining.now, &effects)
            } else {
                reply(joining.token, with: group, member: id, &effects)
            }
        case .empty, .dead: return .unknownMemberId
        }
        return nil
    }

    /// A static member's instance id belongs to one member at a time (KIP-345).
    func fence(_ group: Group, memberID: String, instance: String?) -> ErrorCode? {
        guard let instance else { return nil }
        guard let owner = group.member(instance: instance) else { return .unknownMemberId }
        return owner.id == memberID ? nil : .fencedInstanceId
    }

    private func addMember(
        _ joining: Joining,
        _ group: Group,
        id: String,
        _ effects: inout GroupEffects
    ) {
        if group.isEmpty { group.protocolType = joining.request.protocolType }
        group.add(joining.member(id))
        group.hasNewMember = true
        if group.state == .preparingRebalance {
            tryCompleteJoin(group, joining.now, &effects)
        } else {
            prepareRebalance(group, joining.now, &effects)
        }
    }

    private func updateMember(
        _ joining: Joining,
        _ group: Group,
        _ effects: inout GroupEffects
    ) {
        group.update(joining.request.memberId) { member in
            if let old = member.awaitingJoin, old != joining.token {
                effects.replies.append(
                    (old, .join(Self.joinFailure(.rebalanceInProgress, memberID: member.id)))
                )
            }
            member.protocols = joining.protocols
            member.sessionTimeout = Int64(joining.request.sessionTimeoutMs)
            member.rebalanceTimeout = joining.rebalanceTimeout
            member.clientID = joining.client.clientID
            member.clientHost = joining.client.host
            member.awaitingJoin = joining.token
            member.sessionDeadline = joining.now + member.sessionTimeout
        }
    }

    /// A static member has restarted: it takes its old place, and a stable group is not disturbed.
    private func rejoinStatic(
        _ joining: Joining,
        _ group: Group,
        old: GroupMember,
        id: String,
        _ effects: inout GroupEffects
    ) {
        for token in [old.awaitingJoin].compactMap({ $0 }) {
            effects.replies.append(
                (token, .join(Self.joinFailure(.fencedInstanceId, memberID: old.id)))
            )
        }
        if let token = old.awaitingSync {
            effects.replies.append((token, .sync(Self.syncFailure(.fencedInstanceId))))
        }
        var member = joining.member(id)
        member.assignment = old.assignment
        let wasLeader = group.leader == old.id
        group.replace(old.id, with: member)
        let isUnchanged = old.hasSameProtocols(as: joining.protocols)
        guard group.state == .stable && isUnchanged else {
            if group.state == .preparingRebalance {
                tryCompleteJoin(group, joining.now, &effects)
            } else {
                prepareRebalance(group, joining.now, &effects)
            }
            return
        }
        group.update(id) {
            $0.awaitingJoin = nil
            $0.hasSynced = true
        }
        // The new id must be known after a restart before the member is told of it.
        let assignments = Dictionary(
            uniqueKeysWithValues: group.members.map { ($0.id, $0.assignment) }
        )
        let record = GroupRecords.group(group, assignments: assignments)
        let token = joining.token
        let knowsSkip = joining.client.version >= 9
        _ = write([record], &effects) { [unowned self] code, effects, _ in
            guard code == .none else {
                effects.replies.append((token, .join(Self.joinFailure(code, memberID: ""))))
                return
            }
            reply(
                token,
                with: group,
                member: id,
                &effects,
                namesLeader: wasLeader && knowsSkip,
                skipsAssignment: wasLeader && knowsSkip
            )
        }
    }

    /// Tells a member of the generation that is.
    private func reply(
        _ token: ReplyToken,
        with group: Group,
        member id: String,
        _ effects: inout GroupEffects,
        namesLeader: Bool? = nil,
        skipsAssignment: Bool = false
    ) {
        var response = JoinGroupResponse()
        response.generationId = group.generation
        response.protocolType = group.protocolType
        response.protocolName = group.protocolName ?? ""
        response.leader = group.leader ?? ""
        response.memberId = id
        response.skipAssignment = skipsAssignment
        if group.leader == id, namesLeader ?? true {
            response.members = group.members.map { member in
                var entry = JoinGroupResponse.JoinGroupResponseMember()
                entry.memberId = member.id
                entry.groupInstanceId = member.instanceID
                entry.metadata = member.metadata(of: group.protocolName ?? "")
                return entry
            }
        } else if group.leader == id, !skipsAssignment {
            // Before version 9 a restarted static leader would assign again: it is not told that
            // it leads, and fetches its old assignment.
            response.leader = ""
        }
        effects.replies.append((token, .join(response)))
    }

    // MARK: The rebalance

    func prepareRebalance(_ group: Group, _ now: Int64, _ effects: inout GroupEffects) {
        guard group.state != .preparingRebalance, group.state != .dead else { return }
        failSyncs(of: group, .rebalanceInProgress, now, &effects)
        group.assignmentWrite = nil
        group.syncDeadline = nil
        let wasEmpty = group.state == .empty
        transition(group, to: .preparingRebalance)
        if wasEmpty && settings.initialRebalanceDelay > 0 {
            let delay = settings.initialRebalanceDelay
            group.initialDelayLeft = max(0, group.longestRebalanceTimeout - delay)
            group.joinDeadline = now + delay
            group.hasNewMember = false
        } else {
            group.initialDelayLeft = nil
            group.joinDeadline = now + group.longestRebalanceTimeout
        }
        tryCompleteJoin(group, now, &effects)
    }

    func failSyncs(
        of group: Group,
        _ code: ErrorCode,
        _ now: Int64,
        _ effects: inout GroupEffects
    ) {
        group.updateAll { member in
            if let token = member.awaitingSync {
                effects.replies.append((token, .sync(Self.syncFailure(code))))
                // Its session may have ended while it waited for us.
                member.sessionDeadline = now + member.sessionTimeout
            }
            member.awaitingSync = nil
            member.hasSynced = false
        }
    }

    func tryCompleteJoin(_ group: Group, _ now: Int64, _ effects: inout GroupEffects) {
        guard group.state == .preparingRebalance, group.initialDelayLeft == nil, group.hasAllJoined
        else { return }
        completeJoin(group, now, &effects)
    }

    /// The time to join is up.
    func joinDeadlinePassed(_ group: Group, _ now: Int64, _ effects: inout GroupEffects) {
        if let left = group.initialDelayLeft {
            // Somebody came during the delay: wait a little for more.
            if group.hasNewMember && left > 0 {
                let extra = min(settings.initialRebalanceDelay, left)
                group.initialDelayLeft = left - extra
                group.hasNewMember = false
                group.joinDeadline = now + extra
                return
            }
            group.initialDelayLeft = nil
        }
        completeJoin(group, now, &effects)
    }

    private func completeJoin(_ group: Group, _ now: Int64, _ effects: inout GroupEffects) {
        for member in group.members where member.awaitingJoin == nil && member.instanceID == nil {
            group.remove(member.id)
        }
        if !group.isEmpty, !group.members.contains(where: { $0.awaitingJoin != nil }) {
            // Only static members, none of them back yet: they have their session to come.
            group.joinDeadline = now + group.longestRebalanceTimeout
            return
        }
        if let leader = group.leader, group.member(leader)?.awaitingJoin == nil {
            group.leader = group.members.first { $0.awaitingJoin != nil }?.id
        }
        group.joinDeadline = nil
        group.initialDelayLeft = nil
        group.generation = group.generation == Int32.max ? 1 : group.generation + 1
        guard !group.isEmpty else {
            group.protocolName = nil
            group.leader = nil
            transition(group, to: .empty)
            let record = GroupRecords.group(group, assignments: [:])
            _ = write([record], &effects) { _, _, _ in }
            return
        }
        group.protocolName = group.selectProtocol()
        transition(group, to: .completingRebalance)
        group.syncDeadline = now + group.longestRebalanceTimeout
        for member in group.members {
            guard let token = member.awaitingJoin else { continue }
            group.update(member.id) {
                $0.awaitingJoin = nil
                $0.hasSynced = false
                $0.sessionDeadline = now + $0.sessionTimeout
            }
            reply(token, with: group, member: member.id, &effects)
        }
    }
}
