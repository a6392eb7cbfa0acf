import Coordinators
import KafkaMessages
import KafkaProtocol

/// JoinGroup: answers when the rebalance is over.
struct JoinGroupHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...9
    let broker: BrokerServices

    func handle(_ request: JoinGroupRequest, _ context: RequestContext) async -> JoinGroupResponse?
    {
        let client = GroupClient(
            clientID: context.clientID,
            host: "/" + context.client.host,
            version: context.apiVersion
        )
        let reply = await broker.groups.request(group: request.groupId) { coordinator, token, now in
            coordinator.join(request, client, token: token, now: now)
        }
        if case .join(let response) = reply { return response }
        var response = JoinGroupResponse()
        response.errorCode = await broker.groups.refusal(group: request.groupId).rawValue
        response.memberId = request.memberId
        response.protocolName = ""
        return response
    }
}

/// SyncGroup: gives each member its part of the leader's assignment.
struct SyncGroupHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...5
    let broker: BrokerServices

    func handle(_ request: SyncGroupRequest, _ context: RequestContext) async -> SyncGroupResponse?
    {
        let reply = await broker.groups.request(group: request.groupId) { coordinator, token, now in
            coordinator.sync(request, token: token, now: now)
        }
        if case .sync(let response) = reply { return response }
        var response = SyncGroupResponse()
        response.errorCode = await broker.groups.refusal(group: request.groupId).rawValue
        return response
    }
}

/// Heartbeat: a member's sign of life, and how it learns of a rebalance.
struct HeartbeatHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...4
    let broker: BrokerServices

    func handle(_ request: HeartbeatRequest, _ context: RequestContext) async -> HeartbeatResponse?
    {
        let reply = await broker.groups.request(group: request.groupId) { coordinator, token, now in
            coordinator.heartbeat(request, token: token, now: now)
        }
        if case .heartbeat(let response) = reply { return response }
        var response = HeartbeatResponse()
        response.errorCode = await broker.groups.refusal(group: request.groupId).rawValue
        return response
    }
}

/// LeaveGroup: one member, or from version 3 several.
struct LeaveGroupHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...5
    let broker: BrokerServices

    func handle(
        _ request: LeaveGroupRequest,
        _ context: RequestContext
    ) async -> LeaveGroupResponse? {
        let version = context.apiVersion
        let reply = await broker.groups.request(group: request.groupId) { coordinator, token, now in
            coordinator.leave(request, version: version, token: token, now: now)
        }
        if case .leave(let response) = reply { return response }
        var response = LeaveGroupResponse()
        response.errorCode = await broker.groups.refusal(group: request.groupId).rawValue
        return response
    }
}
