package import KafkaMessages
package import KafkaProtocol

/// A change of the metadata that any node may ask of the leader.
///
/// A command whose outcome was lost may be sent again, with `isRetry` set: what it asks for is then
/// done once and answered as the first time. It carries what makes that so: ids of new topics, the
/// incarnation of a broker, terms and revisions of reports. Only producer ids are given anew, and
/// the first block is lost.
package struct MetadataCommand: Sendable, Equatable {
    package enum Request: Sendable, Equatable {
        case createTopics([TopicCreation], validateOnly: Bool)
        /// By id, so that a topic made anew under the name is not meant.
        case deleteTopics([KafkaUUID])
        case createPartitions([PartitionGrowth], validateOnly: Bool)
        case alterTopicConfigs(topic: String, [ConfigAlteration], validateOnly: Bool)
        case alterBrokerConfigs([ConfigAlteration], validateOnly: Bool)
        case registerBroker(BrokerRegistration, clusterID: String)
        case stopBroker(id: Int32, epoch: Int64)
        case replaceBroker(id: Int32, directoryID: KafkaUUID)
        case unregisterBroker(id: Int32)
        case allocateProducerIDs(broker: Int32, epoch: Int64)
        case reportLeaderships(broker: Int32, epoch: Int64, [GroupLeadership])
        case reportMembers([GroupMembersReport])
        case reassign([PartitionReassignment])
    }

    package var request: Request
    /// Whether it was sent before and its outcome is not known.
    package var isRetry: Bool

    package init(_ request: Request, isRetry: Bool = false) {
        self.request = request
        self.isRetry = isRetry
    }

    package struct TopicCreation: Sendable, Equatable {
        /// Made by the node that asks; a retry has the same.
        package var id: KafkaUUID
        package var name: String
        package var partitions: Int32
        package var replicationFactor: Int16
        package var assignments: [[Int32]]
        package var configs: [ConfigValue]

        package init(
            id: KafkaUUID,
            name: String,
            partitions: Int32 = -1,
            replicationFactor: Int16 = -1,
            assignments: [[Int32]] = [],
            configs: [ConfigValue] = []
        ) {
            self.id = id
            self.name = name
            self.partitions = partitions
            self.replicationFactor = replicationFactor
            self.assignments = assignments
            self.configs = configs
        }
    }

    package struct ConfigValue: Sendable, Equatable {
        package var key: String
        package var value: String?

        package init(_ key: String, _ value: String?) {
            self.key = key
            self.value = value
        }
    }

    package struct PartitionGrowth: Sendable, Equatable {
        package var topic: String
        package var count: Int32
        package var assignments: [[Int32]]?

        package init(topic: String, count: Int32, assignments: [[Int32]]? = nil) {
            self.topic = topic
            self.count = count
            self.assignments = assignments
        }
    }

    package struct ConfigAlteration: Sendable, Equatable {
        package var key: String
        package var change: MetadataController.ConfigChange

        package init(_ key: String, _ change: MetadataController.ConfigChange) {
            self.key = key
            self.change = change
        }
    }

    package struct PartitionReassignment: Sendable, Equatable {
        package var topic: String
        package var partition: Int32
        /// `nil` takes the reassignment back.
        package var replicas: [Int32]?

        package init(topic: String, partition: Int32, replicas: [Int32]?) {
            self.topic = topic
            self.partition = partition
            self.replicas = replicas
        }
    }
}

/// What became of a command.
package enum MetadataAnswer: Sendable, Equatable {
    /// One for each topic, partition or group named, in their order; one where there is but one.
    case outcomes([Outcome])
    case topics([TopicOutcome])
    case brokerEpoch(Int64)
    case producerIDs(first: Int64, count: Int64)
    /// Nothing was done of any of it.
    case refused(Outcome)

    package struct Outcome: Sendable, Equatable {
        package var code: ErrorCode
        package var message: String?

        package init(_ code: ErrorCode, _ message: String? = nil) {
            self.code = code
            self.message = message
        }

        package static let done = Outcome(.none)
    }

    package struct TopicOutcome: Sendable, Equatable {
        package var outcome: Outcome
        package var id: KafkaUUID
        package var partitions: Int32
        package var replicationFactor: Int16

        package init(
            _ outcome: Outcome,
            id: KafkaUUID = .zero,
            partitions: Int32 = -1,
            replicationFactor: Int16 = -1
        ) {
            self.outcome = outcome
            self.id = id
            self.partitions = partitions
            self.replicationFactor = replicationFactor
        }
    }
}

extension MetadataProblem {
    package var outcome: MetadataAnswer.Outcome { .init(code, message) }
}
