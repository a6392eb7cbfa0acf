package import KafkaMessages
package import KafkaProtocol

/// The cluster's metadata as of some committed record: an immutable value to read from.
///
/// Copies share what they have in common, so that to keep or publish one costs nothing, and a
/// record costs as much as what it changes.
package struct MetadataImage: Sendable {
    package struct Topic: Sendable {
        package let id: KafkaUUID
        package let name: String
        /// In the order of their index, without gaps.
        package internal(set) var partitions = PartitionList()
        package internal(set) var configs: [String: String] = [:]

        package var isInternal: Bool { InternalTopic(rawValue: name) != nil }
    }

    private(set) var topics = PersistentMap<String, Topic>()
    package private(set) var topicNames = PersistentMap<KafkaUUID, String>()
    package private(set) var groups = PersistentMap<UInt64, PartitionPlace>()
    /// Names with a dot or an underscore, by what Kafka's metrics make of them.
    private var foldedNames = PersistentMap<String, String>()
    /// Sorted by id.
    package internal(set) var brokers: [Broker] = []
    package private(set) var loads: [Int32: BrokerLoad] = [:]
    package private(set) var brokerConfigs: [String: String] = [:]
    /// The lowest producer id not given out.
    package private(set) var nextProducerID: Int64 = 0
    /// The lowest group id never used; 0 is the metadata group itself.
    package private(set) var nextGroupID: UInt64 = 1
    package internal(set) var nextBrokerEpoch: Int64 = 1
    package private(set) var partitionCount = 0
    /// Ids of the topics removed last, so that a request that comes late does not bring one back.
    package private(set) var removedTopics: [KafkaUUID] = []

    static let rememberedRemovals = 256

    package init() {}

    // MARK: Reading

    package func topic(_ name: String) -> Topic? { topics[name] }

    package func topic(_ id: KafkaUUID) -> Topic? { topicNames[id].flatMap { topics[$0] } }

    /// The group of a partition, and whether its topic is the broker's own: what is asked for every
    /// batch, and so without a copy of the partition.
    package func group(of topic: String, _ index: Int32) -> (id: UInt64, isInternal: Bool)? {
        guard let topic = topics[topic], topic.partitions.indices.contains(Int(index)) else {
            return nil
        }
        return (topic.partitions[Int(index)].groupID, topic.isInternal)
    }

    package var topicCount: Int { topics.count }

    /// Sorted by name.
    package var sortedTopics: [Topic] { topics.values.sorted { $0.name < $1.name } }

    package var allPartitions: [TopicPartition] {
        sortedTopics.flatMap { topic in
            topic.partitions.map { TopicPartition(topic: topic.name, partition: $0.index) }
        }
    }

    package func partition(_ place: PartitionPlace) -> Partition? {
        guard let topic = topics[place.topic], topic.id == place.topicID,
            Int(place.index) < topic.partitions.count
        else { return nil }
        return topic.partitions[Int(place.index)]
    }

    package func partition(ofGroup groupID: UInt64) -> Partition? {
        groups[groupID].flatMap { partition($0) }
    }

    package func broker(_ id: Int32) -> Broker? { brokers.first { $0.id == id } }

    /// A topic other than the one named whose name is the same to Kafka's metrics.
    package func topicConfusable(with name: String) -> String? {
        guard let folded = Self.folded(name) else { return nil }
        return foldedNames[folded].flatMap { $0 == name ? nil : $0 }
    }

    /// Dots as underscores; `nil` when there are neither.
    private static func folded(_ name: String) -> String? {
        let dot = UInt8(ascii: ".")
        guard name.utf8.contains(where: { $0 == dot || $0 == UInt8(ascii: "_") }) else {
            return nil
        }
        return String(
            decoding: name.utf8.map { $0 == dot ? UInt8(ascii: "_") : $0 },
            as: UTF8.self
        )
    }

    // MARK: Replaying

    /// The only writer: what a committed record changes.
    package mutating func replay(_ record: MetadataRecord) {
        switch record {
        case .topic(let id, let name): addTopic(id, name)
        case .partition(let topicID, let index, let groupID, let replicas):
            addPartition(
                Partition(index: index, groupID: groupID, replicas: replicas),
                to: topicID
            )
        case .partitionState(let topicID, let partition): addPartition(partition, to: topicID)
        case .topicConfig(let topicID, let key, let value):
            guard let name = topicNames[topicID] else { return }
            topics.modify(name) { $0.configs[key] = value }
        case .brokerConfig(let key, let value): brokerConfigs[key] = value
        case .removeTopic(let id): removeTopic(id)
        case .producerIDs(let next): nextProducerID = max(nextProducerID, next)
        case .broker, .brokerRegistration, .brokerState, .brokerReplacement, .removeBroker,
            .brokerSnapshot:
            replayBroker(record)
        case .leaderships(let reports): for report in reports { replay(report) }
        case .assignment(let groupID, let assignment):
            modifyAssignment(ofGroup: groupID) { $0.assign(assignment) }
        case .counters(let nextGroupID, let nextProducerID, let nextBrokerEpoch):
            self.nextGroupID = max(self.nextGroupID, nextGroupID)
            self.nextProducerID = max(self.nextProducerID, nextProducerID)
            self.nextBrokerEpoch = max(self.nextBrokerEpoch, nextBrokerEpoch)
        case .removedTopics(let ids): for id in ids { remember(removed: id) }
        case .snapshot: return
        }
    }

    private mutating func addTopic(_ id: KafkaUUID, _ name: String) {
        // Neither the name nor the id of another topic: no decision makes such a record.
        if let old = topics[name] { removeTopic(old.id) }
        if topicNames[id] != nil { removeTopic(id) }
        topics[name] = Topic(id: id, name: name)
        topicNames[id] = name
        if let folded = Self.folded(name) { foldedNames[folded] = name }
    }

    private mutating func removeTopic(_ id: KafkaUUID) {
        guard let name = topicNames.remove(id), let topic = topics.remove(name) else { return }
        if let folded = Self.folded(name), foldedNames[folded] == name {
            foldedNames.remove(folded)
        }
        for partition in topic.partitions {
            groups.remove(partition.groupID)
            count(partition, by: -1)
        }
        partitionCount -= topic.partitions.count
        remember(removed: id)
    }

    private mutating func remember(removed id: KafkaUUID) {
        if removedTopics.count == Self.rememberedRemovals { removedTopics.removeFirst() }
        removedTopics.append(id)
    }

    private mutating func addPartition(_ partition: Partition, to topicID: KafkaUUID) {
        // Even of a topic that is gone: its group id is never used again.
        nextGroupID = max(nextGroupID, partition.groupID + 1)
        guard let name = topicNames[topicID], groups[partition.groupID] == nil,
            topics[name]?.partitions.count == Int(partition.index)
        else { return }
        topics.modify(name) { $0.partitions.append(partition) }
        groups[partition.groupID] = PartitionPlace(
            topicID: topicID,
            topic: name,
            index: partition.index
        )
        partitionCount += 1
        count(partition, by: 1)
    }

    mutating func modifyAssignment(
        ofGroup groupID: UInt64,
        _ change: (inout Partition) -> Void
    ) {
        let changed = modifyPartition(ofGroup: groupID) { partition in
            let old = partition.assignment
            change(&partition)
            return (old: old, new: partition.assignment)
        }
        guard let changed else { return }
        count(changed.old, by: -1)
        count(changed.new, by: 1)
    }

    /// A precondition: the change leaves the assignment as it is, or the caller counts it.
    private mutating func modifyPartition<Result>(
        ofGroup groupID: UInt64,
        _ change: (inout Partition) -> Result
    ) -> Result? {
        guard let place = groups[groupID] else { return nil }
        return topics.modify(place.topic) { change(&$0.partitions[Int(place.index)]) }
    }

    private mutating func replay(_ report: GroupLeadership) {
        _ = modifyPartition(ofGroup: report.groupID) { partition in
            if report.leadership.supersedes(partition.leadership) {
                partition.leadership = report.leadership
            }
        }
    }

    private mutating func count(_ partition: Partition, by change: Int) {
        count(partition.assignment, by: change)
    }

    private mutating func count(_ assignment: ReplicaAssignment, by change: Int) {
        for replica in assignment.replicas { loads[replica, default: .init()].replicas += change }
        if let first = assignment.replicas.first {
            loads[first, default: .init()].preferred += change
        }
    }
}

extension PartitionLeadership {
    /// Terms only rise, and a term has one leader.
    func supersedes(_ old: PartitionLeadership) -> Bool {
        epoch > old.epoch || (epoch == old.epoch && leader == old.leader && inSync != old.inSync)
    }
}

extension MetadataImage.Partition {
    mutating func assign(_ new: ReplicaAssignment) {
        assignment = new
        leadership.inSync.removeAll { !new.replicas.contains($0) }
    }
}

/// Topics the broker keeps for itself.
package enum InternalTopic: String, CaseIterable, Sendable {
    case clusterMetadata = "__chronik_metadata"
    case consumerOffsets = "__consumer_offsets"
    case transactionState = "__transaction_state"
}
