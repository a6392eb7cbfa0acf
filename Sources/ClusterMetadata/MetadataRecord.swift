package import Bytes
package import KafkaMessages

/// One change of the cluster's metadata, as the metadata group's log keeps it.
///
/// Layout of a record's value, in the fields of `MetadataFields.swift`:
///
///     type u8 | version u8 (0) | fields in the order of the case's labels
///
/// What a record of a type and version means never changes; more is said by a new one.
package enum MetadataRecord: Equatable, Sendable {
    case topic(id: KafkaUUID, name: String)
    case partition(
        topicID: KafkaUUID,
        index: Int32,
        groupID: UInt64,
        replicas: [Int32]
    )
    /// A `nil` value takes the override away.
    case topicConfig(topicID: KafkaUUID, key: String, value: String?)
    case brokerConfig(key: String, value: String?)
    case removeTopic(id: KafkaUUID)
    /// Producer ids below `next` are given out.
    case producerIDs(next: Int64)
    /// The only broker of a standalone node.
    case broker(id: Int32, host: String, port: UInt16, rack: String?)
    case brokerRegistration(BrokerRegistration, epoch: Int64)
    /// Counts only for the registration of that epoch.
    case brokerState(id: Int32, epoch: Int64, isFenced: Bool, isStopping: Bool)
    /// The data directory is given up: another may register under the id.
    case brokerReplacement(id: Int32, directoryID: KafkaUUID)
    case removeBroker(id: Int32, epoch: Int64)
    case leaderships([GroupLeadership])
    case assignment(groupID: UInt64, ReplicaAssignment)

    // Of snapshots alone.
    case partitionState(topicID: KafkaUUID, MetadataImage.Partition)
    case brokerSnapshot(MetadataImage.Broker)
    case counters(nextGroupID: UInt64, nextProducerID: Int64, nextBrokerEpoch: Int64)
    case removedTopics([KafkaUUID])

    /// A piece of a ``MetadataSnapshot`` of all that precedes it in the log; all pieces are in one
    /// batch. It changes nothing but where the log begins with it.
    case snapshot(piece: ByteSlice)
}

/// Who leads a group.
package struct GroupLeadership: Sendable, Equatable {
    package var groupID: UInt64
    package var leadership: PartitionLeadership

    package init(groupID: UInt64, _ leadership: PartitionLeadership) {
        self.groupID = groupID
        self.leadership = leadership
    }

    /// Reports go in records of at most so many, so that none grows past a batch's bounds.
    package static let perRecord = 1_000
}
