package import Bytes
package import KafkaProtocol

/// Something that a client did or was told, that was done to the cluster, or that a node holds.
///
/// The names are those of `docs/history-format.md`.
package struct HistoryEvent: Sendable {
    /// How a question ended, or that it was asked.
    package enum Phase: String, Sendable {
        case invoke, ok, fail, unknown
    }

    package enum Acks: String, Sendable {
        case all
        case leader = "1"
        case none = "0"
    }

    /// One record as a consumer or a replica has it.
    package struct Entry: Sendable, Equatable {
        package let offset: Int64
        package let key: String?
        package let value: String?

        package init(offset: Int64, key: String?, value: String?) {
            self.offset = offset
            self.key = key
            self.value = value
        }
    }

    package enum What: Sendable {
        case producer(process: String, acks: Acks, isIdempotent: Bool, isOrdered: Bool)
        case sends(
            process: String,
            id: Int,
            topic: String,
            partition: Int32?,
            key: String?,
            value: String?
        )
        case sent(Phase, process: String, id: Int, partition: Int32, offset: Int64)
        case durable(process: String, id: Int, nodes: Int, replicas: Int)
        case assign(process: String, TopicPartition, offset: Int64)
        case poll(process: String, TopicPartition, [Entry])
        case finished(process: String, TopicPartition)
        case watermark(
            process: String,
            node: Int32,
            incarnation: Int,
            TopicPartition,
            low: Int64?,
            high: Int64?
        )
        case leader(node: Int32, TopicPartition, epoch: Int32)
        case createTopic(Phase, topic: String, partitions: Int)
        case deleteTopic(String)
        case topics([(name: String, partitions: Int)])
        case commit(Phase, process: String, group: String, TopicPartition, offset: Int64)
        case committed(process: String, group: String, TopicPartition, offset: Int64)
        case asksCommitted(process: String, group: String)
        case fault(String)
        case replica(node: Int32, TopicPartition, low: Int64, high: Int64, batches: [ByteSlice])
    }

    /// Nanoseconds of a clock that never goes back.
    package let time: Int64
    package let what: What

    package init(time: Int64, _ what: What) {
        self.time = time
        self.what = what
    }
}

/// What is wrong with a history.
package struct HistoryViolation: Sendable, Hashable, CustomStringConvertible {
    package enum Rule: String, Sendable, CaseIterable {
        case acknowledgedRecordLost = "acknowledged record lost"
        case acknowledgedBeforeDurable = "acknowledged before it was durable"
        case duplicate
        case reordering
        case phantomRecord = "phantom record"
        case inconsistentOffset = "inconsistent offset"
        case sendOutOfOrder = "send out of order"
        case gapInOffsets = "gap in offsets"
        case replicasDiffer = "replicas differ"
        case epochGoingBack = "epoch going back"
        case damagedBatch = "damaged batch"
        case pollOutOfOrder = "poll out of order"
        case readRecordLost = "read record lost"
        case unseenRecords = "unseen records"
        case watermarkGoingBack = "watermark going back"
        case twoLeaders = "two leaders"
        case topicLost = "topic lost"
        case committedOffsetLost = "committed offset lost"
        case malformedHistory = "malformed history"
        /// What only a simulation can tell: it did not become whole again.
        case notConverged = "not converged"
        /// What only a simulation can tell: a client got an answer that it should not get.
        case wrongAnswer = "wrong answer"
    }

    package let rule: Rule
    package let what: String

    package init(_ rule: Rule, _ what: String) {
        self.rule = rule
        self.what = what
    }

    package var description: String { "\(rule.rawValue): \(what)" }
}
