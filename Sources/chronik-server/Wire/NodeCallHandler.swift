import Broker
import Bytes
import ClusterMetadata
import KafkaProtocol
import Raft
import RaftGRPC
import RaftRuntime

/// What a node does for those who call its `RaftService`.
final class NodeCallHandler: RaftServiceHandler {
    private let node: ClusterNode
    private let replicas: HostedReplicas

    init(_ node: ClusterNode) {
        self.node = node
        replicas = HostedReplicas(node.managers) { [node] in node.place(of: $0) }
    }

    func admit(_ caller: ReplicaID) async throws(RaftCallError) {
        guard node.members.contains(caller) else { throw .unknownNode(caller.rawValue) }
    }

    func group(at route: GroupRoute) async throws(RaftCallError) -> UInt64 {
        if route.topic.isEmpty {
            guard let group = route.group else { throw .malformed("a route that leads nowhere") }
            return group
        }
        guard let group = currentGroup(route) else {
            throw .unknownPartition("\(route.topic)-\(route.partition)")
        }
        if let asked = route.group, asked != group {
            throw .staleGroup(asked: asked, current: group)
        }
        return group
    }

    private func currentGroup(_ route: GroupRoute) -> UInt64? {
        let metadata = ClusterNode.metadataPartition
        if route.topic == metadata.topic {
            return route.partition == metadata.partition ? 0 : nil
        }
        guard let topic = node.image.topic(route.topic), route.partition >= 0,
            Int(route.partition) < topic.partitions.count
        else { return nil }
        return topic.partitions[Int(route.partition)].groupID
    }

    func term(of group: UInt64) async throws(RaftCallError) -> Term {
        try await replicas.term(of: group)
    }

    func step(_ message: GroupMessage) async throws(RaftCallError) {
        try await replicas.step(message)
    }

    func readIndex(of group: UInt64) async throws(RaftCallError) -> ReadIndexResponse {
        try await replicas.readIndex(of: group)
    }

    func write(
        _ payload: ByteSlice,
        to group: UInt64
    ) async throws(RaftCallError) -> ForwardWriteResponse {
        let place = node.image.groups[group]
        let written: ClusterNode.Written
        do throws(MetadataProblem) {
            if group == 0 {
                written = try await node.decide(payload)
            } else if let place {
                written = try await node.append(payload, to: place)
            } else {
                throw MetadataProblem(.unknownTopicOrPartition, "no partition has group \(group)")
            }
        } catch {
            let leader: ReplicaID? =
                if let place { await node.group(of: place)?.leader } else { nil }
            throw RaftCallError(error, leader: leader)
        }
        var response = ForwardWriteResponse()
        response.index = written.index.rawValue
        response.term = written.term.rawValue
        response.answer = written.answer
        return response
    }

    func metadata(
        _ request: QueryMetadataRequest
    ) async throws(RaftCallError) -> QueryMetadataResponse {
        let view: ClusterNode.View
        switch request.consistency {
        case .local: view = await node.localView()
        case .linearizable:
            do throws(MetadataProblem) {
                view = try await node.linearizableView()
            } catch {
                throw RaftCallError(error, leader: nil)
            }
        }
        return QueryMetadataResponse(view, clusterID: node.clusterID, topics: request.topics)
    }
}
