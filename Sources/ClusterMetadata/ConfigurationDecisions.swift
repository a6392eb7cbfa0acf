import KafkaProtocol

/// What requests change in configurations.
extension MetadataController {
    /// The topic has so many replicas, at least.
    func checkTopicConfig(
        _ key: String,
        _ value: String,
        replicas: Int
    ) throws(MetadataProblem) {
        guard let known = TopicConfigurationKey.named(key) else {
            throw .init(.invalidConfig, "unknown topic configuration '\(key)'")
        }
        if let problem = known.problem(with: value) { throw .init(.invalidConfig, problem) }
        try checkMinInSync(key, value, replicas: replicas, "the replicas that the topic has")
    }

    /// More replicas in sync than there are would refuse every write.
    func checkMinInSync(
        _ key: String,
        _ value: String?,
        replicas: Int,
        _ what: String,
        or code: ErrorCode = .invalidConfig
    ) throws(MetadataProblem) {
        guard key == TopicConfigurationKey.minInSyncReplicas, let value, let least = Int(value),
            least > replicas
        else { return }
        throw .init(
            code,
            "min.insync.replicas is \(least); expected at most \(replicas), \(what)"
        )
    }

    /// One change of one key (KIP-339).
    package enum ConfigChange: Sendable, Equatable {
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
        guard let topic = decided.topic(name) else {
            throw .init(.unknownTopicOrPartition, "topic '\(name)' does not exist")
        }
        var records: [MetadataRecord] = []
        for (key, change) in changes {
            guard let known = TopicConfigurationKey.named(key) else {
                throw .init(.invalidConfig, "unknown topic configuration '\(key)'")
            }
            let value = try changed(known, change, old: topic.configs[key])
            guard !topic.isInternal || !key.hasPrefix("retention.") else {
                throw .init(
                    .invalidConfig,
                    "'\(name)' is the broker's own topic and is kept whole: \(key) cannot be changed"
                )
            }
            let replicas = topic.partitions.map(\.assignment.target.count).min() ?? 0
            try checkMinInSync(
                key,
                value,
                replicas: replicas,
                "the replicas that the topic has"
            )
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
            try checkMinInSync(
                key,
                value,
                replicas: Int(settings.defaultReplicationFactor),
                "which is default.replication.factor; set it higher for single topics"
            )
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
}
