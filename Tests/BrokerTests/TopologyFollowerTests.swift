import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import Raft
import RaftRuntime
import Testing
import WriteAheadLog

@testable import Broker

@Suite struct TopologyFollowerTests {
    private static let place = TopicPartition(topic: "notes", partition: 0)

    private static func image(hasTopic: Bool) -> MetadataImage {
        let id = KafkaUUID(high: 3, low: 4)
        var image = MetadataImage()
        image.replay(.topic(id: id, name: place.topic))
        image.replay(.partition(topicID: id, index: 0, groupID: 8, replicas: [1]))
        if !hasTopic { image.replay(.removeTopic(id: id)) }
        return image
    }

    /// Whether the partition runs after the start, and once the metadata was as of now.
    private static func runs(mayBeOld: Bool, isThere: Bool) throws -> [Bool] {
        let cluster = try PartitionCluster(1)
        let node = cluster.node(1)
        let published = PublishedImage()
        published.publish(image(hasTopic: true))
        let started = try node.on { shard in
            let follower = follower(of: shard, published)
            await follower.startAll(in: published.current, mayBeOld: mayBeOld)
            return (follower, await shard.partition(place) != nil)
        }
        published.publish(image(hasTopic: isThere))
        try node.on { _ in await started.0.sweep() }
        cluster.run(1_000)
        return [started.1, try node.on { await $0.partition(place) != nil }]
    }

    private static func follower(
        of shard: PartitionShard,
        _ published: PublishedImage
    ) -> TopologyFollower {
        let log = Logger("test")
        let wal = shard.environment.wal
        let leaders = shard.environment.leaders
        let recovered = RecoveredGroups(replica: shard.environment.replicaID)
        recovered.opened(isNew: false)
        return TopologyFollower(
            loop: shard.loop,
            nodeID: shard.nodeID,
            shards: [shard],
            published: published,
            staticConfigs: [:],
            groups: GroupService(loops: [], published: published, leaders: leaders),
            leaders: leaders,
            relief: LogRelief(
                loop: shard.loop,
                shards: [shard],
                wal: wal,
                gate: ProduceGate(wal),
                log: log
            ),
            log: log,
            recovered: recovered,
            isCurrent: { true }
        )
    }

    @Test func `a partition that nothing is remembered of starts once the metadata is as of now`()
        throws
    {
        #expect(try Self.runs(mayBeOld: true, isThere: true) == [false, true])
    }

    @Test func `a partition that was deleted and forgotten is not started by old metadata`() throws
    {
        #expect(try Self.runs(mayBeOld: true, isThere: false) == [false, false])
    }

    @Test func `a node that never knew of the metadata waits for nothing`() throws {
        #expect(try Self.runs(mayBeOld: false, isThere: true) == [true, true])
    }
}
