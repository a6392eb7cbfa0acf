/// The place of a record in its partition.
package struct Offset: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: Int64
    package static let zero = Offset(0)

    package init(_ rawValue: Int64) { self.rawValue = rawValue }

    package static func < (left: Offset, right: Offset) -> Bool { left.rawValue < right.rawValue }
    package static func + (left: Offset, right: Int64) -> Offset { Offset(left.rawValue + right) }
    package static func - (left: Offset, right: Int64) -> Offset { Offset(left.rawValue - right) }
    package var description: String { "\(rawValue)" }
}

/// How often a partition's leadership has changed (KIP-101): the Raft term, in 32 bits.
package struct LeaderEpoch: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: Int32
    package static let none = LeaderEpoch(-1)

    package init(_ rawValue: Int32) { self.rawValue = rawValue }

    package static func < (left: LeaderEpoch, right: LeaderEpoch) -> Bool {
        left.rawValue < right.rawValue
    }
    package var description: String { "\(rawValue)" }
}

/// A partition by the name of its topic.
package struct TopicPartition: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let topic: String
    package let partition: Int32

    package init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    package static func < (left: TopicPartition, right: TopicPartition) -> Bool {
        (left.topic, left.partition) < (right.topic, right.partition)
    }
    package var description: String { "\(topic)-\(partition)" }
}
