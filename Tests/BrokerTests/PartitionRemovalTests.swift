import ClusterMetadata
import KafkaProtocol
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing

@testable import Broker

@Suite struct PartitionRemovalTests {
    private static func change(
        _ leader: PartitionNode,
        _ step: ConfigurationChange.Step,
        in cluster: PartitionCluster
    ) throws {
        let id = cluster.partition
        try leader.on { shard in
            let partition = try #require(await shard.partition(id))
            try await partition.replica.changeMembership(ConfigurationChange([step]))
        }
    }

    @Test(arguments: [false, true])
    func `a replica that leaves takes its files along and comes back with its vote`(
        restarts: Bool
    ) throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<10 { try leader.produce(.of("\(number)")) }
        try cluster.settle()
        let gone = try #require(cluster.followers(of: leader).last)
        let term = gone.partition?.replica.info.term
        try Self.change(leader, .init(.removeReplica, gone.replicaID), in: cluster)
        cluster.run(5_000) { gone.memberships.last?.contains(gone.replicaID) == false }
        try gone.retire()
        #expect(!gone.disk.exists("/data/topics/orders-0"))
        #expect(gone.leaders.leader(of: cluster.partition) == nil)
        for number in 10..<20 { #expect(try leader.produce(.of("\(number)")).error == .none) }
        try leader.flush()
        gone.beginning = .joiner
        if restarts {
            gone.cutPower()
            try gone.turnOn()
            try gone.stayRetired()
        }
        try gone.beginPartition()
        try gone.waitForPartition()
        #expect(gone.partition?.replica.info.term ?? .zero >= term ?? .zero)
        #expect(gone.logEnd == 0)
        try Self.change(leader, .init(.addLearner, gone.replicaID), in: cluster)
        cluster.run(10_000) { gone.memberships.last?.voters.contains(gone.replicaID) == true }
        #expect(try gone.content() == leader.content())
        #expect(gone.logEnd == 20)
    }

    @Test func `a replica without its log does not vote`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<10 { try leader.produce(.of("\(number)")) }
        try cluster.settle()
        let forgetful = try #require(cluster.followers(of: leader).first)
        try forgetful.flush()
        forgetful.cutPower()
        forgetful.losesLog = true
        try forgetful.start()
        // It follows and has everything, and its voice does not count.
        for number in 10..<15 { #expect(try leader.produce(.of("\(number)")).error == .none) }
        cluster.run(10_000) { forgetful.logEnd == 15 }
        #expect(forgetful.logEnd == 15)
        leader.cutPower()
        cluster.run(20_000)
        #expect(cluster.nodes.allSatisfy { !$0.isOn || $0.epoch == nil })
        try leader.start()
        #expect(try cluster.leader() !== forgetful)
    }
}
