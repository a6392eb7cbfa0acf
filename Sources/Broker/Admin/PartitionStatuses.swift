package import Admin
import ClusterMetadata
import KafkaProtocol

/// Who leads each partition, as this node can tell.
///
/// | whoever says so | is believed |
/// |---|---|
/// | this node's replica that it leads | always |
/// | this node's replica that another leads | while it is up, unless the metadata has a later epoch |
/// | this node's replica that nobody leads | if its epoch is later than the metadata's |
/// | the metadata | of another node, while that is up |
extension NodeAdmin {
    package func partitions() async -> [PartitionStatus] {
        let leader = await metadataLeader()
        return statuses(await readings().partitions, metadataLeader: leader)
    }

    /// The metadata's own, then those it names.
    func statuses(
        _ readings: [TopicPartition: PartitionReading],
        metadataLeader: Int32?
    ) -> [PartitionStatus] {
        let image = published.current
        var all = [metadataStatus(readings[MetadataService.partitionID], metadataLeader)]
        all.reserveCapacity(image.partitionCount + 1)
        for topic in image.sortedTopics {
            for partition in topic.partitions {
                let id = TopicPartition(topic: topic.name, partition: partition.index)
                all.append(status(id, partition, readings[id], image))
            }
        }
        return all
    }

    private func metadataStatus(_ reading: PartitionReading?, _ leader: Int32?) -> PartitionStatus {
        let id = MetadataService.partitionID
        // One that cannot be written leads nobody.
        let leads = leader == nodeID ? reading?.leaderEpoch != nil : leader != nil
        let replicas = link?.settings.nodes.map(\.id).sorted() ?? [nodeID]
        return PartitionStatus(
            topic: id.topic,
            partition: id.partition,
            leader: leads ? leader : nil,
            leaderEpoch: reading?.epoch ?? -1,
            replicas: replicas,
            inSyncReplicas: link == nil && !leads ? [] : replicas.filter(isUp),
            logStartOffset: reading?.logStartOffset,
            highWatermark: reading?.highWatermark
        )
    }

    func status(
        _ id: TopicPartition,
        _ partition: MetadataImage.Partition,
        _ reading: PartitionReading?,
        _ image: MetadataImage
    ) -> PartitionStatus {
        let (leader, epoch) = leader(partition, reading)
        let view = image.clientView(of: partition)
        // Who is in sync with a leader that has not said so yet: a voter is, until it is missed.
        let isUnreported = leader != nil && (view.inSync.isEmpty || view.leaderEpoch < epoch)
        let inSync = isUnreported ? partition.replicas : view.inSync
        return PartitionStatus(
            topic: id.topic,
            partition: id.partition,
            leader: leader,
            leaderEpoch: epoch,
            replicas: partition.replicas,
            inSyncReplicas: inSync.filter(isUp),
            logStartOffset: reading?.logStartOffset,
            highWatermark: reading?.highWatermark
        )
    }

    private func leader(
        _ partition: MetadataImage.Partition,
        _ reading: PartitionReading?
    ) -> (leader: Int32?, epoch: Int32) {
        if let epoch = reading?.leaderEpoch { return (nodeID, epoch) }
        let said = partition.leadership
        var candidate: (leader: Int32?, epoch: Int32) = (
            said.leader < 0 || said.leader == nodeID ? nil : said.leader, said.epoch
        )
        if let reading {
            let isLater = reading.epoch > said.epoch
            let knows = reading.epoch == said.epoch && candidate.leader == nil
            if isLater || knows {
                candidate = (reading.leader == nodeID ? nil : reading.leader, reading.epoch)
            }
        }
        if let leader = candidate.leader, !isUp(leader) { candidate.leader = nil }
        return candidate
    }
}
