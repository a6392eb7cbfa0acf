package import Bytes

// The calls of those who read and write; see `proto/raft_rpc.proto`.

/// Asks a leader for an index to read at.
package struct ReadIndexRequest: ProtobufMessage, Equatable, Sendable {
    package var header: CallHeader = CallHeader()
    package var route: GroupRoute = GroupRoute()

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, header)
        sink.field(2, route)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&header, &budget)
        case 2: try field.read(&route, &budget)
        default: break
        }
    }
}

/// Once this index is applied, everything committed before the call can be seen.
package struct ReadIndexResponse: ProtobufMessage, Equatable, Sendable {
    package var index: UInt64 = 0
    package var term: UInt64 = 0

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, index)
        sink.field(2, term)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&index)
        case 2: field.read(&term)
        default: break
        }
    }
}

/// Bytes to propose to a group's leader.
package struct ForwardWriteRequest: ProtobufMessage, Equatable, Sendable {
    package var header: CallHeader = CallHeader()
    package var route: GroupRoute = GroupRoute()
    package var payload: ByteSlice = ByteSlice()

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, header)
        sink.field(2, route)
        sink.field(3, payload)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&header, &budget)
        case 2: try field.read(&route, &budget)
        case 3: field.read(&payload)
        default: break
        }
    }
}

/// Where the bytes came to stand, and what the state machine answered.
package struct ForwardWriteResponse: ProtobufMessage, Equatable, Sendable {
    package var index: UInt64 = 0
    package var term: UInt64 = 0
    package var answer: ByteSlice = ByteSlice()

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, index)
        sink.field(2, term)
        sink.field(3, answer)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&index)
        case 2: field.read(&term)
        case 3: field.read(&answer)
        default: break
        }
    }
}

/// Asks for brokers, topics and partitions.
package struct QueryMetadataRequest: ProtobufMessage, Equatable, Sendable {
    package enum Consistency: UInt64, Sendable {
        /// As of now: the leader is asked.
        case linearizable = 0
        /// What this node has applied.
        case local = 1
    }

    package var header = CallHeader()
    package var consistency = Consistency.linearizable
    /// Empty: all.
    package var topics: [String] = []

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, header)
        sink.field(2, consistency.rawValue)
        sink.field(3, topics)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&header, &budget)
        case 2:
            var number = consistency.rawValue
            field.read(&number)
            guard let known = Consistency(rawValue: number) else {
                throw .invalid("consistency \(number)")
            }
            consistency = known
        case 3: try field.append(to: &topics, &budget)
        default: break
        }
    }
}

/// The metadata as of an entry of its log.
package struct QueryMetadataResponse: ProtobufMessage, Equatable, Sendable {
    /// The last entry of the metadata log that is shown.
    package var index: UInt64 = 0
    package var clusterID: String = ""
    /// 0 if unknown.
    package var leader: UInt64 = 0
    package var brokers: [BrokerState] = []
    package var topics: [TopicState] = []

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, index)
        sink.field(2, clusterID)
        sink.field(3, leader)
        sink.field(4, brokers)
        sink.field(5, topics)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&index)
        case 2: try field.read(&clusterID)
        case 3: field.read(&leader)
        case 4: try field.append(to: &brokers, &budget)
        case 5: try field.append(to: &topics, &budget)
        default: break
        }
    }
}

/// A node as Kafka clients know it.
package struct BrokerState: ProtobufMessage, Equatable, Sendable {
    package var node: UInt64 = 0
    package var host: String = ""
    package var port: UInt32 = 0
    package var rack: String = ""
    package var isAlive: Bool = false

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, node)
        sink.field(2, host)
        sink.field(3, port)
        sink.field(4, rack)
        sink.field(5, isAlive)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&node)
        case 2: try field.read(&host)
        case 3: field.read(&port)
        case 4: try field.read(&rack)
        case 5: field.read(&isAlive)
        default: break
        }
    }
}

/// A topic and where its partitions are.
package struct TopicState: ProtobufMessage, Equatable, Sendable {
    package var name: String = ""
    /// 16 bytes.
    package var id: ByteSlice = ByteSlice()
    package var partitions: [PartitionState] = []

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, name)
        sink.field(2, id)
        sink.field(3, partitions)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&name)
        case 2: field.read(&id)
        case 3: try field.append(to: &partitions, &budget)
        default: break
        }
    }
}

/// A partition and who replicates it.
package struct PartitionState: ProtobufMessage, Equatable, Sendable {
    package var partition: Int32 = 0
    package var group: UInt64 = 0
    /// 0 if unknown.
    package var leader: UInt64 = 0
    package var leaderEpoch: Int32 = 0
    package var replicas: [UInt64] = []
    package var inSync: [UInt64] = []

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, partition)
        sink.field(2, group)
        sink.field(3, leader)
        sink.field(4, leaderEpoch)
        sink.field(5, replicas)
        sink.field(6, inSync)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&partition)
        case 2: field.read(&group)
        case 3: field.read(&leader)
        case 4: field.read(&leaderEpoch)
        case 5: try field.append(to: &replicas, &budget)
        case 6: try field.append(to: &inSync, &budget)
        default: break
        }
    }
}
