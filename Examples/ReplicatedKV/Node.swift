import Bytes
import Raft
import RaftRuntime
import RaftTransport

/// One of the three nodes: a host with a log on the disk, and its replica of the one group.
final class Node: Sendable {
    static let group: UInt64 = 1

    let id: ReplicaID
    let host: RaftHost
    let store: RaftGroup<KeyValueStore>

    private init(_ host: RaftHost, _ store: RaftGroup<KeyValueStore>) {
        id = host.node
        self.host = host
        self.store = store
    }

    /// Opens the node's directory; on the very first start it makes the group there.
    static func start(
        _ id: ReplicaID,
        in folder: String,
        voters: [ReplicaID],
        on threads: RaftThreads
    ) async throws -> Node {
        let configuration = RaftHostConfiguration(
            cluster: "replicated-kv",
            node: id,
            directory: "\(folder)/node-\(id)",
            network: FramedNetwork(listen: "127.0.0.1:0")
        )
        let host = try await RaftHost.open(configuration, on: threads)
        let isKnown = await host.dormantGroups.contains(group)
        let store =
            isKnown
            ? try await host.openGroup(group) { KeyValueStore() }
            : try await host.createGroup(group, voters: voters) { KeyValueStore() }
        return Node(host, store)
    }

    /// A linearizable read, which every replica can serve.
    func get(_ key: String) async throws -> String? {
        try await store.read { $0.values[key] }
    }
}
