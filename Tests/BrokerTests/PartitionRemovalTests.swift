import ClusterMetadata
import KafkaProtocol
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing
import WriteAheadLog

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

    @Test(arguments: [false, true], [false, true])
    func `a replica that leaves takes its files along and comes back with its vote`(
        restarts: Bool,
        flushes: Bool
    ) throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<10 { try leader.produce(.of("\(number)")) }
        try cluster.settle()
        let gone = try #require(cluster.followers(of: leader).last)
        // Without it, there are no files yet.
        if flushes { try gone.flush() }
        #expect(gone.disk.exists("/data/topics/orders-0") == flushes)
        let term = gone.partition?.replica.info.term
        try Self.change(leader, .init(.removeReplica, gone.replicaID), in: cluster)
        cluster.run(5_000) { gone.memberships.last?.contains(gone.replicaID) == false }
        try gone.retire()
        #expect(!gone.disk.exists("/data/topics/orders-0"))
        #expect(gone.leaders.leader(of: cluster.partition) == nil)
        for number in 10..<20 { #expect(try leader.produce(.of("\(number)")).error == .none) }
        try leader.flush()
        gone.beginning = .joiner(after: 0, index: 0)
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

    @Test func `who belongs to the group is known from segments where the log lost the change`()
        throws
    {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<10 { try leader.produce(.of("\(number)")) }
        try cluster.settle()
        let node = try #require(cluster.followers(of: leader).first)
        let gone = try #require(cluster.followers(of: leader).last)
        try Self.change(leader, .init(.removeReplica, gone.replicaID), in: cluster)
        try leader.produce(.of("10"))
        cluster.run(5_000) { node.memberships.last?.voters.count == 2 && node.logEnd == 11 }
        try node.flush()
        cluster.run(1_000)
        node.cutPower()
        // What is left of the log tells how the group began.
        var count = 0
        node.lacks = { _ in
            count += 1
            return count > 1
        }
        try node.turnOn()
        try node.beginPartition()
        try node.waitForPartition()
        #expect(count > 3)
        #expect(
            node.partition?.replica.info.membership.voters
                == [leader, node].map(\.replicaID).sorted()
        )
    }

    @Test(arguments: [false, true], [false, true])
    func `who led alone once and comes back does not lead alone again`(
        restarts: Bool,
        losesLog: Bool
    ) throws {
        let cluster = try PartitionCluster(1, sendsPieces: true)
        let (one, two) = (cluster.node(1), try cluster.addNode())
        func hand(from old: PartitionNode, to new: PartitionNode) throws {
            try Self.change(old, .init(.addLearner, new.replicaID), in: cluster)
            cluster.run(10_000) { old.memberships.last?.voters.contains(new.replicaID) == true }
            try Self.change(old, .init(.removeReplica, old.replicaID), in: cluster)
            #expect(cluster.run(10_000) { new.epoch != nil })
            #expect(cluster.run(10_000) { old.memberships.last?.contains(old.replicaID) == false })
            try old.retire()
        }
        #expect(cluster.run(10_000) { one.epoch != nil })
        try hand(from: one, to: two)
        for number in 0..<10 { #expect(try two.produce(.of("\(number)")).error == .none) }
        one.beginning = .joiner(after: 0, index: 0)
        try one.beginPartition()
        try one.waitForPartition()
        try hand(from: two, to: one)
        for number in 10..<20 { #expect(try one.produce(.of("\(number)")).error == .none) }
        // That it was here before it knows by itself, or is told by the metadata.
        two.beginning = .joiner(after: losesLog ? try #require(one.epoch) : 0, index: 0)
        two.losesLog = losesLog
        if restarts || losesLog {
            two.cutPower()
            try two.turnOn()
            try two.stayRetired()
        }
        try two.beginPartition()
        try two.waitForPartition()
        try Self.change(one, .init(.addLearner, two.replicaID), in: cluster)
        #expect(cluster.run(10_000) { one.memberships.last?.voters.count == 2 })
        for number in 20..<30 { #expect(try one.produce(.of("\(number)")).error == .none) }
        #expect(cluster.run(10_000) { two.logEnd == 30 })
        #expect(two.epoch == nil && one.epoch != nil)
        #expect(try two.content() == one.content())
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a replica whose directory is lost is filled by its leader`(seed: UInt64) throws {
        let cluster = try PartitionCluster(seed: seed)
        let first = try cluster.leader()
        for number in 0..<10 { try first.produce(.of("\(number)")) }
        try cluster.settle()
        let empty = try #require(cluster.followers(of: first).first)
        try empty.flush()
        // A new term: its log is told of as beginning after what the segments have.
        first.cutPower()
        _ = try cluster.leader()
        try first.start()
        try cluster.settle()
        if empty.epoch != nil {
            empty.cutPower()
            _ = try cluster.leader()
            try empty.start()
            try cluster.settle()
        }
        let leader = try cluster.leader()
        for number in 10..<20 { try leader.produce(.of("\(number)")) }
        empty.cutPower()
        empty.damage = { try $0.removeTree("/data/topics/orders-0") }
        // Nobody has all of it but the leader, and then the one who has is away: no voice of a
        // replica that has lost its part may bring another to lead.
        if seed == 3 {
            leader.cutPower()
            try empty.start()
            cluster.run(20_000)
            #expect(cluster.nodes.allSatisfy { !$0.isOn || $0.epoch == nil })
            try leader.start()
        } else {
            try empty.start()
        }
        // It ends the term of whoever leads, whose successor fills it.
        cluster.run(20_000) { empty.logEnd == 20 }
        try cluster.settle()
        for number in 20..<30 {
            #expect(try cluster.leader().produce(.of("\(number)")).error == .none)
        }
        try cluster.settle()
        #expect(empty.logEnd == 30)
        #expect(try empty.content() == cluster.leader(besides: empty).content())
        // It counts again: it and another are a majority.
        let other = try #require(cluster.nodes.first { $0 !== empty && $0.epoch == nil })
        other.cutPower()
        #expect(try cluster.leader().produce(.of("30")).error == .none)
        // And what it has now outlives another start.
        empty.cutPower()
        try empty.start()
        try other.start()
        try cluster.settle()
        #expect(empty.logEnd == 31)
    }

    @Test func `a lost directory is filled though the log has not one entry any more`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<10 { try leader.produce(.of("\(number)")) }
        try cluster.settle()
        let empty = try #require(cluster.followers(of: leader).first)
        let other = try #require(cluster.followers(of: leader).last)
        try empty.fillFileOfLog()
        // In the next file its log has a vote, and with it how far all was committed; not where it
        // begins, since nothing of it is in segments yet.
        let term = empty.partition?.replica.info.term ?? .zero
        leader.cutPower()
        cluster.run(20_000) { empty.partition?.replica.info.term ?? .zero > term }
        other.cutPower()
        cluster.run(100)
        try empty.flush()
        try empty.on { shard in
            await shard.relieve(below: 2)
            shard.environment.wal.release(before: 2)
        }
        cluster.run(1_000)
        empty.cutPower()
        empty.damage = { try $0.removeTree("/data/topics/orders-0") }
        for node in [empty, leader, other] { try node.start() }
        cluster.run(20_000) { empty.logEnd == 10 }
        #expect(try empty.content() == leader.content())
    }

    @Test func `of two replicas the one that lost its directory is filled by the other`() throws {
        let cluster = try PartitionCluster(2)
        let first = try cluster.leader()
        for number in 0..<10 { try first.produce(.of("\(number)")) }
        try cluster.settle()
        let empty = try #require(cluster.followers(of: first).first)
        try empty.flush()
        first.cutPower()
        try first.start()
        try cluster.settle()
        empty.cutPower()
        empty.damage = { try $0.removeTree("/data/topics/orders-0") }
        try empty.start()
        cluster.run(20_000) { empty.logEnd == 10 }
        try cluster.settle()
        #expect(try cluster.leader().produce(.of("10")).error == .none)
        try cluster.settle()
        #expect(empty.logEnd == 11)
        #expect(try empty.content() == first.content())
    }

    @Test func `a lost directory nobody has another of is an error that says so`() throws {
        let cluster = try PartitionCluster(1)
        let only = try cluster.leader()
        try only.produce(.of("0"))
        try only.flush()
        only.cutPower()
        try only.start()
        _ = try cluster.leader()
        only.cutPower()
        only.damage = { try $0.removeTree("/data/topics/orders-0") }
        let problem = #expect(throws: StartProblem.self) { try only.start() }
        #expect("\(try #require(problem))".contains("no other replica has them"))
        #expect(!only.isOn)
    }

    @Test(arguments: 0..<60)
    func `the founders of a group may end in any moment of its beginning`(moment: Int64) throws {
        let cluster = try PartitionCluster(seed: UInt64(1 + moment))
        // Nothing of it is in the log before the first vote.
        _ = cluster.simulation.run(for: .microseconds(100 * moment)) { false }
        let all = cluster.nodes
        for node in all where moment % 2 == 0 || node !== all[Int(moment) % 3] { node.cutPower() }
        for node in all where !node.isOn { try node.start() }
        for number in 0..<5 {
            #expect(try cluster.leader().produce(.of("\(number)")).error == .none)
        }
        try cluster.settle()
        for node in all { node.cutPower() }
        for node in all { try node.start() }
        try cluster.settle()
        for node in all { #expect(try node.logEnd == 5 && node.content() == all[0].content()) }
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
