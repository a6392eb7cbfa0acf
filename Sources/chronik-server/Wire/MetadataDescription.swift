import Broker
import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Raft
import RaftGRPC
import RaftRuntime

extension QueryMetadataResponse {
    /// Describes the metadata, or those of its topics that are named.
    init(_ view: ClusterNode.View, clusterID: String, topics names: [String]) {
        self.init()
        index = view.group?.applied.rawValue ?? 0
        self.clusterID = clusterID
        leader = UInt64(clamping: view.leader ?? 0)
        brokers = view.image.brokers.map(BrokerState.init)
        let wanted = Set(names)
        let isWanted = { (name: String) in wanted.isEmpty || wanted.contains(name) }
        topics = view.image.sortedTopics.filter { isWanted($0.name) }.map(TopicState.init)
        if isWanted(ClusterNode.metadataPartition.topic), let own = TopicState(metadata: view) {
            topics.insert(own, at: 0)
        }
    }
}

extension BrokerState {
    init(_ broker: MetadataImage.Broker) {
        self.init()
        node = UInt64(clamping: broker.id)
        host = broker.host
        port = UInt32(broker.port)
        rack = broker.rack ?? ""
        isAlive = !broker.isFenced && !broker.isStopping
    }
}

extension TopicState {
    init(_ topic: MetadataImage.Topic) {
        self.init()
        name = topic.name
        id = Self.bytes(topic.id)
        partitions = topic.partitions.map(PartitionState.init)
    }

    /// The metadata's own log, of which the metadata says nothing; `nil` before its group starts.
    init?(metadata view: ClusterNode.View) {
        guard let group = view.group else { return nil }
        self.init()
        name = ClusterNode.metadataPartition.topic
        id = Self.bytes(.zero)
        var partition = PartitionState()
        partition.leader = UInt64(clamping: view.leader ?? 0)
        partition.leaderEpoch = Int32(truncatingIfNeeded: group.term.rawValue)
        partition.replicas = group.membership.voters.map(\.rawValue)
        partitions = [partition]
    }

    private static func bytes(_ id: KafkaUUID) -> ByteSlice {
        var writer = ByteWriter(capacity: 16)
        writer.write(id.high)
        writer.write(id.low)
        return writer.finishContiguous()
    }
}

extension PartitionState {
    init(_ partition: MetadataImage.Partition) {
        self.init()
        self.partition = partition.index
        group = partition.groupID
        leader = UInt64(clamping: max(0, partition.leadership.leader))
        leaderEpoch = partition.leadership.epoch
        replicas = partition.assignment.replicas.map { UInt64(clamping: $0) }
        inSync = partition.leadership.inSync.map { UInt64(clamping: $0) }
    }
}
