import KafkaProtocol
import Testing

@testable import Broker

/// What a node says that led and does not know yet that another does.
@Suite struct StaleLeaderTests {
    private static func read(
        _ node: PartitionNode,
        _ cluster: PartitionCluster,
        from offset: Int64
    ) throws -> ReadOutcome {
        let item = ReadItem(partition: cluster.partition, offset: offset, maxBytes: 1 << 20)
        return try node.on { await $0.read([item], maxBytes: 1 << 20, mustReturnOne: true)[0] }
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `one that is cut off does not call an offset out of range`(seed: UInt64) throws {
        let cluster = try PartitionCluster(seed: seed)
        let leader = try cluster.leader()
        #expect(try leader.produce(.of("0")).baseOffset == 0)
        try cluster.settle()
        cluster.wire.isolate(leader.replicaID, from: cluster.ids)
        // Others may lead by now; this one believes that it does.
        let outcome = try Self.read(leader, cluster, from: 2)
        #expect(outcome.error == .notLeaderOrFollower)
        let next = try cluster.leader(besides: leader)
        #expect(try next.produce(.of("1")).baseOffset == 1)
        cluster.wire.heal()
        try cluster.settle()
        let current = try cluster.leader()
        #expect(try Self.read(current, cluster, from: 2).error == .none)
        #expect(try Self.read(current, cluster, from: 3).error == .offsetOutOfRange)
    }
}

@Suite struct DiskFullRetreatTests {
    @Test func `a group is tried again later each time, and at once after there was room`() {
        var retreat = DiskFullRetreat()
        let tried = (0..<100).filter { retreat.isDue(7, at: $0) }
        #expect(tried == [0, 10, 30, 70])
        let other = retreat.isDue(8, at: 100)
        #expect(other)
        retreat.end()
        let again = retreat.isDue(7, at: 101)
        #expect(again)
    }
}
