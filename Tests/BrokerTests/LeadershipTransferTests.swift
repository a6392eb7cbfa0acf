import Admin
import KafkaProtocol
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing

@testable import Broker

/// Leaderships that an operator moves, in spite of what goes wrong on the way.
@Suite struct LeadershipTransferTests {
    private static func transfer(
        _ cluster: PartitionCluster,
        from leader: PartitionNode,
        to target: PartitionNode
    ) throws -> (outcome: LeadershipTransfer, milliseconds: Int64) {
        let (id, to) = (cluster.partition, target.id)
        let began = cluster.simulation.clock.monotonicNanoseconds
        let outcome = try leader.on {
            await $0.transfer(id, to: to, within: .milliseconds(4_000), .milliseconds(10))
        }
        return (outcome, (cluster.simulation.clock.monotonicNanoseconds - began) / 1_000_000)
    }

    private static func isRefusal(_ outcome: LeadershipTransfer, with reason: String) -> Bool {
        guard case .targetUnavailable(let found) = outcome else { return false }
        return found.contains(reason)
    }

    /// Loses requests to take over until `count` of them are lost.
    private static func loseRequests(_ cluster: PartitionCluster, _ count: Int) -> Box<Int> {
        let lost = Box<Int>()
        lost.value = 0
        cluster.wire.passes = { message in
            guard case .timeoutNow = message.message.body, let before = lost.value, before < count
            else { return true }
            lost.value = before + 1
            return false
        }
        return lost
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a request to take over that is lost is made again`(seed: UInt64) throws {
        let cluster = try PartitionCluster(seed: seed)
        let leader = try cluster.leader()
        try leader.produce(.of("first"))
        try cluster.settle()
        let heir = try #require(cluster.followers(of: leader).first)
        let lost = Self.loseRequests(cluster, 3)
        let (outcome, milliseconds) = try Self.transfer(cluster, from: leader, to: heir)
        #expect(outcome == .transferred)
        #expect(lost.value == 3)
        // Within the time Raft gives to one attempt.
        #expect(milliseconds < 400)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a transfer that Raft gave up is tried again while the target keeps up`(
        seed: UInt64
    ) throws {
        let cluster = try PartitionCluster(seed: seed)
        let leader = try cluster.leader()
        try cluster.settle()
        let heir = try #require(cluster.followers(of: leader).first)
        // All that one attempt makes, and more.
        let lost = Self.loseRequests(cluster, 12)
        let (id, to) = (cluster.partition, heir.id)
        let box = Box<LeadershipTransfer>()
        let shard = try #require(leader.shard)
        Task(executorPreference: shard.loop) {
            box.value = await shard.transfer(
                id,
                to: to,
                within: .milliseconds(4_000),
                .milliseconds(10)
            )
        }
        // In between it takes what clients send.
        var taken = 0
        while box.value == nil, leader.epoch != nil {
            if try leader.produce(.of("\(taken)")).error == .none { taken += 1 }
            cluster.run(5)
        }
        cluster.run(5_000) { box.value != nil }
        #expect(box.value == .transferred)
        #expect(lost.value == 12)
        #expect(taken > 0)
        #expect(try cluster.leader() === heir)
        #expect(heir.logEnd == Int64(taken))
    }

    @Test func `a target that never takes over is given up`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        try cluster.settle()
        let heir = try #require(cluster.followers(of: leader).first)
        _ = Self.loseRequests(cluster, .max)
        let (outcome, milliseconds) = try Self.transfer(cluster, from: leader, to: heir)
        #expect(Self.isRefusal(outcome, with: "does not take over"), "\(outcome)")
        #expect(milliseconds < 4_000)
        #expect(try leader.produce(.of("it goes on")).error == .none)
    }

    @Test func `a silent target is refused after one attempt`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        try cluster.settle()
        let heir = try #require(cluster.followers(of: leader).first)
        cluster.wire.isolate(heir.replicaID, from: cluster.ids)
        let (outcome, milliseconds) = try Self.transfer(cluster, from: leader, to: heir)
        #expect(Self.isRefusal(outcome, with: "is silent"), "\(outcome)")
        #expect(milliseconds < 1_000)
        #expect(try leader.produce(.of("it goes on")).error == .none)
    }

    @Test func `a target that takes beats but no entries is refused as behind`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        try cluster.settle()
        let heir = try #require(cluster.followers(of: leader).first)
        cluster.wire.passes = { [to = heir.replicaID] message in
            guard case .append = message.message.body else { return true }
            return message.message.to != to
        }
        try leader.produce(.of("missed"))
        let (outcome, milliseconds) = try Self.transfer(cluster, from: leader, to: heir)
        #expect(Self.isRefusal(outcome, with: "it lacks"), "\(outcome)")
        #expect(milliseconds < 2_500)
        #expect(try leader.produce(.of("it goes on")).error == .none)
    }

    @Test func `a target that waits for a snapshot is refused at once`() throws {
        let cluster = try PartitionCluster(snapshotBytesPerSecond: 20_000)
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).first)
        late.cutPower()
        for number in 0..<60 {
            let text = "record \(number) " + String(repeating: "x", count: 1_000)
            #expect(try leader.produce(.of(text)).error == .none)
        }
        try leader.flush()
        try late.start()
        let id = cluster.partition
        var isWaiting = false
        for _ in 0..<1_000 where !isWaiting {
            cluster.run(10)
            let peer = ReplicaID(UInt64(late.id))
            isWaiting = try leader.on { shard in
                await shard.partition(id)?.replica.status.peers
                    .contains { $0.id == peer && $0.isSentSnapshot } ?? false
            }
        }
        try #require(isWaiting)
        let (outcome, milliseconds) = try Self.transfer(cluster, from: leader, to: late)
        #expect(Self.isRefusal(outcome, with: "snapshot"), "\(outcome)")
        #expect(milliseconds < 50)
        #expect(try leader.produce(.of("nobody noticed")).error == .none)
    }
}
