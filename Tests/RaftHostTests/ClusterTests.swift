import Bytes
import Raft
import RaftRuntime
import RaftTransport
import Testing

/// Hosts that reach each other over TCP on loopback.
@Suite struct `Hosts of a cluster` {
    @Test func `a proposal on a follower names the leader`() async throws {
        let nodes = try await Nodes(3)
        let leader = try await nodes.agreedLeader()
        for id in nodes.ids where id != leader {
            await #expect(throws: RaftError.notLeader(leader: leader)) {
                try await nodes.group(id).propose(.set("a", "1"))
            }
        }
        _ = try await nodes.group(leader).propose(.set("a", "1"))
        for id in nodes.ids { #expect(try await nodes.group(id).read { $0.values["a"] } == "1") }
        try await nodes.close()
    }

    @Test func `leadership is handed over`() async throws {
        let nodes = try await Nodes(3)
        let leader = try await nodes.agreedLeader()
        let target = try #require(nodes.ids.first { $0 != leader })
        try await nodes.set("a", "1")
        try await nodes.group(leader).transferLeadership(to: target)
        let follower = try nodes.group(target)
        while await follower.info.leader != target { await Task.yield() }
        try await nodes.set("a", "2")
        #expect(try await nodes.group(leader).read { $0.values["a"] } == "2")
        try await nodes.close()
    }

    @Test func `a new member is brought what the log has dropped, and keeps it`() async throws {
        let nodes = try await Nodes(3)
        for number in 0..<100 { try await nodes.set("key \(number)", "\(number)") }
        for id in nodes.ids { try await nodes.group(id).compact() }
        let new = try await nodes.join()
        let leader = try await nodes.agreedLeader(of: nodes.ids.filter { $0 != new })
        try await nodes.group(leader).changeMembership(
            ConfigurationChange([ConfigurationChange.Step(.addVoter, new)])
        )
        #expect(try await nodes.read(new) { $0.values.count } == 100)

        // What came as a snapshot is there after a restart, without any log before it.
        try await nodes.restart(new)
        #expect(try await nodes.group(new).readLocally { $0.values.count } == 100)
        try await nodes.set("one", "more")
        #expect(try await nodes.read(new) { $0.values.count } == 101)
        try await nodes.close()
    }

    @Test func `the others go on when one dies, and it catches up`() async throws {
        let nodes = try await Nodes(3)
        for number in 0..<10 { try await nodes.set("key \(number)", "\(number)") }
        let dead = try await nodes.agreedLeader()
        try await nodes.stop(dead)
        for number in 10..<20 { try await nodes.set("key \(number)", "\(number)") }
        for id in nodes.ids { try await nodes.group(id).compact() }
        try await nodes.start(dead)
        for id in nodes.ids {
            #expect(try await nodes.read(id) { $0.values.count } == 20)
        }
        try await nodes.close()
    }

    @Test func `a host that cannot listen leaves nothing open`() async throws {
        let folder = Folder()
        let network = FramedNetwork(listen: "127.0.0.1:0")
        let one = try await RaftHost.open(
            folder.configuration(1, network: network),
            on: Folder.threads
        )
        let taken = FramedNetwork(listen: try #require(one.address))
        do {
            _ = try await RaftHost.open(folder.configuration(2, network: taken), on: Folder.threads)
            Issue.record("two hosts listen at one address")
        } catch .network {
        } catch {
            Issue.record("\(error)")
        }
        let two = try await RaftHost.open(
            folder.configuration(2, network: network),
            on: Folder.threads
        )
        #expect(throws: RaftHostError.self) { try two.setPeers([ReplicaID(1): "nowhere"]) }
        try await one.close()
        try await two.close()
    }
}
