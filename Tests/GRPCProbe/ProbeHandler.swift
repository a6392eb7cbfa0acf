package import Bytes
package import Raft
package import RaftGRPC
package import RaftRuntime

/// What a probe does for those who call it.
package final class ProbeHandler: RaftServiceHandler {
    private let hosted: HostedReplicas
    private let id: UInt64
    private let members: [UInt64]
    private let groups: [ProbeGroup]

    package init(
        _ hosted: HostedReplicas,
        id: UInt64,
        members: [UInt64],
        groups: [ProbeGroup]
    ) {
        self.hosted = hosted
        self.id = id
        self.members = members
        self.groups = groups
    }

    package func admit(_ node: ReplicaID) async throws(RaftCallError) {
        guard members.contains(node.rawValue) else { throw .unknownNode(node.rawValue) }
    }

    package func group(at route: GroupRoute) async throws(RaftCallError) -> UInt64 {
        if route.topic.isEmpty {
            guard let group = route.group, groups.contains(where: { $0.group == group }) else {
                throw .raft(.unknownGroup(route.group ?? 0))
            }
            return group
        }
        let found = groups.first { $0.topic == route.topic && $0.partition == route.partition }
        guard let found else { throw .unknownPartition("\(route.topic)-\(route.partition)") }
        if let asked = route.group, asked != found.group {
            throw .staleGroup(asked: asked, current: found.group)
        }
        return found.group
    }

    package func term(of group: UInt64) async throws(RaftCallError) -> Term {
        try await hosted.term(of: group)
    }

    package func step(_ message: GroupMessage) async throws(RaftCallError) {
        try await hosted.step(message)
    }

    package func readIndex(of group: UInt64) async throws(RaftCallError) -> ReadIndexResponse {
        try await hosted.readIndex(of: group)
    }

    package func write(
        _ payload: ByteSlice,
        to group: UInt64
    ) async throws(RaftCallError) -> ForwardWriteResponse {
        try await hosted.write(payload, to: group)
    }

    package func metadata(
        _ request: QueryMetadataRequest
    ) async throws(RaftCallError) -> QueryMetadataResponse {
        var response = QueryMetadataResponse()
        response.clusterID = ProbeNode.cluster
        if request.consistency == .linearizable {
            response.index = try await readIndex(of: 0).index
        }
        response.brokers = members.map { member in
            var broker = BrokerState()
            broker.node = member
            broker.host = "node\(member)"
            broker.port = 9092
            broker.isAlive = member == id
            return broker
        }
        for name in Set(groups.map(\.topic)).sorted()
        where request.topics.isEmpty || request.topics.contains(name) {
            var topic = TopicState()
            topic.name = name
            topic.id = ByteSlice([UInt8](repeating: 7, count: 16))
            topic.partitions = groups.filter { $0.topic == name }.map { group in
                var partition = PartitionState()
                partition.partition = group.partition
                partition.group = group.group
                partition.leaderEpoch = -1
                partition.replicas = group.voters
                return partition
            }
            response.topics.append(topic)
        }
        return response
    }
}
