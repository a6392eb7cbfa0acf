import KafkaMessages
import KafkaProtocol

/// Carries commands out.
extension MetadataController {
    /// The records a command leads to, and what to answer once they are committed.
    ///
    /// Each topic or partition named succeeds or fails by itself, as in Kafka's own requests; all
    /// that succeed are one batch of records, so they take effect together.
    package mutating func handle(_ command: MetadataCommand) -> Decision<MetadataAnswer> {
        switch command.request {
        case .createTopics(let topics, let validateOnly):
            create(topics, validateOnly: validateOnly)
        case .deleteTopics(let ids):
            each(ids) { (controller, id) throws(MetadataProblem) in
                try controller.delete(id, isRetry: command.isRetry)
            }
        case .createPartitions(let growths, let validateOnly):
            each(growths) { (controller, growth) throws(MetadataProblem) in
                try controller.grow(
                    growth,
                    validateOnly: validateOnly,
                    isRetry: command.isRetry
                )
            }
        case .alterTopicConfigs(let topic, let changes, let validateOnly):
            one { (controller) throws(MetadataProblem) in
                try controller.alterTopicConfigs(
                    topic,
                    changes.map { ($0.key, $0.change) },
                    validateOnly: validateOnly
                )
            }
        case .alterBrokerConfigs(let changes, let validateOnly):
            one { (controller) throws(MetadataProblem) in
                try controller.alterBrokerConfigs(
                    changes.map { ($0.key, $0.change) },
                    validateOnly: validateOnly
                )
            }
        case .reportMembers(let reports):
            each(reports) { (controller, report) throws(MetadataProblem) in
                try controller.groupHasMembers(report)
            }
        case .reassign(let reassignments):
            each(reassignments) { (controller, asked) throws(MetadataProblem) in
                try controller.reassign(asked.topic, asked.partition, to: asked.replicas)
            }
        case .registerBroker, .stopBroker, .replaceBroker, .unregisterBroker,
            .allocateProducerIDs, .reportLeaderships:
            handleBroker(command)
        }
    }

    private mutating func handleBroker(_ command: MetadataCommand) -> Decision<MetadataAnswer> {
        switch command.request {
        case .registerBroker(let registration, let clusterID):
            answer { (controller) throws(MetadataProblem) in
                let decision = try controller.register(registration, clusterID: clusterID)
                return Decision(
                    records: decision.records,
                    answer: .brokerEpoch(decision.answer)
                )
            }
        case .stopBroker(let id, let epoch):
            one { (controller) throws(MetadataProblem) in
                try controller.brokerIsStopping(id, epoch: epoch)
            }
        case .replaceBroker(let id, let directoryID):
            one { (controller) throws(MetadataProblem) in
                try controller.replaceBroker(id, directoryID: directoryID)
            }
        case .unregisterBroker(let id):
            one { (controller) throws(MetadataProblem) in
                if command.isRetry && controller.decided.broker(id) == nil {
                    return Decision(records: [], answer: ())
                }
                return try controller.unregisterBroker(id)
            }
        case .allocateProducerIDs(let broker, let epoch):
            answer { (controller) throws(MetadataProblem) in
                let decision = try controller.allocateProducerIDs(to: broker, epoch: epoch)
                return Decision(
                    records: decision.records,
                    answer: .producerIDs(
                        first: decision.answer.lowerBound,
                        count: Int64(decision.answer.count)
                    )
                )
            }
        case .reportLeaderships(let broker, let epoch, let reports):
            one { (controller) throws(MetadataProblem) in
                try controller.reportLeaderships(reports, by: broker, epoch: epoch)
            }
        default: preconditionFailure("\(command) is not of a broker")
        }
    }

    // MARK: Topics

    private mutating func create(
        _ topics: [MetadataCommand.TopicCreation],
        validateOnly: Bool
    ) -> Decision<MetadataAnswer> {
        var records: [MetadataRecord] = []
        var outcomes: [MetadataAnswer.TopicOutcome] = []
        for asked in topics {
            do {
                let topic = NewTopic(
                    name: asked.name,
                    partitions: asked.partitions,
                    replicationFactor: asked.replicationFactor,
                    assignments: asked.assignments,
                    configs: asked.configs.map { ($0.key, $0.value) }
                )
                let decision = try createTopic(topic, id: asked.id, validateOnly: validateOnly)
                records += decision.records
                let made = decision.answer
                outcomes.append(
                    .init(
                        .done,
                        id: validateOnly ? .zero : made.id,
                        partitions: Int32(made.partitions.count),
                        replicationFactor: Int16(
                            clamping: made.partitions.first?.replicas.count ?? 1
                        )
                    )
                )
            } catch {
                outcomes.append(.init(error.outcome))
            }
        }
        return Decision(records: records, answer: .topics(outcomes))
    }

    private mutating func delete(
        _ id: KafkaUUID,
        isRetry: Bool
    ) throws(MetadataProblem) -> Decision<Void> {
        if let topic = decided.topic(id) { return try deleteTopic(topic) }
        if isRetry && decided.removedTopics.contains(id) {
            return Decision(records: [], answer: ())
        }
        throw .init(.unknownTopicId, "there is no topic with the id \(id)")
    }

    private mutating func grow(
        _ growth: MetadataCommand.PartitionGrowth,
        validateOnly: Bool,
        isRetry: Bool
    ) throws(MetadataProblem) -> Decision<Void> {
        if isRetry && decided.topic(growth.topic)?.partitions.count == Int(growth.count) {
            return Decision(records: [], answer: ())
        }
        return try addPartitions(
            to: growth.topic,
            count: growth.count,
            assignments: growth.assignments,
            validateOnly: validateOnly
        )
    }

    // MARK: Answers

    private mutating func answer(
        _ decide: (inout Self) throws(MetadataProblem) -> Decision<MetadataAnswer>
    ) -> Decision<MetadataAnswer> {
        do {
            return try decide(&self)
        } catch {
            return Decision(records: [], answer: .refused(error.outcome))
        }
    }

    private mutating func one(
        _ decide: (inout Self) throws(MetadataProblem) -> Decision<Void>
    ) -> Decision<MetadataAnswer> {
        answer { (controller) throws(MetadataProblem) in
            Decision(records: try decide(&controller).records, answer: .outcomes([.done]))
        }
    }

    private mutating func each<Item>(
        _ items: [Item],
        _ decide: (inout Self, Item) throws(MetadataProblem) -> Decision<Void>
    ) -> Decision<MetadataAnswer> {
        var records: [MetadataRecord] = []
        var outcomes: [MetadataAnswer.Outcome] = []
        for item in items {
            do {
                records += try decide(&self, item).records
                outcomes.append(.done)
            } catch {
                outcomes.append(error.outcome)
            }
        }
        return Decision(records: records, answer: .outcomes(outcomes))
    }
}
