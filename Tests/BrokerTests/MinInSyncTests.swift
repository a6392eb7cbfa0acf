import Bytes
import ClusterMetadata
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import Testing

@testable import Broker

/// Topics whose batches more replicas must have than a majority.
@Suite struct MinInSyncTests {
    private static func cluster(
        _ least: String = "3",
        of count: Int = 3,
        seed: UInt64 = 1
    ) throws -> (PartitionCluster, PartitionNode) {
        let cluster = try PartitionCluster(
            count,
            seed: seed,
            configs: ["min.insync.replicas": least]
        )
        let leader = try cluster.leader()
        // Beats have gone to and fro.
        cluster.run(200)
        #expect(try leader.produce(.of("first")).error == .none)
        return (cluster, leader)
    }

    /// From now on a replica gets no entries, and is there all the same.
    private static func starve(_ cluster: PartitionCluster, _ node: PartitionNode) {
        cluster.wire.passes = { [id = node.replicaID] message in
            if case .append = message.message.body { return message.message.to != id }
            return true
        }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `acks=all waits for the third replica, acks=1 for none`(seed: UInt64) throws {
        let (cluster, leader) = try Self.cluster(seed: seed)
        let slow = try #require(cluster.followers(of: leader).last)
        Self.starve(cluster, slow)
        let answer = leader.beginProduce(.of("second"))
        #expect(try leader.produce(.of("third"), until: .written).error == .none)
        cluster.run(1_000)
        // It is committed and can be read, but not by so many as was asked for.
        #expect(leader.logEnd == 3)
        #expect(answer.value == nil)
        cluster.wire.passes = nil
        cluster.run(5_000) { answer.value != nil }
        #expect(answer.value?.error == ErrorCode.none)
        #expect(answer.value?.baseOffset == 1)
        #expect(slow.partition?.replica.info.lastIndex == leader.partition?.replica.info.lastIndex)
    }

    @Test func `what is answered is on all disks, whichever two of them are lost`() throws {
        let (cluster, leader) = try Self.cluster()
        var batches = 1
        for number in 0..<20 {
            #expect(try leader.produce(.of("\(number)")).error == .none)
            batches += 1
            for node in cluster.nodes {
                let last = try #require(node.partition).replica.status.stableIndex
                #expect(last >= LogIndex(UInt64(batches)))
            }
        }
    }

    @Test func `a majority or less asks for nothing`() throws {
        for least in ["1", "2"] {
            let (cluster, leader) = try Self.cluster(least)
            Self.starve(cluster, try #require(cluster.followers(of: leader).last))
            #expect(try leader.produce(.of("second")).error == .none)
        }
    }

    @Test func `four of five`() throws {
        let (cluster, leader) = try Self.cluster("4", of: 5)
        let followers = cluster.followers(of: leader)
        followers[0].kill()
        #expect(try leader.produce(.of("with one away")).error == .none)
        followers[1].kill()
        cluster.run(2_000)
        #expect(try leader.produce(.of("with two away")).error == .notEnoughReplicas)
        try followers[1].start()
        cluster.run(2_000)
        #expect(try leader.produce(.of("with one back")).error == .none)
    }

    @Test func `with a replica away nothing is appended, and it is said why`() throws {
        let (cluster, leader) = try Self.cluster()
        let away = try #require(cluster.followers(of: leader).last)
        away.kill()
        cluster.run(2_000)
        let end = leader.logEnd
        let refused = try leader.produce(.of("second", producer: 5, sequence: 0))
        #expect(refused.error == .notEnoughReplicas)
        #expect(refused.message?.contains("min.insync.replicas asks for 3") == true)
        #expect(leader.logEnd == end)
        #expect(try leader.produce(.of("one disk is enough"), until: .written).error == .none)
        try away.start()
        cluster.run(2_000)
        #expect(try leader.produce(.of("second", producer: 5, sequence: 0)).error == .none)
        #expect(try leader.produce(.of("third", producer: 5, sequence: 1)).error == .none)
    }

    @Test func `a replica that falls out meanwhile is told of, and a retry is no duplicate`() throws
    {
        let (cluster, leader) = try Self.cluster()
        let away = try #require(cluster.followers(of: leader).last)
        Self.starve(cluster, away)
        let answer = leader.beginProduce(.of("second", producer: 5, sequence: 0))
        cluster.run(100)
        away.kill()
        cluster.run(5_000) { answer.value != nil }
        #expect(answer.value?.error == .notEnoughReplicasAfterAppend)
        cluster.wire.passes = nil
        try away.start()
        cluster.run(2_000)
        let end = leader.logEnd
        let again = try leader.produce(.of("second", producer: 5, sequence: 0))
        #expect(again.error == .none)
        #expect(again.baseOffset == 1)
        #expect(leader.logEnd == end)
    }

    @Test func `a batch that is there already waits for the replicas too`() throws {
        let (cluster, leader) = try Self.cluster()
        let slow = try #require(cluster.followers(of: leader).last)
        Self.starve(cluster, slow)
        let first = leader.beginProduce(.of("second", producer: 5, sequence: 0))
        cluster.run(500)
        let again = leader.beginProduce(.of("second", producer: 5, sequence: 0))
        cluster.run(500)
        #expect(leader.logEnd == 2)
        #expect(first.value == nil && again.value == nil)
        cluster.wire.passes = nil
        cluster.run(5_000) { first.value != nil && again.value != nil }
        #expect(first.value?.baseOffset == 1 && again.value?.baseOffset == 1)
    }

    @Test func `the wait ends with the request's time`() throws {
        let (cluster, leader) = try Self.cluster()
        Self.starve(cluster, try #require(cluster.followers(of: leader).last))
        for name in ["second", "third"] {
            let answer = leader.beginProduce(.of(name), timeout: 300)
            cluster.run(250)
            #expect(answer.value == nil)
            cluster.run(250)
            #expect(answer.value?.error == .requestTimedOut)
            // Nothing waits any more, and the shard rests.
            cluster.run(3_000)
        }
    }

    @Test func `who stops leading answers those who wait`() throws {
        let (cluster, leader) = try Self.cluster()
        Self.starve(cluster, try #require(cluster.followers(of: leader).last))
        let answer = leader.beginProduce(.of("second"))
        cluster.run(100)
        cluster.wire.isolate(leader.replicaID, from: cluster.ids)
        cluster.run(5_000) { answer.value != nil }
        #expect(
            [.notLeaderOrFollower, .notEnoughReplicasAfterAppend].contains(answer.value?.error)
        )
    }

    @Test func `a lower value lets go of those who wait`() throws {
        let (cluster, leader) = try Self.cluster()
        Self.starve(cluster, try #require(cluster.followers(of: leader).last))
        let answer = leader.beginProduce(.of("second"))
        cluster.run(500)
        #expect(answer.value == nil)
        let id = cluster.partition
        try leader.on { shard in
            guard var configuration = await shard.partition(id)?.configuration else { return }
            configuration.minInSyncReplicas = 2
            await shard.configure(id, configuration)
        }
        cluster.run(100) { answer.value != nil }
        #expect(answer.value?.error == ErrorCode.none)
    }

    @Test func `the broker's own topics are content with a majority`() throws {
        let cluster = try PartitionCluster(
            configs: ["min.insync.replicas": "3"],
            partition: TopicPartition(topic: "__consumer_offsets", partition: 0)
        )
        let leader = try cluster.leader()
        Self.starve(cluster, try #require(cluster.followers(of: leader).last))
        #expect(try leader.produce(.of("an offset")).error == .none)
    }
}
