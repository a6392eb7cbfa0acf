package import KafkaMessages
import KafkaProtocol

/// What requests change in topics and their partitions.
extension MetadataController {
    /// A topic to be made; -1 stands for the broker's default.
    package struct NewTopic: Sendable {
        package var name: String
        package var partitions: Int32
        package var replicationFactor: Int16
        /// Brokers by partition, in place of the two numbers.
        package var assignments: [[Int32]]
        package var configs: [(key: String, value: String?)]

        package init(
            name: String,
            partitions: Int32 = -1,
            replicationFactor: Int16 = -1,
            assignments: [[Int32]] = [],
            configs: [(key: String, value: String?)] = []
        ) {
            self.name = name
            self.partitions = partitions
            self.replicationFactor = replicationFactor
            self.assignments = assignments
            self.configs = configs
        }
    }

    /// - Throws: ``MetadataProblem`` when nothing is to be changed.
    package mutating func createTopic(
        _ topic: NewTopic,
        id: KafkaUUID,
        validateOnly: Bool = false
    )
        throws(MetadataProblem) -> Decision<MetadataImage.Topic>
    {
        try checkName(topic.name)
        if let existing = decided.topic(topic.name) {
            // The same request once more, after its outcome was lost: it has done its work.
            if existing.id == id && !validateOnly { return Decision(records: [], answer: existing) }
            throw .init(.topicAlreadyExists, "topic '\(topic.name)' already exists")
        }
        guard decided.topicNames[id] == nil, !decided.removedTopics.contains(id) else {
            throw .init(.unknownTopicId, "the id \(id) was that of a topic removed meanwhile")
        }
        let placement = try placement(of: topic, seed: id.low)
        try checkRoom(for: placement.count)
        var records: [MetadataRecord] = [.topic(id: id, name: topic.name)]
        records += partitionRecords(placement, of: id, from: 0)
        for config in topic.configs {
            guard let value = config.value else { continue }
            try checkTopicConfig(
                config.key,
                value,
                replicas: placement.map(\.count).min() ?? 0
            )
            records.append(.topicConfig(topicID: id, key: config.key, value: value))
        }
        var preview = self
        let decision = preview.decide(records, ())
        guard let made = preview.decided.topic(topic.name) else {
            preconditionFailure("the records of '\(topic.name)' do not make it")
        }
        if validateOnly { return Decision(records: [], answer: made) }
        self = preview
        return Decision(records: decision.records, answer: made)
    }

    private func partitionRecords(
        _ placement: [[Int32]],
        of topicID: KafkaUUID,
        from first: Int
    ) -> [MetadataRecord] {
        placement.enumerated().map { place, replicas in
            .partition(
                topicID: topicID,
                index: Int32(first + place),
                groupID: decided.nextGroupID + UInt64(place),
                replicas: replicas
            )
        }
    }

    private func checkRoom(for more: Int) throws(MetadataProblem) {
        guard decided.partitionCount + more <= settings.maxPartitions else {
            throw .init(
                .invalidPartitions,
                "\(more) more partitions would exceed the limit of \(settings.maxPartitions)"
            )
        }
    }

    package mutating func deleteTopic(
        _ topic: MetadataImage.Topic
    ) throws(MetadataProblem) -> Decision<Void> {
        guard decided.topic(topic.id) != nil else {
            throw .init(.unknownTopicOrPartition, "topic '\(topic.name)' does not exist")
        }
        guard !topic.isInternal else {
            throw .init(.topicDeletionDisabled, "'\(topic.name)' is the broker's own topic")
        }
        return decide([.removeTopic(id: topic.id)], ())
    }

    package mutating func addPartitions(
        to name: String,
        count: Int32,
        assignments: [[Int32]]?,
        validateOnly: Bool
    ) throws(MetadataProblem) -> Decision<Void> {
        guard let topic = decided.topic(name) else {
            throw .init(.unknownTopicOrPartition, "topic '\(name)' does not exist")
        }
        guard !topic.isInternal else {
            throw .init(.invalidPartitions, "'\(name)' is the broker's own topic")
        }
        let old = Int32(topic.partitions.count)
        guard count > old else {
            throw .init(
                .invalidPartitions,
                "topic '\(name)' has \(old) partitions; \(count) is not more"
            )
        }
        guard !topic.partitions.contains(where: \.assignment.isReassigning) else {
            throw .init(
                .reassignmentInProgress,
                "partitions of '\(name)' are being reassigned; add others when that is done"
            )
        }
        try checkRoom(for: Int(count - old))
        let replicationFactor = topic.partitions.first?.replicas.count ?? 1
        let placement: [[Int32]]
        if let assignments {
            guard assignments.count == Int(count - old) else {
                throw .init(
                    .invalidReplicaAssignment,
                    "\(assignments.count) assignments for \(count - old) new partitions"
                )
            }
            for replicas in assignments { try checkReplicas(replicas, count: replicationFactor) }
            placement = assignments
        } else {
            var chosen = try ReplicaPlacement(
                of: replicationFactor,
                beside: topic.partitions,
                in: decided,
                nodeID: settings.nodeID,
                seed: topic.id.low
            )
            placement = (old..<count).map { chosen.next(index: $0) }
        }
        let records = partitionRecords(placement, of: topic.id, from: Int(old))
        return validateOnly ? Decision(records: [], answer: ()) : decide(records, ())
    }

    private func checkName(_ name: String) throws(MetadataProblem) {
        let allowed = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard allowed, !name.isEmpty, name.utf8.count <= 249, name != ".", name != ".." else {
            throw .init(
                .invalidTopicException,
                "a topic's name is 1 to 249 of the characters a-z A-Z 0-9 . _ -, and not '.' or '..'"
            )
        }
        // Kafka's metrics fold the two characters together, so such pairs were never allowed.
        if let other = decided.topicConfusable(with: name) {
            throw .init(
                .invalidTopicException,
                "the name '\(name)' differs from '\(other)' only in '.' and '_'"
            )
        }
    }

    private func placement(
        of topic: NewTopic,
        seed: UInt64
    ) throws(MetadataProblem) -> [[Int32]] {
        if !topic.assignments.isEmpty {
            guard topic.partitions == -1 && topic.replicationFactor == -1 else {
                throw .init(
                    .invalidRequest,
                    "give either assignments or a number of partitions and replicas, not both"
                )
            }
            for replicas in topic.assignments {
                try checkReplicas(replicas, count: topic.assignments[0].count)
            }
            return topic.assignments
        }
        let count = topic.partitions == -1 ? settings.defaultPartitions : topic.partitions
        guard count > 0 else {
            throw .init(.invalidPartitions, "a topic has at least one partition, not \(count)")
        }
        guard Int(count) <= settings.maxPartitions else {
            throw .init(
                .invalidPartitions,
                "\(count) partitions; the limit is \(settings.maxPartitions)"
            )
        }
        let replicationFactor =
            topic.replicationFactor == -1
            ? settings.defaultReplicationFactor : topic.replicationFactor
        var placement = try ReplicaPlacement(
            of: Int(replicationFactor),
            beside: PartitionList(),
            in: decided,
            nodeID: settings.nodeID,
            seed: seed
        )
        return (0..<count).map { placement.next(index: $0) }
    }

    /// Checks replicas somebody names; other partitions may say how many there must be.
    func checkReplicas(_ replicas: [Int32], count: Int? = nil) throws(MetadataProblem) {
        guard !replicas.isEmpty else {
            throw .init(.invalidReplicaAssignment, "a partition has at least one replica")
        }
        guard Set(replicas).count == replicas.count else {
            throw .init(.invalidReplicaAssignment, "replicas \(replicas) name a broker twice")
        }
        if let count, replicas.count != count {
            throw .init(
                .invalidReplicaAssignment,
                "replicas \(replicas): the topic's other partitions have \(count)"
            )
        }
        let known = decided.brokers.isEmpty ? [settings.nodeID] : decided.brokers.map(\.id)
        for replica in replicas where !known.contains(replica) {
            throw .init(
                .invalidReplicaAssignment,
                "replicas \(replicas): no broker \(replica) is registered, only \(known)"
            )
        }
    }
}
