import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator
import Testing

@testable import Broker

/// When a change of the metadata is acknowledged, and what becomes of it.
@Suite struct MetadataAcknowledgementTests {
    private static let hosts = ["node1", "node2", "node3"]

    private static func leader(of cluster: NodeCluster) throws -> Machine {
        for _ in 0..<100 {
            for machine in cluster.up {
                guard let metadata = machine.node?.admin.metadata else { continue }
                if try cluster.perform({ _ in await metadata.isLeading }) { return machine }
            }
            _ = cluster.simulation.run(for: .milliseconds(100))
        }
        return try #require(nil, "the metadata has no leader")
    }

    private static func cut(_ cluster: NodeCluster, _ machine: Machine, heal: Bool = false) {
        for other in hosts where other != "node\(machine.id)" {
            if heal {
                cluster.simulation.network.heal("node\(machine.id)", other)
            } else {
                cluster.simulation.network.partition("node\(machine.id)", other)
            }
        }
    }

    private static func create(
        _ name: String,
        _ cluster: NodeCluster,
        _ machine: Machine,
        milliseconds: Int64
    ) throws -> Int16? {
        var topic = CreateTopicsRequest.CreatableTopic()
        topic.name = name
        topic.numPartitions = 1
        topic.replicationFactor = 3
        var request = CreateTopicsRequest()
        request.topics = [topic]
        let answer = Answer()
        let address = machine.address
        let asked = request
        let loop = cluster.clients.loops[0]
        Task(executorPreference: loop) {
            let client = try await TestClient.open(address, on: loop)
            let response = try await client.call(asked, version: 5)
            answer.code = response.topics.first?.errorCode
            client.socket.close()
        }
        _ = cluster.simulation.run(for: .milliseconds(milliseconds)) { answer.code != nil }
        return answer.code
    }

    private final class Answer: @unchecked Sendable {
        // Unchecked: the simulation runs on one thread.
        var code: Int16?
    }

    private static func metric(_ name: String, of machine: Machine) throws -> String? {
        let text = try #require(machine.node).metrics.prometheusText()
        return text.split(separator: "\n").first { $0.hasPrefix(name + " ") }.map(String.init)
    }

    private static let lost = "chronik_metadata_lost_acknowledgements_total"
    private static let early = "chronik_metadata_early_acknowledgements"

    @Test func `a leader that is cut off acknowledges nothing at quorum`() throws {
        let cluster = try NodeCluster(seed: 21)
        let leader = try Self.leader(of: cluster)
        Self.cut(cluster, leader)
        #expect(try Self.create("never", cluster, leader, milliseconds: 200) == nil)
    }

    @Test func `a leader's own word is enough, and what it loses is counted`() throws {
        let cluster = try NodeCluster(seed: 22, metadataAcknowledgement: .leader)
        let leader = try Self.leader(of: cluster)
        #expect(try Self.create("kept", cluster, leader, milliseconds: 1_000) == 0)
        try cluster.eventually("all nodes know the topic") {
            cluster.up.allSatisfy { $0.topic("kept") != nil }
        }
        #expect(try Self.metric(Self.early, of: leader) == "\(Self.early) 0")
        Self.cut(cluster, leader)
        #expect(try Self.create("lost", cluster, leader, milliseconds: 100) == 0)
        #expect(leader.topic("lost") == nil)
        #expect(try Self.metric(Self.early, of: leader) == "\(Self.early) 1")
        // The others go on without it.
        let others = cluster.up.filter { $0.id != leader.id }
        #expect(try Self.create("other", cluster, others[0], milliseconds: 20_000) == 0)
        Self.cut(cluster, leader, heal: true)
        try cluster.eventually("all nodes know the topic") {
            cluster.up.allSatisfy { $0.topic("other") != nil }
        }
        #expect(cluster.up.allSatisfy { $0.topic("lost") == nil && $0.topic("kept") != nil })
        #expect(try Self.metric(Self.lost, of: leader) == "\(Self.lost) 1")
        #expect(try Self.metric(Self.early, of: leader) == "\(Self.early) 0")
    }

    @Test func `what the leader acknowledged and the others get is kept`() throws {
        let cluster = try NodeCluster(seed: 23, metadataAcknowledgement: .leader)
        let leader = try Self.leader(of: cluster)
        Self.cut(cluster, leader)
        #expect(try Self.create("late", cluster, leader, milliseconds: 50) == 0)
        // Before anybody misses it.
        Self.cut(cluster, leader, heal: true)
        try cluster.eventually("all nodes know the topic") {
            cluster.up.allSatisfy { $0.topic("late") != nil }
        }
        #expect(try Self.metric(Self.lost, of: leader) == "\(Self.lost) 0")
    }
}
