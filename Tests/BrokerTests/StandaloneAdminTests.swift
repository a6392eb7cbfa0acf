import Admin
import Bytes
import Platform
import Testing

@testable import Broker

@Suite(.serialized, .timeLimit(.minutes(10))) struct `A standalone node's view of itself` {
    /// Asks on a loop, as the admin server does.
    private func ask<T: Sendable>(
        _ node: TestNode,
        _ question: @escaping @Sendable (NodeAdmin) async -> T
    ) async -> T {
        let admin = node.node.admin
        return await Task(executorPreference: TestNode.platform.loops[0]) {
            await question(admin)
        }.value
    }

    @Test func `it leads what there is, and tells the offsets`() async throws {
        let node = try await TestNode.start()
        defer { TestNode.remove(node.directory) }
        try await node.client { client in
            try await client.createTopic("t", partitions: 2)
            for _ in 0..<3 { _ = try await client.produce(ByteSlice([1, 2, 3]), to: "t", 1) }
        }
        let partitions = await ask(node) { await $0.partitions() }
        #expect(partitions.map(\.topic) == ["__chronik_metadata", "t", "t"])
        #expect(partitions.allSatisfy { $0.leader == 1 && $0.leaderEpoch >= 1 })
        #expect(partitions.allSatisfy { $0.replicas == [1] && $0.inSyncReplicas == [1] })
        #expect(partitions.map(\.highWatermark)[1...] == [0, 3])
        let members = await ask(node) { await $0.members() }
        #expect(members.clusterID == node.node.clusterID && members.metadataLeader == 1)
        #expect(members.members.map(\.kafkaAddress) == ["\(node.node.address)"])
        #expect(await ask(node) { await $0.health() }.isHealthy)
        #expect(await ask(node) { await $0.readiness() } == .ready)
        try await node.stop()
    }

    @Test func `leaderships stay where they are`() async throws {
        let node = try await TestNode.start()
        defer { TestNode.remove(node.directory) }
        try await node.client { try await $0.createTopic("t") }
        func transfer(_ topic: String, _ partition: Int32, _ to: Int32) async -> LeadershipTransfer
        {
            await ask(node) {
                await $0.transferLeadership(topic: topic, partition: partition, to: to)
            }
        }
        #expect(await transfer("t", 0, 1) == .alreadyLeader)
        #expect(await transfer("t", 0, 2) == .notAReplica(replicas: [1]))
        #expect(await transfer("t", 1, 1) == .unknownPartition)
        #expect(await transfer("u", 0, 1) == .unknownPartition)
        try await node.stop()
    }

    @Test func `a node that stops is not ready`() async throws {
        let node = try await TestNode.start()
        defer { TestNode.remove(node.directory) }
        try await node.stop()
        #expect(
            await ask(node) { await $0.readiness() } == .notReady(reason: "the node is stopping")
        )
    }

    @Test func `a partition that could not be started is leaderless`() async throws {
        let first = try await TestNode.start()
        defer { TestNode.remove(first.directory) }
        try await first.client { client in
            try await client.createTopic("t", partitions: 2)
            _ = try await client.produce(ByteSlice([1]), to: "t", 1)
        }
        try await first.stop()
        let wreck = try first.wreck()
        defer { TestNode.remove(wreck) }
        // A file where the partition's directory should be.
        let path = wreck + "/topics/t-1"
        try TestNode.platform.files.removeTree(path)
        try TestNode.platform.files.replaceAtomically(path, with: ByteSlice([0]))
        let second = try await TestNode.start(wreck)
        let health = await ask(second) { await $0.health() }
        #expect(health.problems == [.leaderless(topic: "t", partition: 1)])
        let found = await ask(second) { await $0.partitions() }
        #expect(found.map(\.leader) == [1, 1, nil])
        await ask(second) { await $0.sampleMetrics() }
        let text = second.node.metrics.prometheusText()
        #expect(text.contains("\nchronik_leaderless_partitions 1\n"))
        try await second.stop()
    }
}
