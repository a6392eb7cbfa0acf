package import KafkaMessages
package import KafkaProtocol

/// What differs between two images: all a node has to react to.
///
/// Costs as much as what changed where one image came from the other by replay, since what they
/// share is passed over; between strangers, as after a snapshot, it costs a look at everything.
/// Lists are in the order of topics and partitions, whatever the order of the records.
package struct MetadataDelta: Sendable {
    package struct PartitionChange: Sendable {
        package let id: TopicPartition
        package let topicID: KafkaUUID
        /// `nil` when it has been made.
        package let old: MetadataImage.Partition?
        /// `nil` when it is gone.
        package let new: MetadataImage.Partition?
    }

    package private(set) var createdTopics: [MetadataImage.Topic] = []
    package private(set) var deletedTopics: [MetadataImage.Topic] = []
    /// Topics whose configuration differs; of new ones, those that have any.
    package private(set) var reconfiguredTopics: [MetadataImage.Topic] = []
    package private(set) var partitions: [PartitionChange] = []
    /// Brokers as they are now, new ones among them.
    package private(set) var brokers: [MetadataImage.Broker] = []
    package private(set) var removedBrokers: [MetadataImage.Broker] = []
    package private(set) var brokerConfigsChanged = false

    package init(from old: MetadataImage, to new: MetadataImage) {
        // By id: a topic made again under its old name is another one.
        new.topicNames.forEachDifference(from: old.topicNames) { id, before, after in
            guard before != after else { return }
            if before != nil, let topic = old.topic(id) { deletedTopics.append(topic) }
            if after != nil, let topic = new.topic(id) { createdTopics.append(topic) }
        }
        var topics: [(old: MetadataImage.Topic?, new: MetadataImage.Topic?, name: String)] = []
        new.topics.forEachDifference(from: old.topics) { topics.append(($1, $2, $0)) }
        topics.sort { $0.name < $1.name }
        for (before, after, _) in topics {
            if let before, let after, before.id == after.id {
                compare(before, after)
            } else {
                // What goes comes before what is made under the same name.
                if let before { remove(before) }
                if let after { add(after) }
            }
        }
        compareBrokers(old.brokers, new.brokers)
        brokerConfigsChanged = old.brokerConfigs != new.brokerConfigs
        createdTopics.sort { $0.name < $1.name }
        deletedTopics.sort { $0.name < $1.name }
    }

    private mutating func compare(_ old: MetadataImage.Topic, _ new: MetadataImage.Topic) {
        if old.configs != new.configs { reconfiguredTopics.append(new) }
        new.partitions.forEachDifference(from: old.partitions) { before, after in
            guard let index = (after ?? before)?.index else { return }
            append(new, index, old: before, new: after)
        }
    }

    private mutating func add(_ topic: MetadataImage.Topic) {
        if !topic.configs.isEmpty { reconfiguredTopics.append(topic) }
        for partition in topic.partitions {
            append(topic, partition.index, old: nil, new: partition)
        }
    }

    private mutating func remove(_ topic: MetadataImage.Topic) {
        for partition in topic.partitions {
            append(topic, partition.index, old: partition, new: nil)
        }
    }

    private mutating func append(
        _ topic: MetadataImage.Topic,
        _ index: Int32,
        old: MetadataImage.Partition?,
        new: MetadataImage.Partition?
    ) {
        partitions.append(
            PartitionChange(
                id: TopicPartition(topic: topic.name, partition: index),
                topicID: topic.id,
                old: old,
                new: new
            )
        )
    }

    private mutating func compareBrokers(
        _ old: [MetadataImage.Broker],
        _ new: [MetadataImage.Broker]
    ) {
        guard old != new else { return }
        brokers = new.filter { !old.contains($0) }
        removedBrokers = old.filter { gone in !new.contains { $0.id == gone.id } }
    }

    package var isEmpty: Bool {
        createdTopics.isEmpty && deletedTopics.isEmpty && reconfiguredTopics.isEmpty
            && partitions.isEmpty && brokers.isEmpty && removedBrokers.isEmpty
            && !brokerConfigsChanged
    }

    // MARK: To one broker

    /// A partition that has come to a broker, or left it.
    package struct Placement: Sendable {
        package let id: TopicPartition
        package let topicID: KafkaUUID
        package let partition: MetadataImage.Partition
    }

    /// Partitions the broker has to begin with.
    package func placed(on broker: Int32) -> [Placement] {
        partitions.compactMap { change in
            guard let new = change.new, new.assignment.isHosted(on: broker),
                change.old.map({ !$0.assignment.isHosted(on: broker) }) ?? true
            else { return nil }
            return Placement(id: change.id, topicID: change.topicID, partition: new)
        }
    }

    /// Partitions the broker has no part in any more: their files go.
    package func removed(from broker: Int32) -> [Placement] {
        partitions.compactMap { change in
            guard let old = change.old, old.assignment.isHosted(on: broker),
                change.new.map({ !$0.assignment.isHosted(on: broker) }) ?? true
            else { return nil }
            return Placement(id: change.id, topicID: change.topicID, partition: old)
        }
    }

    /// Partitions on the broker whose members are to change, or no longer: for their leaders.
    package func reassigned(on broker: Int32) -> [Placement] {
        partitions.compactMap { change in
            guard let old = change.old, let new = change.new, old.assignment != new.assignment,
                new.assignment.isHosted(on: broker)
            else { return nil }
            return Placement(id: change.id, topicID: change.topicID, partition: new)
        }
    }

    /// Partitions that have got another leader, or the same one in another term.
    package var movedLeaders: [PartitionChange] {
        partitions.filter { change in
            guard let new = change.new else { return false }
            let old = change.old?.leadership ?? .unknown
            return old.leader != new.leadership.leader || old.epoch != new.leadership.epoch
        }
    }
}
