package import KafkaMessages

/// The cluster's metadata as of some committed record: an immutable value to read from.
package struct MetadataImage: Sendable {
    package struct Partition: Sendable, Equatable {
        package let index: Int32
        /// The Raft group that replicates it; never used again once the partition is gone.
        package let groupID: UInt64
        package let replicas: [Int32]
    }

    package struct Topic: Sendable {
        package let id: KafkaUUID
        package let name: String
        /// In the order of their index, without gaps.
        package var partitions: [Partition] = []
        package var configs: [String: String] = [:]

        package var isInternal: Bool { InternalTopic(rawValue: name) != nil }
    }

    package struct Broker: Sendable, Equatable {
        package let id: Int32
        package let host: String
        package let port: UInt16
        package let rack: String?
    }

    package private(set) var topics: [String: Topic] = [:]
    package private(set) var topicNames: [KafkaUUID: String] = [:]
    package private(set) var brokers: [Broker] = []
    package private(set) var brokerConfigs: [String: String] = [:]
    /// The lowest producer id not given out.
    package private(set) var nextProducerID: Int64 = 0
    /// The lowest group id never used; 0 is the metadata group itself.
    package private(set) var nextGroupID: UInt64 = 1
    package private(set) var partitionCount = 0

    package init() {}

    package func topic(_ id: KafkaUUID) -> Topic? { topicNames[id].flatMap { topics[$0] } }

    /// Sorted by name.
    package var sortedTopics: [Topic] { topics.values.sorted { $0.name < $1.name } }

    /// The only writer: what a committed record changes.
    package mutating func replay(_ record: MetadataRecord) {
        switch record {
        case .topic(let id, let name):
            topics[name] = Topic(id: id, name: name)
            topicNames[id] = name
        case .partition(let topicID, let index, let groupID, let replicas):
            addPartition(
                Partition(index: index, groupID: groupID, replicas: replicas),
                to: topicID
            )
        case .topicConfig(let topicID, let key, let value):
            guard let name = topicNames[topicID] else { return }
            topics[name]?.configs[key] = value
        case .brokerConfig(let key, let value):
            brokerConfigs[key] = value
        case .removeTopic(let id):
            guard let name = topicNames.removeValue(forKey: id) else { return }
            partitionCount -= topics.removeValue(forKey: name)?.partitions.count ?? 0
        case .producerIDs(let next):
            nextProducerID = max(nextProducerID, next)
        case .broker(let id, let host, let port, let rack):
            brokers.removeAll { $0.id == id }
            brokers.append(Broker(id: id, host: host, port: port, rack: rack))
            brokers.sort { $0.id < $1.id }
        }
    }

    private mutating func addPartition(_ partition: Partition, to topicID: KafkaUUID) {
        // Even of a topic that is gone: its group id is never used again.
        nextGroupID = max(nextGroupID, partition.groupID + 1)
        guard let name = topicNames[topicID], let count = topics[name]?.partitions.count,
            count == Int(partition.index)
        else { return }
        topics[name]?.partitions.append(partition)
        partitionCount += 1
    }
}

/// Topics the broker keeps for itself.
package enum InternalTopic: String, CaseIterable, Sendable {
    case clusterMetadata = "__chronik_metadata"
    case consumerOffsets = "__consumer_offsets"
    case transactionState = "__transaction_state"
}
