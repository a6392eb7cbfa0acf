package import Bytes
import KafkaMessages

extension MetadataRecord {
    private enum Tag: UInt8 {
        case topic = 1
        case partition = 2
        case topicConfig = 3
        case brokerConfig = 4
        case removeTopic = 5
        case producerIDs = 6
        case broker = 7
        case brokerRegistration = 8
        case brokerState = 9
        case brokerReplacement = 10
        case removeBroker = 11
        case leaderships = 12
        case assignment = 13
        case partitionState = 14
        case brokerSnapshot = 15
        case counters = 16
        case removedTopics = 17
        case snapshot = 18
    }

    private var tag: Tag {
        switch self {
        case .topic: .topic
        case .partition: .partition
        case .topicConfig: .topicConfig
        case .brokerConfig: .brokerConfig
        case .removeTopic: .removeTopic
        case .producerIDs: .producerIDs
        case .broker: .broker
        case .brokerRegistration: .brokerRegistration
        case .brokerState: .brokerState
        case .brokerReplacement: .brokerReplacement
        case .removeBroker: .removeBroker
        case .leaderships: .leaderships
        case .assignment: .assignment
        case .partitionState: .partitionState
        case .brokerSnapshot: .brokerSnapshot
        case .counters: .counters
        case .removedTopics: .removedTopics
        case .snapshot: .snapshot
        }
    }

    package func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 128)
        writer.write(tag.rawValue)
        writer.write(UInt8(0))
        write(to: &writer)
        return writer.finishContiguous()
    }

    private func write(to writer: inout ByteWriter) {
        switch self {
        case .topic(let id, let name):
            writer.write(id)
            writer.write(text: name)
        case .partition(let topicID, let index, let groupID, let replicas):
            writer.write(topicID)
            writer.write(index)
            writer.write(groupID)
            writer.write(brokers: replicas)
        case .topicConfig(let topicID, let key, let value):
            writer.write(topicID)
            writer.write(text: key)
            writer.write(optionalText: value)
        case .brokerConfig(let key, let value):
            writer.write(text: key)
            writer.write(optionalText: value)
        case .removeTopic(let id): writer.write(id)
        case .producerIDs(let next): writer.write(next)
        case .leaderships(let reports): writer.write(list: reports) { $0.write($1) }
        case .assignment(let groupID, let assignment):
            writer.write(groupID)
            writer.write(assignment)
        case .partitionState(let topicID, let partition):
            writer.write(topicID)
            writer.write(partition)
        case .counters(let nextGroupID, let nextProducerID, let nextBrokerEpoch):
            writer.write(nextGroupID)
            writer.write(nextProducerID)
            writer.write(nextBrokerEpoch)
        case .removedTopics(let ids): writer.write(list: ids) { $0.write($1) }
        case .snapshot(let piece):
            writer.write(UInt32(piece.count))
            writer.write(piece)
        case .broker, .brokerRegistration, .brokerState, .brokerReplacement, .removeBroker,
            .brokerSnapshot:
            writeBroker(to: &writer)
        }
    }

    private func writeBroker(to writer: inout ByteWriter) {
        switch self {
        case .broker(let id, let host, let port, let rack):
            writer.write(id)
            writer.write(text: host)
            writer.write(port)
            writer.write(optionalText: rack)
        case .brokerRegistration(let registration, let epoch):
            writer.write(registration)
            writer.write(epoch)
        case .brokerState(let id, let epoch, let isFenced, let isStopping):
            writer.write(id)
            writer.write(epoch)
            writer.write(flag: isFenced)
            writer.write(flag: isStopping)
        case .brokerReplacement(let id, let directoryID):
            writer.write(id)
            writer.write(directoryID)
        case .removeBroker(let id, let epoch):
            writer.write(id)
            writer.write(epoch)
        case .brokerSnapshot(let broker):
            writer.write(broker.registration)
            writer.write(broker.epoch)
            writer.write(flag: broker.isFenced)
            writer.write(flag: broker.isStopping)
            writer.write(flag: broker.mayBeReplaced)
        default: preconditionFailure("\(self) is not of a broker")
        }
    }

    package init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let raw: UInt8 = try reader.read()
        let version: UInt8 = try reader.read()
        guard let tag = Tag(rawValue: raw), version == 0 else {
            throw .unsupportedVersion(Int16(bitPattern: UInt16(raw) << 8 | UInt16(version)))
        }
        switch tag {
        case .topic, .partition, .topicConfig, .brokerConfig, .removeTopic, .producerIDs:
            self = try Self.readTopic(tag, &reader)
        case .broker, .brokerRegistration, .brokerState, .brokerReplacement, .removeBroker,
            .brokerSnapshot:
            self = try Self.readBroker(tag, &reader)
        case .leaderships, .assignment, .partitionState, .counters, .removedTopics, .snapshot:
            self = try Self.readState(tag, &reader)
        }
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
    }

    private static func readTopic(
        _ tag: Tag,
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MetadataRecord {
        switch tag {
        case .topic: .topic(id: try reader.readUUID(), name: try reader.readText())
        case .partition:
            .partition(
                topicID: try reader.readUUID(),
                index: try reader.read(),
                groupID: try reader.readGroupID(),
                replicas: try reader.readBrokers()
            )
        case .topicConfig:
            .topicConfig(
                topicID: try reader.readUUID(),
                key: try reader.readText(),
                value: try reader.readOptionalText()
            )
        case .brokerConfig:
            .brokerConfig(key: try reader.readText(), value: try reader.readOptionalText())
        case .removeTopic: .removeTopic(id: try reader.readUUID())
        case .producerIDs: .producerIDs(next: try reader.read())
        default: preconditionFailure("\(tag) is not of a topic")
        }
    }

    private static func readBroker(
        _ tag: Tag,
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MetadataRecord {
        switch tag {
        case .broker:
            .broker(
                id: try reader.read(),
                host: try reader.readText(),
                port: try reader.read(),
                rack: try reader.readOptionalText()
            )
        case .brokerRegistration:
            .brokerRegistration(try reader.readRegistration(), epoch: try reader.read())
        case .brokerState:
            .brokerState(
                id: try reader.read(),
                epoch: try reader.read(),
                isFenced: try reader.readFlag(),
                isStopping: try reader.readFlag()
            )
        case .brokerReplacement:
            .brokerReplacement(id: try reader.read(), directoryID: try reader.readUUID())
        case .removeBroker: .removeBroker(id: try reader.read(), epoch: try reader.read())
        case .brokerSnapshot:
            .brokerSnapshot(
                MetadataImage.Broker(
                    registration: try reader.readRegistration(),
                    epoch: try reader.read(),
                    isFenced: try reader.readFlag(),
                    isStopping: try reader.readFlag(),
                    mayBeReplaced: try reader.readFlag()
                )
            )
        default: preconditionFailure("\(tag) is not of a broker")
        }
    }

    private static func readState(
        _ tag: Tag,
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MetadataRecord {
        switch tag {
        case .leaderships:
            .leaderships(
                try reader.readList(elementBytes: 20) { (reader) throws(MalformedBytes) in
                    try reader.readGroupLeadership()
                }
            )
        case .assignment:
            .assignment(groupID: try reader.read(), try reader.readAssignment())
        case .partitionState:
            .partitionState(topicID: try reader.readUUID(), try reader.readPartition())
        case .counters:
            .counters(
                nextGroupID: try reader.read(),
                nextProducerID: try reader.read(),
                nextBrokerEpoch: try reader.read()
            )
        case .removedTopics:
            .removedTopics(
                try reader.readList(elementBytes: 16) { (reader) throws(MalformedBytes) in
                    try reader.readUUID()
                }
            )
        case .snapshot: .snapshot(piece: try reader.readSlice(Int(try reader.readUInt32())))
        default: preconditionFailure("\(tag) is not of state")
        }
    }
}

// MARK: What records, commands and answers have in common

extension ByteWriter {
    mutating func write(_ endpoint: BrokerEndpoint) {
        write(text: endpoint.host)
        write(endpoint.port)
    }

    mutating func write(_ registration: BrokerRegistration) {
        write(registration.id)
        write(registration.directoryID)
        write(registration.incarnation)
        write(registration.kafka)
        write(registration.raft)
        write(optionalText: registration.rack)
    }

    mutating func write(_ leadership: PartitionLeadership) {
        write(leadership.leader)
        write(leadership.epoch)
        write(brokers: leadership.inSync)
    }

    mutating func write(_ report: GroupLeadership) {
        write(report.groupID)
        write(report.leadership)
    }

    fileprivate mutating func write(_ assignment: ReplicaAssignment) {
        write(brokers: assignment.replicas)
        write(brokers: assignment.adding)
        write(brokers: assignment.removing)
        write(brokers: assignment.renewing)
        write(brokers: assignment.rejoining)
        write(brokers: assignment.original)
        write(assignment.revision)
        write(assignment.settledIndex)
    }

    fileprivate mutating func write(_ partition: MetadataImage.Partition) {
        write(partition.index)
        write(partition.groupID)
        write(brokers: partition.firstReplicas)
        write(brokers: partition.founders)
        write(partition.assignment)
        write(partition.leadership)
    }
}

extension ByteReader {
    /// Leaves room for the next one.
    fileprivate mutating func readGroupID() throws(MalformedBytes) -> UInt64 {
        let id: UInt64 = try read()
        guard id < UInt64.max else { throw .invalidLength(-1) }
        return id
    }

    mutating func readEndpoint() throws(MalformedBytes) -> BrokerEndpoint {
        BrokerEndpoint(host: try readText(), port: try read())
    }

    mutating func readRegistration() throws(MalformedBytes) -> BrokerRegistration {
        BrokerRegistration(
            id: try read(),
            directoryID: try readUUID(),
            incarnation: try readUUID(),
            kafka: try readEndpoint(),
            raft: try readEndpoint(),
            rack: try readOptionalText()
        )
    }

    mutating func readLeadership() throws(MalformedBytes) -> PartitionLeadership {
        PartitionLeadership(leader: try read(), epoch: try read(), inSync: try readBrokers())
    }

    mutating func readGroupLeadership() throws(MalformedBytes) -> GroupLeadership {
        GroupLeadership(groupID: try read(), try readLeadership())
    }

    fileprivate mutating func readAssignment() throws(MalformedBytes) -> ReplicaAssignment {
        ReplicaAssignment(
            replicas: try readBrokers(),
            adding: try readBrokers(),
            removing: try readBrokers(),
            renewing: try readBrokers(),
            rejoining: try readBrokers(),
            original: try readBrokers(),
            revision: try read(),
            settledIndex: try read()
        )
    }

    fileprivate mutating func readPartition() throws(MalformedBytes) -> MetadataImage.Partition {
        MetadataImage.Partition(
            index: try read(),
            groupID: try readGroupID(),
            firstReplicas: try readBrokers(),
            founders: try readBrokers(),
            assignment: try readAssignment(),
            leadership: try readLeadership()
        )
    }
}
