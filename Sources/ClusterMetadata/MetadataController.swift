package import KafkaProtocol

/// What a controller decides: records to commit, and what to answer once they are.
package struct Decision<Answer> {
    package var records: [MetadataRecord]
    package var answer: Answer

    package init(records: [MetadataRecord], answer: Answer) {
        self.records = records
        self.answer = answer
    }
}

extension Decision: Sendable where Answer: Sendable {}

/// Decides what requests change in the cluster's metadata.
///
/// Only decides: a decision counts once its records are committed and replayed into the committed
/// image. Until then `decided` shows what earlier, still uncommitted decisions have laid down, so
/// that two requests under way cannot both create a topic.
package struct MetadataController: Sendable {
    /// Settings a controller needs beside the metadata itself.
    package struct Settings: Sendable {
        package var nodeID: Int32
        /// That of the cluster's nodes; empty where none is checked.
        package var clusterID: String
        package var defaultPartitions: Int32
        package var defaultReplicationFactor: Int16
        package var maxPartitions: Int
        /// Broker-wide values that are set in the broker's own configuration.
        package var brokerConfigs: [String: String]

        package init(
            nodeID: Int32,
            clusterID: String = "",
            defaultPartitions: Int32 = 1,
            defaultReplicationFactor: Int16 = 1,
            maxPartitions: Int = 100_000,
            brokerConfigs: [String: String] = [:]
        ) {
            self.nodeID = nodeID
            self.clusterID = clusterID
            self.defaultPartitions = defaultPartitions
            self.defaultReplicationFactor = defaultReplicationFactor
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

    mutating func decide<Answer>(
        _ records: [MetadataRecord],
        _ answer: Answer
    ) -> Decision<Answer> {
        for record in records { decided.replay(record) }
        return Decision(records: records, answer: answer)
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
