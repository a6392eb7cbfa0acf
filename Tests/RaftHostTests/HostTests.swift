import Bytes
import Foundation
import Raft
import RaftRuntime
import RaftTransport
import Testing

@Suite struct HostTests {
    @Test func `a group of one serves, and comes back as it was`() async throws {
        let folder = Folder()
        let host = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        let group = try await host.createGroup(7, voters: [ReplicaID(1)]) { MemoryStateMachine() }
        #expect(try await group.leader() == ReplicaID(1))
        _ = try await group.propose(.set("a", "1"))
        #expect(try await group.propose(.set("a", "2")) == ByteSlice("1"))
        #expect(try await group.read { $0.values } == ["a": "2"])
        try await host.close()

        let again = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        #expect(await again.dormantGroups == [7])
        let back = try await again.openGroup(7) { MemoryStateMachine() }
        #expect(await again.dormantGroups.isEmpty)
        #expect(try await back.leader() == ReplicaID(1))
        #expect(try await back.read { $0.values } == ["a": "2"])
        try await again.close()
    }
}

/// Directories of hosts, gone when nobody holds this any more.
final class Folder: Sendable {
    static let threads = RaftThreads(eventLoops: 2)

    let path = NSTemporaryDirectory() + "raft-hosts-\(UUID().uuidString)"

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func configuration(
        _ node: UInt64,
        network: (any RaftNetwork)? = nil
    ) -> RaftHostConfiguration {
        var configuration = RaftHostConfiguration(
            cluster: "test",
            node: ReplicaID(node),
            directory: path + "/\(node)",
            network: network
        )
        configuration.logFileBytes = 1 << 20
        configuration.logBytes = 8 << 20
        return configuration
    }
}

extension ByteSlice {
    static func set(_ key: String, _ value: String) -> ByteSlice {
        MemoryStateMachine.Command.set(key: key, value: value).encoded
    }
}
