import ClusterMetadata
import Coordinators
import KafkaMessages
import KafkaProtocol
import Platform

/// Finds the coordinator of a group: the leader of its partition of `__consumer_offsets`.
final class GroupService: Sendable {
    private static let topic = InternalTopic.consumerOffsets.rawValue

    private let loops: [CoordinatorLoop]
    private let published: PublishedImage
    private let leaders: LeaderTable

    init(loops: [CoordinatorLoop], published: PublishedImage, leaders: LeaderTable) {
        self.loops = loops
        self.published = published
        self.leaders = leaders
    }

    /// The broker that coordinates a group; `nil` while its partition has no leader.
    func coordinator(of group: String) -> Int32? {
        locate(group).flatMap { place in
            leaders.leader(
                of: TopicPartition(topic: Self.topic, partition: place.partition.index),
                place.partition,
                in: published.current
            )
        }
    }

    /// What a client is told whose request was not taken.
    func refusal(group: String) async -> ErrorCode {
        guard let place = locate(group) else { return .notCoordinator }
        return await place.loop.refusal(partition: place.partition.index)
    }

    /// What starting a partition of `__consumer_offsets` on `loop` has to do beside.
    func prepare(
        partition: Int32,
        on loop: EventLoop
    ) -> @Sendable (Partition, PartitionStateMachine, [RecordBatch]) -> Void {
        let coordinator = loops[loop.index]
        return { partition, stateMachine, batches in
            coordinator.assumeIsolated { $0.follow(partition, stateMachine, batches) }
        }
    }

    private func locate(
        _ group: String
    ) -> (partition: MetadataImage.Partition, loop: CoordinatorLoop)? {
        guard let topic = published.current.topic(Self.topic), !topic.partitions.isEmpty else {
            return nil
        }
        let index = OffsetsPartitioner.partition(of: group, count: Int32(topic.partitions.count))
        let partition = topic.partitions[Int(index)]
        return (partition, loops[Placement.loop(of: partition.groupID, of: loops.count)])
    }

    /// `nil` when this node is not the group's coordinator.
    func request(
        group: String,
        _ body: @Sendable (GroupCoordinatorShard, ReplyToken, _ now: Int64) -> GroupEffects
    ) async -> GroupReply? {
        guard let place = locate(group) else { return nil }
        return await place.loop.request(partition: place.partition.index, body)
    }

    func read<T: Sendable>(
        group: String,
        _ body: @Sendable (GroupCoordinatorShard) -> T
    ) async -> T? {
        guard let place = locate(group) else { return nil }
        return await place.loop.read(partition: place.partition.index, body)
    }

    func readAll<T: Sendable>(_ body: @Sendable (GroupCoordinatorShard) -> T) async -> [T] {
        var all: [T] = []
        for loop in loops { all += await loop.readAll(body) }
        return all
    }

    func topicDeleted(_ topic: String) async {
        for loop in loops { await loop.topicDeleted(topic) }
    }
}
