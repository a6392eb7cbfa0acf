import Raft
import RaftRuntime
import RaftTransport

/// A program that embeds Raft from outside: a group of one, then one of three.
///
/// Takes an empty folder; exits with 1 if a sum is wrong.
@main
struct EmbeddingProbe {
    static let threads = RaftThreads(eventLoops: 2)

    static func main() async throws {
        guard let folder = CommandLine.arguments.dropFirst().first else {
            throw Failure.noFolder
        }
        try await alone(in: folder + "/alone")
        try await together(in: folder + "/together")
    }

    private static func alone(in folder: String) async throws {
        let configuration = RaftHostConfiguration(
            cluster: "alone",
            node: ReplicaID(1),
            directory: folder
        )
        var host = try await RaftHost.open(configuration, on: threads)
        var group = try await host.createGroup(1, voters: [ReplicaID(1)]) { Counter() }
        for number in 1...10 { _ = try await group.propose(Counter.add(number)) }
        try await group.compact()
        _ = try await group.propose(Counter.add(45))
        try await host.close()

        host = try await RaftHost.open(configuration, on: threads)
        group = try await host.openGroup(1) { Counter() }
        try await expect(100, in: group)
        try await host.close()
        print("a group of one: 100")
    }

    private static func together(in folder: String) async throws {
        let voters = [ReplicaID(1), ReplicaID(2), ReplicaID(3)]
        var hosts: [RaftHost] = []
        for node in voters {
            let configuration = RaftHostConfiguration(
                cluster: "together",
                node: node,
                directory: "\(folder)/\(node)",
                network: FramedNetwork(listen: "127.0.0.1:0")
            )
            hosts.append(try await RaftHost.open(configuration, on: threads))
        }
        var addresses: [ReplicaID: String] = [:]
        for host in hosts { addresses[host.node] = host.address }
        var groups: [ReplicaID: RaftGroup<Counter>] = [:]
        for host in hosts {
            try host.setPeers(addresses)
            groups[host.node] = try await host.createGroup(1, voters: voters) { Counter() }
        }
        for number in 1...10 { try await add(number, groups) }
        for group in groups.values { try await expect(55, in: group) }
        for host in hosts { try await host.close() }
        print("a group of three: 55 on each")
    }

    /// Proposes on whoever leads; a replica that does not lead has done nothing.
    private static func add(
        _ number: Int,
        _ groups: [ReplicaID: RaftGroup<Counter>]
    ) async throws {
        while true {
            guard let leader = try await groups[ReplicaID(1)]?.leader(), let group = groups[leader]
            else { throw Failure.noGroup }
            do throws(RaftError) {
                _ = try await group.propose(Counter.add(number))
                return
            } catch {
                guard case .notLeader = error else { throw error }
            }
        }
    }

    private static func expect(_ sum: Int, in group: RaftGroup<Counter>) async throws {
        // Until it has heard of a leader there is nobody to confirm a read.
        _ = try await group.leader()
        let found = try await group.read { $0.sum }
        guard found == sum else { throw Failure.wrongSum(found) }
    }
}

enum Failure: Error {
    case noFolder
    case noGroup
    case wrongSum(Int)
}
