package import KafkaMessages
package import KafkaProtocol

/// What a controller decides: records to commit, and what to answer once they are.
package struct Decision<Answer> {
    package var records: [MetadataRecord]
    package var answer: Answer
}

/// Decides what requests change in the cluster's metadata.
///
/// Only decides: a decision counts once its records are committed and replayed into the committed
/// image. Until then `decided` shows what earlier, still uncommitted decisions have laid down, so
/// that two requests under way cannot both create a topic.
package struct MetadataController {
    /// Settings a controller needs beside the metadata itself.
    package struct Settings: Sendable {
        package var nodeID: Int32
        package var defaultPartitions: Int32
        package var maxPartitions: Int
        /// Broker-wide values that are set in the broker's own configuration.
        package var brokerConfigs: [String: String]

        package init(
            nodeID: Int32,
            defaultPartitions: Int32 = 1,
            maxPartitions: Int = 100_000,
            brokerConfigs: [String: String] = [:]
        ) {
            self.nodeID = nodeID
            self.defaultPartitions = defaultPartitions
            self.maxPartitions = maxPartitions
            self.brokerConfigs = brokerConfigs
        }
    }

    package let settings: Settings
    package private(set) var decided: MetadataImage

    package init(settings: Settings, committed: MetadataImage) {
        self.settings = settings
        decided = committed
    }

    /// Forgets decisions that did not come to be committed.
    package mutating func reset(to committed: MetadataImage) { decided = committed }

    private mutating func decide<Answer>(
        _ records: [MetadataRecord],
        _ answer: Answer
    ) -> Decision<
        Answer
    > {
        for record in records { decided.replay(record) }
        return Decision(records: records, answer: answer)
    }

    // MARK: Topics

    /// A topic to be made; -1 stands for the broker's default.
    package struct NewTopic {
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
        guard decided.topics[topic.name] == nil else {
            throw .init(.topicAlreadyExists, "topic '\(topic.name)' already exists")
        }
        let placement = try placement(of: topic)
        guard decided.partitionCount + placement.count <= settings.maxPartitions else {
            throw .init(
                .invalidPartitions,
                "\(placement.count) more partitions would exceed the limit of \(settings.maxPartitions)"
            )
        }
        var records: [MetadataRecord] = [.topic(id: id, name: topic.name)]
        for (index, replicas) in placement.enumerated() {
            records.append(
                .partition(
                    topicID: id,
                    index: Int32(index),
                    groupID: decided.nextGroupID + UInt64(index),
                    replicas: replicas
                )
            )
        }
        for config in topic.configs {
            guard let value = config.value else { continue }
            try checkTopicConfig(config.key, value)
            records.append(.topicConfig(topicID: id, key: config.key, value: value))
        }
        var preview = decided
        for record in records { preview.replay(record) }
        guard let made = preview.topics[topic.name] else {
            preconditionFailure("the records of '\(topic.name)' do not make it")
        }
        return validateOnly ? Decision(records: [], answer: made) : decide(records, made)
    }

    package mutating func deleteTopic(
        _ topic: MetadataImage.Topic
    ) throws(MetadataProblem)
        -> Decision<Void>
    {
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
        guard let topic = decided.topics[name] else {
            throw .init(.unknownTopicOrPartition, "topic '\(name)' does not exist")
        }
        guard InternalTopic(rawValue: name) == nil else {
            throw .init(.invalidPartitions, "'\(name)' is the broker's own topic")
        }
        let old = Int32(topic.partitions.count)
        guard count > old else {
            throw .init(
                .invalidPartitions,
                "topic '\(name)' has \(old) partitions; \(count) is not more"
            )
        }
        guard decided.partitionCount + Int(count - old) <= settings.maxPartitions else {
            throw .init(
                .invalidPartitions,
                "\(count) partitions would exceed the limit of \(settings.maxPartitions)"
            )
        }
        if let assignments {
            guard assignments.count == Int(count - old) else {
                throw .init(
                    .invalidReplicaAssignment,
                    "\(assignments.count) assignments for \(count - old) new partitions"
                )
            }
            for replicas in assignments { try checkReplicas(replicas) }
        }
        var records: [MetadataRecord] = []
        for index in old..<count {
            records.append(
                .partition(
                    topicID: topic.id,
                    index: index,
                    groupID: decided.nextGroupID + UInt64(index - old),
                    replicas: [settings.nodeID]
                )
            )
        }
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
        guard name.contains(".") || name.contains("_") else { return }
        let folded = Self.folded(name)
        let clash = decided.topics.keys.contains { $0 != name && Self.folded($0) == folded }
        if clash {
            throw .init(
                .invalidTopicException,
                "the name '\(name)' differs from an existing topic's only in '.' and '_'"
            )
        }
    }

    private static func folded(_ name: String) -> String {
        String(name.map { $0 == "." ? "_" : $0 })
    }

    private func placement(of topic: NewTopic) throws(MetadataProblem) -> [[Int32]] {
        if !topic.assignments.isEmpty {
            guard topic.partitions == -1 && topic.replicationFactor == -1 else {
                throw .init(
                    .invalidRequest,
                    "give either assignments or a number of partitions and replicas, not both"
                )
            }
            for replicas in topic.assignments { try checkReplicas(replicas) }
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
        guard topic.replicationFactor == -1 || topic.replicationFactor == 1 else {
            throw .init(
                .invalidReplicationFactor,
                "replication factor \(topic.replicationFactor), but there is one broker"
            )
        }
        return Array(repeating: [settings.nodeID], count: Int(count))
    }

    private func checkReplicas(_ replicas: [Int32]) throws(MetadataProblem) {
        guard replicas == [settings.nodeID] else {
            throw .init(
                .invalidReplicaAssignment,
                "replicas \(replicas): the only broker is \(settings.nodeID)"
            )
        }
    }

    // MARK: Configuration

    private func checkTopicConfig(_ key: String, _ value: String) throws(MetadataProblem) {
        guard let known = TopicConfigurationKey.named(key) else {
            throw .init(.invalidConfig, "unknown topic configuration '\(key)'")
        }
        if let problem = known.problem(with: value) { throw .init(.invalidConfig, problem) }
    }

    /// One change of one key (KIP-339).
    package enum ConfigChange {
        case set(String)
        case delete
        /// Adds to, or takes from, a list.
        case append(String)
        case subtract(String)
    }

    package mutating func alterTopicConfigs(
        _ name: String,
        _ changes: [(key: String, change: ConfigChange)],
        validateOnly: Bool
    ) throws(MetadataProblem) -> Decision<Void> {
        guard let topic = decided.topics[name] else {
            throw .init(.unknownTopicOrPartition, "topic '\(name)' does not exist")
        }
        var records: [MetadataRecord] = []
        for (key, change) in changes {
            guard let known = TopicConfigurationKey.named(key) else {
                throw .init(.invalidConfig, "unknown topic configuration '\(key)'")
            }
            let value = try changed(known, change, old: topic.configs[key])
            records.append(.topicConfig(topicID: topic.id, key: key, value: value))
        }
        return validateOnly ? Decision(records: [], answer: ()) : decide(records, ())
    }

    package mutating func alterBrokerConfigs(
        _ changes: [(key: String, change: ConfigChange)],
        validateOnly: Bool
    ) throws(MetadataProblem) -> Decision<Void> {
        var records: [MetadataRecord] = []
        for (key, change) in changes {
            guard let known = TopicConfigurationKey.all.first(where: { $0.brokerKey == key }) else {
                throw .init(
                    .invalidConfig,
                    "'\(key)' is unknown or cannot be changed while the broker runs"
                )
            }
            let value = try changed(known, change, old: decided.brokerConfigs[key])
            records.append(.brokerConfig(key: key, value: value))
        }
        return validateOnly ? Decision(records: [], answer: ()) : decide(records, ())
    }

    private func changed(
        _ key: TopicConfigurationKey,
        _ change: ConfigChange,
        old: String?
    ) throws(MetadataProblem) -> String? {
        let value: String?
        switch change {
        case .set(let new): value = new
        case .delete: value = nil
        case .append(let text), .subtract(let text):
            guard case .list = key.kind else {
                throw .init(.invalidConfig, "\(key.name) is no list to add to or take from")
            }
            let parts = text.split(separator: ",").map(String.init)
            var list = (old ?? key.defaultValue).split(separator: ",").map(String.init)
            list.removeAll { parts.contains($0) }
            if case .append = change { list += parts }
            value = list.joined(separator: ",")
        }
        if let value, let problem = key.problem(with: value) {
            throw .init(.invalidConfig, problem)
        }
        return value
    }

    // MARK: Producer ids and brokers

    /// Sets `count` producer ids aside, never to be given out again.
    package mutating func reserveProducerIDs(_ count: Int64) -> Decision<Range<Int64>> {
        let first = decided.nextProducerID
        return decide([.producerIDs(next: first + count)], first..<first + count)
    }

    package mutating func registerBroker(
        host: String,
        port: UInt16,
        rack: String?
    ) -> Decision<Void> {
        let broker = MetadataImage.Broker(id: settings.nodeID, host: host, port: port, rack: rack)
        if decided.brokers == [broker] { return Decision(records: [], answer: ()) }
        return decide(
            [.broker(id: settings.nodeID, host: host, port: port, rack: rack)],
            ()
        )
    }
}

/// Why a metadata request changes nothing.
package struct MetadataProblem: Error, Equatable {
    package let code: ErrorCode
    package let message: String

    package init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }
}
