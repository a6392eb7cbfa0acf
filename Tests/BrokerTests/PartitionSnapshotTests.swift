import Bytes
import KafkaProtocol
import LogStorage
import Platform
import Raft
import Simulator
import Testing

@testable import Broker
@testable import RaftRuntime

@Suite struct PartitionSnapshotTests {
    /// Small segments, and all of them written.
    private static func fill(_ node: PartitionNode, _ count: Int, from first: Int = 0) throws {
        for number in first..<first + count {
            let text = "record \(number) " + String(repeating: "x", count: 300)
            #expect(try node.produce(.of(text)).error == .none)
        }
    }

    /// With `retention`, records are old enough to go with the next look, which each node takes when
    /// it pleases.
    private static func makeCluster(
        seed: UInt64 = 1,
        retention: Bool = false
    ) throws -> PartitionCluster {
        var configs = ["segment.bytes": "8192", "index.interval.bytes": "512"]
        if !retention { configs["retention.ms"] = "-1" }
        return try PartitionCluster(seed: seed, configs: configs)
    }

    /// A follower that is down and needs a snapshot, and its leader.
    private static func makeLate(
        seed: UInt64 = 1,
        retention: Bool = false
    ) throws -> (cluster: PartitionCluster, leader: PartitionNode, late: PartitionNode) {
        let cluster = try makeCluster(seed: seed, retention: retention)
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).first)
        late.cutPower()
        try fill(leader, 60)
        try leader.flush()
        return (cluster, leader, late)
    }

    /// A follower that needs a snapshot, and a leader that has no place to send one from until they
    /// are given back.
    private static func makeWaiting(
        seed: UInt64 = 1,
        retention: Bool = false
    ) throws -> (
        cluster: PartitionCluster, leader: PartitionNode, late: PartitionNode, giveBack: () -> Void
    ) {
        let (cluster, leader, late) = try makeLate(seed: seed, retention: retention)
        let limits = try #require(leader.snapshotLimits)
        var taken = 0
        while limits.takeSending() { taken += 1 }
        try late.start()
        cluster.run(5_000)
        return (cluster, leader, late, { for _ in 0..<taken { limits.giveSending() } })
    }

    /// Two replicas have the same batches, epochs and producers.
    private static func expectEqual(_ node: PartitionNode, _ other: PartitionNode) throws {
        #expect(node.partition?.log.logStartOffset == other.partition?.log.logStartOffset)
        let (content, expected) = (try node.content(), try other.content())
        let place = zip(content, expected).enumerated().first { $1.0 != $1.1 }?.offset
        let isEqual = content == expected
        #expect(
            isEqual,
            "\(content.count) and \(expected.count) bytes, which differ from \(place ?? -1) on"
        )
        #expect(node.partition?.log.epochs == other.partition?.log.epochs)
        #expect(
            node.partition?.log.producers.producers == other.partition?.log.producers.producers
        )
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a follower that fell behind what the log has is brought the segments`(seed: UInt64) throws
    {
        let cluster = try Self.makeCluster(seed: seed)
        let leader = try cluster.leader()
        try Self.fill(leader, 5)
        let late = try #require(cluster.followers(of: leader).first)
        late.cutPower()
        try Self.fill(leader, 100, from: 5)
        try leader.flush()
        try Self.fill(leader, 5, from: 105)
        try late.start()
        try cluster.settle()
        #expect(cluster.wire.snapshotBytes > 30_000)
        #expect(try late.content() == leader.content())
        #expect(late.partition?.log.epochs == leader.partition?.log.epochs)
        // It is a log like any other: it goes on, is written, and found after a restart.
        try Self.fill(leader, 20, from: 110)
        try cluster.settle()
        try late.flush()
        late.cutPower()
        try late.start()
        try cluster.settle()
        #expect(try late.content() == cluster.leader().content())
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func `a snapshot goes once another loop gives a place back`(seed: UInt64) throws {
        let (cluster, leader, late, giveBack) = try Self.makeWaiting(seed: seed)
        #expect(cluster.wire.snapshotBytes == 0)
        giveBack()
        try cluster.settle()
        #expect(late.logEnd == 60)
        #expect(cluster.wire.snapshotBytes > 0)
        try Self.expectEqual(late, leader)
    }

    @Test func `a snapshot that waits its turn keeps no files, and goes as what there is then`()
        throws
    {
        let (cluster, leader, late, giveBack) = try Self.makeWaiting()
        let id = cluster.partition
        #expect(try leader.on { await $0.deleteRecords(of: id, before: 55) }.error == .none)
        try leader.flush()
        let files = {
            try leader.disk.list("/data/topics/orders-0").filter { $0.hasSuffix(".log") }
        }
        cluster.run(5_000)
        let left = try files()
        #expect(left.count < 4, "\(left)")
        giveBack()
        try cluster.settle()
        #expect(late.partition?.log.logStartOffset.rawValue == 55)
        #expect(cluster.wire.snapshotBytes > 0 && cluster.wire.snapshotBytes < 10_000)
        try Self.expectEqual(late, leader)
    }

    @Test func `what a snapshot brings is kept as long as what the leader has`() throws {
        // The snapshot is as of now; while it waits the leader's segments grow too old.
        let (cluster, leader, late, giveBack) = try Self.makeWaiting(retention: true)
        let start = try #require(leader.partition?.log.logStartOffset)
        #expect(start > .zero)
        giveBack()
        try cluster.settle()
        cluster.run(10_000) { late.partition?.log.logStartOffset == start }
        try Self.expectEqual(late, leader)
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func `a follower that has a part is sent the rest`(seed: UInt64) throws {
        let cluster = try Self.makeCluster(seed: seed)
        let leader = try cluster.leader()
        try Self.fill(leader, 80)
        try cluster.settle()
        let late = try #require(cluster.followers(of: leader).first)
        // Its segments begin elsewhere than the leader's.
        try late.flush()
        late.cutPower()
        try Self.fill(leader, 25, from: 80)
        try leader.flush()
        try late.start()
        try cluster.settle()
        #expect(cluster.wire.snapshotBytes > 25 * 380 && cluster.wire.snapshotBytes < 60 * 380)
        try Self.expectEqual(late, leader)
        try Self.fill(leader, 20, from: 105)
        try cluster.settle()
        try late.flush()
        late.cutPower()
        try late.start()
        try cluster.settle()
        try Self.expectEqual(late, cluster.leader())
    }

    @Test func `a follower that has every record is sent where the log is, and no more`() throws {
        let cluster = try Self.makeCluster()
        let old = try cluster.leader()
        try Self.fill(old, 60)
        try cluster.settle()
        let late = try #require(cluster.followers(of: old).first)
        try late.flush()
        late.cutPower()
        // Entries without a record.
        let leader = try cluster.leader()
        let id = cluster.partition
        for start in 1...5 as ClosedRange<Int64> {
            #expect(try leader.on { await $0.deleteRecords(of: id, before: start) }.error == .none)
        }
        try leader.flush()
        try late.start()
        // That the records are there says nothing.
        cluster.run(20_000) {
            late.partition?.log.appliedRaftIndex == leader.partition?.log.appliedRaftIndex
        }
        // One piece: the header, and what came with it.
        #expect(cluster.wire.snapshotBytes > 0 && cluster.wire.snapshotBytes <= 4 << 10)
        try Self.expectEqual(late, leader)
        #expect(late.partition?.log.appliedRaftIndex == leader.partition?.log.appliedRaftIndex)
    }

    @Test func `what a follower had beyond the commit goes when a snapshot comes`() throws {
        let cluster = try Self.makeCluster()
        let old = try cluster.leader()
        try Self.fill(old, 40)
        try cluster.settle()
        try old.flush()
        // Appended by a leader that is cut off, and never committed.
        cluster.wire.isolate(old.replicaID, from: cluster.ids)
        let lost = old.beginProduce(.of("nobody else has this"))
        cluster.run(100)
        let leader = try cluster.leader(besides: old)
        try Self.fill(leader, 60, from: 40)
        try leader.flush()
        #expect(lost.value?.error != ErrorCode.none)
        cluster.wire.heal()
        try cluster.settle()
        #expect(cluster.wire.snapshotBytes > 0 && cluster.wire.snapshotBytes < 85 * 380)
        #expect(lost.value?.error != ErrorCode.none)
        try Self.expectEqual(old, leader)
    }

    @Test func `a snapshot begins where records were deleted`() throws {
        let cluster = try Self.makeCluster()
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).last)
        late.cutPower()
        try Self.fill(leader, 60)
        let id = cluster.partition
        #expect(try leader.on { await $0.deleteRecords(of: id, before: 45) }.error == .none)
        try leader.flush()
        try late.start()
        try cluster.settle()
        #expect(late.partition?.log.logStartOffset.rawValue == 45)
        #expect(try late.content() == leader.content())
    }

    @Test func `idempotent producers are known from a snapshot`() throws {
        let cluster = try Self.makeCluster()
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).last)
        late.cutPower()
        for number in 0..<4 as Range<Int32> {
            try leader.produce(.of("\(number)", producer: 9, sequence: number))
        }
        try leader.flush()
        try late.start()
        try cluster.settle()
        #expect(
            late.partition?.log.producers.producers == leader.partition?.log.producers.producers
        )
    }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func `a power cut while a snapshot arrives leaves the old log or the new`(seed: UInt64) throws {
        let cluster = try Self.makeCluster(seed: seed)
        let leader = try cluster.leader()
        try Self.fill(leader, 10)
        try cluster.settle()
        let late = try #require(cluster.followers(of: leader).first)
        try late.flush()
        late.cutPower()
        try Self.fill(leader, 80, from: 10)
        try leader.flush()
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<6 {
            try late.start()
            let end = late.logEnd
            #expect(end >= 10 && end <= 90)
            cluster.run(Int64(50 + generator.below(900))) { late.logEnd == 90 }
            late.cutPower()
        }
        try late.start()
        try cluster.settle()
        #expect(try late.content() == leader.content())
        #expect(cluster.wire.snapshotBytes > 20_000)
    }

    @Test(arguments: ["checkpoint.tmp", ".index", ".log"])
    func `a snapshot for which the disk has no room waits until it has`(file: String) throws {
        let (cluster, leader, late) = try Self.makeLate()
        try late.start()
        late.disk.failure = { operation, path in
            operation != .read && path.hasSuffix(file) ? .noSpace : nil
        }
        cluster.run(20_000)
        #expect(late.logEnd == 0 && late.partition?.replica.hasFailed == false)
        // What it is a voter for goes on without it, and with it once there is room.
        try Self.fill(leader, 5, from: 60)
        late.disk.failure = nil
        try cluster.settle()
        #expect(late.logEnd == 65)
        try Self.expectEqual(late, leader)
        late.cutPower()
        try late.start()
        try cluster.settle()
        #expect(try late.content() == cluster.leader().content())
    }

    @Test(arguments: [true, false])
    func `a replica that leaves while a snapshot waits for room leaves nothing`(
        isRetired: Bool
    ) throws {
        let (cluster, _, late) = try Self.makeLate()
        try late.start()
        late.disk.failure = { operation, path in
            operation != .read && path.hasSuffix("checkpoint.tmp") ? .noSpace : nil
        }
        let limits = try #require(late.snapshotLimits)
        cluster.run(20_000)
        #expect(limits.takeReceiving() && !limits.takeReceiving())
        let id = cluster.partition
        if isRetired { try late.retire() } else { try late.on { await $0.remove(id) } }
        late.disk.failure = nil
        cluster.run(5_000)
        #expect(limits.takeReceiving())
        #expect(!late.disk.exists("/data/topics/orders-0"))
    }

    @Test func `retention does not take away what is being sent`() throws {
        // Slower than retention, which looks every second.
        let cluster = try PartitionCluster(
            configs: ["segment.bytes": "8192"],
            snapshotBytesPerSecond: 8 << 10
        )
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).last)
        late.cutPower()
        try Self.fill(leader, 100)
        try leader.flush()
        try late.start()
        cluster.run(20_000) { cluster.wire.snapshotBytes > 0 }
        #expect(late.logEnd == 0)
        let id = cluster.partition
        #expect(try leader.on { await $0.deleteRecords(of: id, before: 95) }.error == .none)
        try leader.flush()
        try cluster.settle()
        cluster.run(5_000) { late.partition?.log.logStartOffset.rawValue == 95 }
        #expect(try late.content() == leader.content())
        // All of it was sent, and once.
        #expect(cluster.wire.snapshotBytes > 36_000 && cluster.wire.snapshotBytes < 50_000)
        // And once it is sent, it goes.
        cluster.run(5_000)
        let left = try leader.disk.list("/data/topics/orders-0").filter { $0.hasSuffix(".log") }
        #expect(left.count < 4, "\(left)")
    }

    @Test func `a node that joins is brought everything and votes`() throws {
        let cluster = try Self.makeCluster()
        let leader = try cluster.leader()
        try Self.fill(leader, 40)
        try leader.flush()
        let added = try cluster.addNode()
        cluster.run(2_000)
        #expect(added.logEnd == 0)
        let id = cluster.partition
        let replica = added.replicaID
        try leader.on { shard in
            let partition = try #require(await shard.partition(id))
            try await partition.replica.changeMembership(
                ConfigurationChange([ConfigurationChange.Step(.addLearner, replica)])
            )
        }
        cluster.run(10_000) { added.memberships.last?.voters.contains(replica) == true }
        #expect(added.memberships.last?.voters.contains(replica) == true)
        #expect(try added.content() == leader.content())
        // The membership came with the snapshot, and is kept.
        added.cutPower()
        try added.start()
        cluster.run(2_000)
        #expect(added.partition?.replica.info.membership.voters.count == 4)
    }

    @Test func `a follower that was away for a moment needs no snapshot`() throws {
        let cluster = try PartitionCluster(keptBytes: 1 << 20)
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).last)
        late.cutPower()
        try Self.fill(leader, 50)
        try leader.flush()
        try late.start()
        try cluster.settle()
        #expect(cluster.wire.snapshotBytes == 0)
        #expect(try late.content() == leader.content())
    }

    @Test func `what is kept for those who lag has a limit`() throws {
        let cluster = try PartitionCluster(keptBytes: 10_000)
        let leader = try cluster.leader()
        let late = try #require(cluster.followers(of: leader).last)
        late.cutPower()
        for round in 0..<10 {
            try Self.fill(leader, 10, from: 10 * round)
            try leader.flush()
        }
        let info = try #require(leader.partition?.replica.info)
        #expect(info.firstIndex.distance(to: info.lastIndex) <= 40)
        #expect(info.firstIndex.distance(to: info.lastIndex) >= 10)
        try late.start()
        try cluster.settle()
        #expect(cluster.wire.snapshotBytes > 0)
    }
}
