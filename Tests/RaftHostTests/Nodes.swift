import Bytes
import Raft
import RaftRuntime
import RaftTransport
import Testing

/// Nodes in one process, each a host with one group, on loopback.
final class Nodes {
    static let id: UInt64 = 1

    private let folder = Folder()
    private var hosts: [ReplicaID: RaftHost] = [:]
    private var groups: [ReplicaID: RaftGroup<MemoryStateMachine>] = [:]

    init(_ count: Int) async throws {
        let voters = (1...count).map { ReplicaID(UInt64($0)) }
        for id in voters {
            let host = try await open(id)
            groups[id] = try await host.createGroup(Self.id, voters: voters) {
                MemoryStateMachine()
            }
        }
    }

    var ids: [ReplicaID] { groups.keys.sorted() }

    func group(_ id: ReplicaID) throws -> RaftGroup<MemoryStateMachine> {
        try #require(groups[id])
    }

    // MARK: Life

    private func open(_ id: ReplicaID) async throws -> RaftHost {
        let network = FramedNetwork(listen: "127.0.0.1:0")
        let configuration = folder.configuration(id.rawValue, network: network)
        let host = try await RaftHost.open(configuration, on: Folder.threads)
        hosts[id] = host
        let addresses = hosts.compactMapValues(\.address)
        for host in hosts.values { try host.setPeers(addresses) }
        return host
    }

    func start(_ id: ReplicaID) async throws {
        groups[id] = try await open(id).openGroup(Self.id) { MemoryStateMachine() }
    }

    func stop(_ id: ReplicaID) async throws {
        groups[id] = nil
        try await hosts.removeValue(forKey: id)?.close()
    }

    func restart(_ id: ReplicaID) async throws {
        try await stop(id)
        try await start(id)
    }

    func join() async throws -> ReplicaID {
        let id = ReplicaID((hosts.keys.map(\.rawValue).max() ?? 0) + 1)
        groups[id] = try await open(id).joinGroup(Self.id) { MemoryStateMachine() }
        return id
    }

    func close() async throws { for id in ids { try await stop(id) } }

    // MARK: Requests

    /// The leader all of them name.
    func agreedLeader(of members: [ReplicaID]? = nil) async throws -> ReplicaID {
        let members = members ?? ids
        while true {
            var named: Set<ReplicaID> = []
            for id in members { named.insert(try await group(id).leader()) }
            if let leader = named.first, named.count == 1, groups[leader] != nil { return leader }
            await Task.yield()
        }
    }

    func set(_ key: String, _ value: String) async throws {
        while true {
            let leader = try await agreedLeader()
            let group = try group(leader)
            do throws(RaftError) {
                _ = try await group.propose(.set(key, value))
                return
            } catch {
                guard error.isPassing else { throw error }
                await Task.yield()
            }
        }
    }

    /// Reads as soon as there is a leader to ask.
    func read<Value: Sendable>(
        _ id: ReplicaID,
        _ body: @escaping @Sendable (MemoryStateMachine) -> Value
    ) async throws -> Value {
        let group = try group(id)
        while true {
            do throws(RaftError) {
                return try await group.read(body)
            } catch {
                guard error.isPassing else { throw error }
                await Task.yield()
            }
        }
    }
}

extension RaftError {
    /// Whether it is over when there is a leader again.
    var isPassing: Bool {
        switch self {
        case .notLeader, .overloaded, .outcomeUnknown, .timedOut: true
        default: false
        }
    }
}
