import Bytes
import ClusterMetadata
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import Testing

@testable import Broker

@Suite struct ReplicationTests {
    @Test func `what the leader acknowledges, every replica has byte for byte`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<20 {
            let result = try leader.produce(.of("record \(number)"))
            #expect(result.error == .none)
            #expect(result.baseOffset == Int64(number))
        }
        try cluster.settle()
        let wanted = try leader.content()
        #expect(!wanted.isEmpty)
        for follower in cluster.followers(of: leader) {
            #expect(try follower.content() == wanted)
            #expect(follower.leaders.leader(of: cluster.partition)?.id == leader.id)
        }
    }

    @Test func `the first replica of a new group is its first leader`() throws {
        for seed in 1...5 as ClosedRange<UInt64> {
            let cluster = try PartitionCluster(seed: seed)
            #expect(try cluster.leader().id == 1)
        }
    }

    @Test func `a follower refuses produces and names the leader`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        try leader.produce(.of("first"))
        try cluster.settle()
        let follower = try #require(cluster.followers(of: leader).first)
        let refused = try follower.produce(.of("second"))
        #expect(refused.error == .notLeaderOrFollower)
        #expect(refused.leader == KnownLeader(id: leader.id, epoch: leader.epoch ?? -1))
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `a leader that dies loses nothing that was acknowledged`(seed: UInt64) throws {
        let cluster = try PartitionCluster(seed: seed)
        var acknowledged: [Int64: String] = [:]
        for round in 0..<3 {
            let leader = try cluster.leader()
            for number in 0..<10 {
                let text = "round \(round) record \(number)"
                let result = try leader.produce(.of(text))
                guard result.error == .none else { continue }
                #expect(acknowledged.updateValue(text, forKey: result.baseOffset) == nil)
            }
            let lost = (0..<5).map { leader.beginProduce(.of("under way \(round) \($0)")) }
            cluster.run(Int64(seed % 2))
            if round == 1 { leader.kill() } else { leader.cutPower() }
            let next = try cluster.leader()
            #expect(next !== leader)
            #expect(lost.allSatisfy { $0.value == nil || $0.value?.error == ErrorCode.none })
            try leader.start()
        }
        try cluster.settle()
        let leader = try cluster.leader()
        let content = try leader.content()
        var rest = ByteSlice(content)
        var expected: Int64 = 0
        while !rest.isEmpty {
            let length = Int(rest.loadBigEndian(at: 8) as Int32) + 12
            let batch = RecordBatch(committed: rest.prefix(length))
            #expect(batch.baseOffset.rawValue == expected)
            expected = batch.nextOffset.rawValue
            let value = try batch.records().first?.value
            if let text = acknowledged.removeValue(forKey: batch.baseOffset.rawValue) {
                #expect(value == ByteSlice(text))
            }
            rest = rest.dropFirst(length)
        }
        #expect(acknowledged.isEmpty)
        for follower in cluster.followers(of: leader) { #expect(try follower.content() == content) }
    }

    @Test func `a batch the old leader left behind is not appended again`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<3 as Range<Int32> {
            #expect(
                try leader.produce(.of("\(number)", producer: 5, sequence: number)).error == .none
            )
        }
        // The followers get the batch, and the leader never hears of it.
        cluster.wire.passes = { message in
            if case .appendResponse = message.message.body { return false }
            return true
        }
        let answer = leader.beginProduce(.of("3", producer: 5, sequence: 3))
        cluster.run(20)
        #expect(answer.value == nil)
        leader.cutPower()
        cluster.wire.passes = nil
        let next = try cluster.leader()
        let again = try next.produce(.of("3", producer: 5, sequence: 3))
        #expect(again.error == .none)
        #expect(again.baseOffset == 3)
        #expect(next.logEnd == 4)
        #expect(try next.produce(.of("4", producer: 5, sequence: 4)).baseOffset == 4)
        #expect(
            try next.produce(.of("6", producer: 5, sequence: 6)).error == .outOfOrderSequenceNumber
        )
    }

    @Test func `a deposed leader answers those who wait, and forgets what it had numbered`() throws
    {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        #expect(try leader.produce(.of("0", producer: 5, sequence: 0)).error == .none)
        cluster.wire.isolate(leader.replicaID, from: cluster.ids)
        let lost = leader.beginProduce(.of("lost", producer: 5, sequence: 1))
        let written = leader.beginProduce(
            .of("lost too", producer: 5, sequence: 2),
            until: .written
        )
        let next = try cluster.leader(besides: leader)
        #expect(try next.produce(.of("1", producer: 5, sequence: 1)).baseOffset == 1)
        cluster.run(5_000) { lost.value != nil }
        #expect(lost.value?.error == .notLeaderOrFollower)
        // What one disk has was asked for, and is lost as was agreed.
        #expect(written.value?.error == ErrorCode.none)
        cluster.wire.heal()
        try cluster.settle()
        #expect(try leader.content() == next.content())
        #expect(leader.logEnd == 2)
        let id = cluster.partition
        let heir = leader.replicaID
        try next.on { try await $0.partition(id)?.replica.transferLeadership(to: heir) }
        cluster.run(10_000) { leader.epoch != nil }
        #expect(try leader.produce(.of("2", producer: 5, sequence: 2)).baseOffset == 2)
    }

    @Test func `while leadership is handed over, no batch of a producer is out of order`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        #expect(try leader.produce(.of("0", producer: 5, sequence: 0)).error == .none)
        let heir = try #require(cluster.followers(of: leader).first)
        cluster.wire.passes = { [to = heir.replicaID] message in message.message.to != to }
        let (id, target) = (cluster.partition, heir.replicaID)
        try leader.on { try await $0.partition(id)?.replica.transferLeadership(to: target) }
        for sequence in 1...3 as ClosedRange<Int32> {
            let answer = try leader.produce(.of("x", producer: 5, sequence: sequence))
            #expect(answer.error == .notLeaderOrFollower, "sequence \(sequence)")
        }
        cluster.wire.passes = nil
        // It succeeds or is given up.
        cluster.run(5_000)
        let next = try cluster.leader()
        #expect(try next.produce(.of("1", producer: 5, sequence: 1)).baseOffset == 1)
    }

    @Test func `acks of the leader alone do not wait for the others`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        cluster.wire.passes = { message in
            if case .appendResponse = message.message.body { return false }
            return true
        }
        let all = leader.beginProduce(.of("all"))
        let own = leader.beginProduce(.of("own"), until: .written)
        cluster.run(100) { own.value != nil }
        #expect(own.value?.error == ErrorCode.none)
        #expect(all.value == nil)
        cluster.wire.passes = nil
        cluster.run(5_000) { all.value != nil }
        #expect(all.value?.error == ErrorCode.none)
    }

    @Test func `deleted records are gone on every replica`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<10 { try leader.produce(.of("\(number)")) }
        let id = cluster.partition
        let done = try leader.on { await $0.deleteRecords(of: id, before: 6) }
        #expect(done.error == .none)
        #expect(done.lowWatermark == 6)
        cluster.run(5_000) {
            cluster.nodes.allSatisfy { $0.partition?.log.logStartOffset.rawValue == 6 }
        }
        #expect(cluster.nodes.map { $0.partition?.log.logStartOffset.rawValue } == [6, 6, 6])
    }

    @Test func `a consumer may read from a follower what that has`() throws {
        let cluster = try PartitionCluster()
        let leader = try cluster.leader()
        for number in 0..<3 { try leader.produce(.of("\(number)")) }
        try cluster.settle()
        let follower = try #require(cluster.followers(of: leader).first)
        let epoch = try #require(leader.epoch)
        let id = cluster.partition
        func read(_ offset: Int64, epoch: Int32, mayFollow: Bool = true) throws -> ReadOutcome {
            var item = ReadItem(partition: id, offset: offset, maxBytes: 1 << 20)
            item.currentLeaderEpoch = epoch
            item.mayFollow = mayFollow
            let asked = item
            return try follower.on {
                await $0.read([asked], maxBytes: 1 << 20, mustReturnOne: true)[0]
            }
        }
        let found = try read(1, epoch: epoch)
        #expect(found.error == .none)
        #expect(found.highWatermark == 3)
        #expect(!found.records.isEmpty)
        #expect(try read(3, epoch: epoch).error == .none)
        #expect(try read(4, epoch: epoch).error == .offsetNotAvailable)
        #expect(try read(1, epoch: epoch - 1).error == .fencedLeaderEpoch)
        #expect(try read(1, epoch: epoch + 1).error == .unknownLeaderEpoch)
        let refused = try read(1, epoch: epoch, mayFollow: false)
        #expect(refused.error == .notLeaderOrFollower)
        #expect(refused.leader == KnownLeader(id: leader.id, epoch: epoch))
    }

    @Test func `a consumer is sent to the replica in its rack`() throws {
        let cluster = try PartitionCluster()
        for node in cluster.nodes { node.racks = [1: "a", 2: "b", 3: "c"] }
        let leader = try cluster.leader()
        try leader.produce(.of("one"))
        try cluster.settle()
        // The leader must have heard that they have it.
        cluster.run(500)
        let id = cluster.partition
        for (rack, near) in [("a", 1), ("b", 2), ("c", 3), ("d", -1)] as [(String, Int32)] {
            var item = ReadItem(partition: id, offset: 0, maxBytes: 1 << 20, mayFollow: true)
            item.rack = rack
            let asked = item
            let outcome = try leader.on {
                await $0.read([asked], maxBytes: 1 << 20, mustReturnOne: true)[0]
            }
            let isHere = near == leader.id || near == -1
            #expect(outcome.preferredReplica == (isHere ? nil : near))
            #expect(outcome.records.isEmpty != isHere)
        }
    }
}
