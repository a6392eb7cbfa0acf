import Bytes
import Raft
import RaftRuntime

/// The nodes that are up, and what is asked of them.
final class Cluster {
    private let folder: String
    private let threads = RaftThreads(eventLoops: 2)
    private let members = [ReplicaID(1), ReplicaID(2), ReplicaID(3)]
    private(set) var nodes: [ReplicaID: Node] = [:]

    init(in folder: String) { self.folder = folder }

    var ids: [ReplicaID] { nodes.keys.sorted() }

    // MARK: Life

    func start() async throws { for id in members { try await start(id) } }

    func start(_ id: ReplicaID) async throws {
        nodes[id] = try await Node.start(id, in: folder, voters: members, on: threads)
        try introduce()
    }

    /// To the other nodes a host that closes is one that died.
    func kill(_ id: ReplicaID) async throws {
        guard let node = nodes.removeValue(forKey: id) else { return }
        try await node.host.close()
    }

    func stop() async throws { for id in ids { try await kill(id) } }

    private func introduce() throws {
        let addresses = nodes.compactMapValues(\.host.address)
        for node in nodes.values { try node.host.setPeers(addresses) }
    }

    // MARK: Requests

    /// The leader, as soon as the nodes that are up agree on one of them.
    func leader() async throws -> ReplicaID {
        while true {
            var named: Set<ReplicaID> = []
            for node in nodes.values { named.insert(try await node.store.leader()) }
            if let leader = named.first, named.count == 1, nodes[leader] != nil { return leader }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Sets a key by way of any node, which sends the client on to the leader.
    func set(_ key: String, to value: String, by way: ReplicaID) async throws {
        let deadline = ContinuousClock.now + .seconds(10)
        var target = way
        while true {
            guard let node = nodes[target] else { throw Violation("node \(target) is down") }
            do throws(RaftError) {
                _ = try await node.store.propose(ByteSlice("set \(key) \(value)"))
                return
            } catch {
                // To repeat it does no harm here: a key that is set twice is set.
                guard ContinuousClock.now < deadline else { throw error }
                if case .notLeader(let leader?) = error, nodes[leader] != nil {
                    target = leader
                } else {
                    try await Task.sleep(for: .milliseconds(10))
                }
            }
        }
    }

    /// Reads a key on a node; while a leader is elected there is nobody to confirm the read.
    func get(_ key: String, from id: ReplicaID) async throws -> String? {
        guard let node = nodes[id] else { throw Violation("node \(id) is down") }
        let deadline = ContinuousClock.now + .seconds(10)
        while true {
            do {
                return try await node.get(key)
            } catch let error as RaftError {
                guard ContinuousClock.now < deadline else { throw error }
                try await Task.sleep(for: .milliseconds(10))
            }
        }
    }
}

/// Something that must never happen has happened.
struct Violation: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
