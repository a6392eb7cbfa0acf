import ClusterMetadata
import Coordinators
import KafkaMessages
import KafkaProtocol
import Platform

/// FindCoordinator: makes `__consumer_offsets` when the first group asks.
struct FindCoordinatorHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...4
    private static let groupKey: Int8 = 0

    let broker: BrokerServices

    func handle(
        _ request: FindCoordinatorRequest,
        _ context: RequestContext
    ) async -> FindCoordinatorResponse? {
        var response = FindCoordinatorResponse()
        let problem = await problem(keyType: request.keyType)
        if context.apiVersion >= 4 {
            response.coordinators = request.coordinatorKeys.map { key in
                var entry = FindCoordinatorResponse.Coordinator()
                entry.key = key
                switch place(of: key, problem) {
                case .success(let place):
                    (entry.nodeId, entry.host, entry.port) = (place.id, place.host, place.port)
                case .failure(let problem):
                    entry.errorCode = problem.code.rawValue
                    entry.errorMessage = problem.message
                    (entry.nodeId, entry.port) = (-1, -1)
                }
                return entry
            }
            return response
        }
        switch place(of: request.key, problem) {
        case .success(let place):
            (response.nodeId, response.host, response.port) = (place.id, place.host, place.port)
        case .failure(let problem):
            response.errorCode = problem.code.rawValue
            response.errorMessage = problem.message
            (response.nodeId, response.port) = (-1, -1)
        }
        return response
    }

    private struct Place {
        let id: Int32
        let host: String
        let port: Int32
    }

    private func place(
        of group: String,
        _ problem: MetadataProblem?
    ) -> Result<Place, MetadataProblem> {
        if let problem { return .failure(problem) }
        guard let id = broker.groups.coordinator(of: group) else {
            return .failure(.init(.coordinatorNotAvailable, "the coordinator is being elected"))
        }
        if id == broker.nodeID {
            let (host, port) = (broker.advertised.host, Int32(broker.advertised.port))
            return .success(Place(id: id, host: host, port: port))
        }
        guard let other = broker.image.broker(id) else {
            return .failure(.init(.coordinatorNotAvailable, "the coordinator is not known"))
        }
        return .success(Place(id: id, host: other.host, port: Int32(other.port)))
    }

    private func problem(keyType: Int8) async -> MetadataProblem? {
        guard keyType == Self.groupKey else {
            return .init(.invalidRequest, "this broker coordinates consumer groups only")
        }
        let name = InternalTopic.consumerOffsets.rawValue
        if broker.image.topic(name) != nil { return nil }
        do {
            _ = try await TopicCreation(broker: broker).create(
                .init(
                    name: name,
                    partitions: broker.settings.offsetsPartitions,
                    configs: [
                        ("retention.bytes", "-1"), ("retention.ms", "-1"),
                        // What a snapshot stands for goes by whole segments.
                        ("segment.bytes", "16777216"),
                    ]
                )
            )
            return nil
        } catch {
            if error.code == .topicAlreadyExists {
                return .init(.coordinatorNotAvailable, "the coordinators are loading")
            }
            return .init(.coordinatorNotAvailable, error.message)
        }
    }
}

/// ListGroups: of every coordinator on this node.
struct ListGroupsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...5
    let broker: BrokerServices

    func handle(
        _ request: ListGroupsRequest,
        _ context: RequestContext
    ) async -> ListGroupsResponse? {
        var response = ListGroupsResponse()
        let states = Set(request.statesFilter.map { $0.lowercased() })
        let types = Set(request.typesFilter.map { $0.lowercased() })
        guard types.isEmpty || types.contains("classic") else { return response }
        for group in await broker.groups.readAll({ $0.list() }).joined()
        where states.isEmpty || states.contains(group.state.rawValue.lowercased()) {
            var entry = ListGroupsResponse.ListedGroup()
            entry.groupId = group.id
            entry.protocolType = group.protocolType
            entry.groupState = group.state.rawValue
            entry.groupType = "classic"
            response.groups.append(entry)
        }
        response.groups.sort { $0.groupId < $1.groupId }
        return response
    }
}

/// DescribeGroups: states and members.
struct DescribeGroupsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...5
    let broker: BrokerServices

    func handle(
        _ request: DescribeGroupsRequest,
        _ context: RequestContext
    ) async -> DescribeGroupsResponse? {
        var response = DescribeGroupsResponse()
        for id in request.groups {
            if let described = await broker.groups.read(group: id, { $0.describe(id) }) {
                response.groups.append(described)
            } else {
                var entry = DescribeGroupsResponse.DescribedGroup()
                entry.groupId = id
                entry.errorCode = await broker.groups.refusal(group: id).rawValue
                response.groups.append(entry)
            }
        }
        return response
    }
}

/// DeleteGroups: only groups without members.
struct DeleteGroupsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...2
    let broker: BrokerServices

    func handle(
        _ request: DeleteGroupsRequest,
        _ context: RequestContext
    ) async -> DeleteGroupsResponse? {
        var response = DeleteGroupsResponse()
        for id in request.groupsNames {
            let reply = await broker.groups.request(group: id) { coordinator, token, now in
                coordinator.delete(id, token: token, now: now)
            }
            var result = DeleteGroupsResponse.DeletableGroupResult()
            result.groupId = id
            if case .delete(let code) = reply {
                result.errorCode = code
            } else {
                result.errorCode = await broker.groups.refusal(group: id).rawValue
            }
            response.results.append(result)
        }
        return response
    }
}
