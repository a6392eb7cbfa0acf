/// Who calls whom, in every call.
package struct CallHeader: ProtobufMessage, Equatable, Sendable {
    package var clusterID = ""
    /// 0 for a client that is no node.
    package var from: UInt64 = 0
    /// 0 for whoever is there.
    package var to: UInt64 = 0
    /// When the caller's process started; 0 if it does not say.
    package var incarnation: UInt64 = 0

    package init(clusterID: String, from: UInt64, to: UInt64 = 0, incarnation: UInt64 = 0) {
        self.clusterID = clusterID
        self.from = from
        self.to = to
        self.incarnation = incarnation
    }

    init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, clusterID)
        sink.field(2, from)
        sink.field(3, to)
        sink.field(4, incarnation)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&clusterID)
        case 2: field.read(&from)
        case 3: field.read(&to)
        case 4: field.read(&incarnation)
        default: break
        }
    }
}

/// A group by the partition it replicates, by its number, or both, which must then agree.
package struct GroupRoute: ProtobufMessage, Equatable, Sendable {
    /// Empty: `group` alone decides.
    package var topic = ""
    package var partition: Int32 = 0
    /// `nil`: whichever the partition has now.
    package var group: UInt64?

    package init(topic: String, partition: Int32, group: UInt64? = nil) {
        self.topic = topic
        self.partition = partition
        self.group = group
    }

    package init(group: UInt64) { self.group = group }

    init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, topic)
        sink.field(2, partition)
        if let group { sink.always(3, group) }
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&topic)
        case 2: field.read(&partition)
        case 3:
            var number = group ?? 0
            field.read(&number)
            group = number
        default: break
        }
    }
}
