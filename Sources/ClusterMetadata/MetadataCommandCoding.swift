package import Bytes
import KafkaMessages
import KafkaProtocol

/// The bytes of commands and answers between nodes.
///
/// Layout, in the fields of `MetadataFields.swift`:
///
///     command: version u8 (0) | is retry u8 | kind u8 | fields in the order of the case's labels
///     answer:  version u8 (0) | kind u8 | fields in the order of the case's labels
extension MetadataCommand {
    private static let version: UInt8 = 0

    private enum Kind: UInt8 {
        case createTopics = 1
        case deleteTopics = 2
        case createPartitions = 3
        case alterTopicConfigs = 4
        case alterBrokerConfigs = 5
        case registerBroker = 6
        case stopBroker = 7
        case replaceBroker = 8
        case unregisterBroker = 9
        case allocateProducerIDs = 10
        case reportLeaderships = 11
        case reportMembers = 12
        case reassign = 13
    }

    private var kind: Kind {
        switch request {
        case .createTopics: .createTopics
        case .deleteTopics: .deleteTopics
        case .createPartitions: .createPartitions
        case .alterTopicConfigs: .alterTopicConfigs
        case .alterBrokerConfigs: .alterBrokerConfigs
        case .registerBroker: .registerBroker
        case .stopBroker: .stopBroker
        case .replaceBroker: .replaceBroker
        case .unregisterBroker: .unregisterBroker
        case .allocateProducerIDs: .allocateProducerIDs
        case .reportLeaderships: .reportLeaderships
        case .reportMembers: .reportMembers
        case .reassign: .reassign
        }
    }

    package func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 256)
        writer.write(Self.version)
        writer.write(flag: isRetry)
        writer.write(kind.rawValue)
        write(to: &writer)
        return writer.finishContiguous()
    }

    private func write(to writer: inout ByteWriter) {
        switch request {
        case .createTopics(let topics, let validateOnly):
            writer.write(list: topics) { $0.write($1) }
            writer.write(flag: validateOnly)
        case .deleteTopics(let ids): writer.write(list: ids) { $0.write($1) }
        case .createPartitions(let growths, let validateOnly):
            writer.write(list: growths) { $0.write($1) }
            writer.write(flag: validateOnly)
        case .alterTopicConfigs(let topic, let changes, let validateOnly):
            writer.write(text: topic)
            writer.write(list: changes) { $0.write($1) }
            writer.write(flag: validateOnly)
        case .alterBrokerConfigs(let changes, let validateOnly):
            writer.write(list: changes) { $0.write($1) }
            writer.write(flag: validateOnly)
        case .registerBroker(let registration, let clusterID):
            writer.write(registration)
            writer.write(text: clusterID)
        case .stopBroker(let id, let epoch), .allocateProducerIDs(let id, let epoch):
            writer.write(id)
            writer.write(epoch)
        case .replaceBroker(let id, let directoryID):
            writer.write(id)
            writer.write(directoryID)
        case .unregisterBroker(let id): writer.write(id)
        case .reportLeaderships(let broker, let epoch, let reports):
            writer.write(broker)
            writer.write(epoch)
            writer.write(list: reports) { $0.write($1) }
        case .reportMembers(let reports): writer.write(list: reports) { $0.write($1) }
        case .reassign(let reassignments): writer.write(list: reassignments) { $0.write($1) }
        }
    }

    package init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let version: UInt8 = try reader.read()
        guard version == Self.version else { throw .unsupportedVersion(Int16(version)) }
        isRetry = try reader.readFlag()
        let raw: UInt8 = try reader.read()
        guard let kind = Kind(rawValue: raw) else { throw .unsupportedVersion(Int16(raw)) }
        switch kind {
        case .createTopics, .deleteTopics, .createPartitions, .alterTopicConfigs,
            .alterBrokerConfigs, .reassign, .reportMembers:
            request = try Self.readTopics(kind, &reader)
        case .registerBroker, .stopBroker, .replaceBroker, .unregisterBroker,
            .allocateProducerIDs, .reportLeaderships:
            request = try Self.readBroker(kind, &reader)
        }
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
    }

    private static func readTopics(
        _ kind: Kind,
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> Request {
        switch kind {
        case .createTopics:
            .createTopics(
                try reader.readList(elementBytes: 32, ByteReader.readTopicCreation),
                validateOnly: try reader.readFlag()
            )
        case .deleteTopics:
            .deleteTopics(
                try reader.readList(elementBytes: 16) { (reader) throws(MalformedBytes) in
                    try reader.readUUID()
                }
            )
        case .createPartitions:
            .createPartitions(
                try reader.readList(elementBytes: 7, ByteReader.readGrowth),
                validateOnly: try reader.readFlag()
            )
        case .alterTopicConfigs:
            .alterTopicConfigs(
                topic: try reader.readText(),
                try reader.readList(elementBytes: 3, ByteReader.readAlteration),
                validateOnly: try reader.readFlag()
            )
        case .alterBrokerConfigs:
            .alterBrokerConfigs(
                try reader.readList(elementBytes: 3, ByteReader.readAlteration),
                validateOnly: try reader.readFlag()
            )
        case .reassign:
            .reassign(try reader.readList(elementBytes: 7, ByteReader.readReassignment))
        case .reportMembers:
            .reportMembers(try reader.readList(elementBytes: 36, ByteReader.readMembers))
        default: preconditionFailure("\(kind) is not of topics")
        }
    }

    private static func readBroker(
        _ kind: Kind,
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> Request {
        switch kind {
        case .registerBroker:
            .registerBroker(try reader.readRegistration(), clusterID: try reader.readText())
        case .stopBroker: .stopBroker(id: try reader.read(), epoch: try reader.read())
        case .replaceBroker:
            .replaceBroker(id: try reader.read(), directoryID: try reader.readUUID())
        case .unregisterBroker: .unregisterBroker(id: try reader.read())
        case .allocateProducerIDs:
            .allocateProducerIDs(broker: try reader.read(), epoch: try reader.read())
        case .reportLeaderships:
            .reportLeaderships(
                broker: try reader.read(),
                epoch: try reader.read(),
                try reader.readList(elementBytes: 20) { (reader) throws(MalformedBytes) in
                    try reader.readGroupLeadership()
                }
            )
        default: preconditionFailure("\(kind) is not of a broker")
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ topic: MetadataCommand.TopicCreation) {
        write(topic.id)
        write(text: topic.name)
        write(topic.partitions)
        write(topic.replicationFactor)
        write(list: topic.assignments) { $0.write(brokers: $1) }
        write(list: topic.configs) { writer, config in
            writer.write(text: config.key)
            writer.write(optionalText: config.value)
        }
    }

    fileprivate mutating func write(_ growth: MetadataCommand.PartitionGrowth) {
        write(text: growth.topic)
        write(growth.count)
        write(flag: growth.assignments != nil)
        if let assignments = growth.assignments {
            write(list: assignments) { $0.write(brokers: $1) }
        }
    }

    fileprivate mutating func write(_ alteration: MetadataCommand.ConfigAlteration) {
        write(text: alteration.key)
        switch alteration.change {
        case .delete: write(UInt8(0))
        case .set(let value):
            write(UInt8(1))
            write(text: value)
        case .append(let value):
            write(UInt8(2))
            write(text: value)
        case .subtract(let value):
            write(UInt8(3))
            write(text: value)
        }
    }

    fileprivate mutating func write(_ report: GroupMembersReport) {
        write(report.groupID)
        write(report.epoch)
        write(report.revision)
        write(brokers: report.members.voters)
        write(brokers: report.members.outgoing)
        write(brokers: report.members.learners)
        write(report.commit)
    }

    fileprivate mutating func write(_ asked: MetadataCommand.PartitionReassignment) {
        write(text: asked.topic)
        write(asked.partition)
        write(flag: asked.replicas != nil)
        if let replicas = asked.replicas { write(brokers: replicas) }
    }
}

extension ByteReader {
    fileprivate mutating func readAssignments() throws(MalformedBytes) -> [[Int32]] {
        try readList(elementBytes: 4) { (reader) throws(MalformedBytes) in
            try reader.readBrokers()
        }
    }

    fileprivate static func readTopicCreation(
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MetadataCommand.TopicCreation {
        MetadataCommand.TopicCreation(
            id: try reader.readUUID(),
            name: try reader.readText(),
            partitions: try reader.read(),
            replicationFactor: try reader.read(),
            assignments: try reader.readAssignments(),
            configs: try reader.readList(elementBytes: 4) { (reader) throws(MalformedBytes) in
                .init(try reader.readText(), try reader.readOptionalText())
            }
        )
    }

    fileprivate static func readGrowth(
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MetadataCommand.PartitionGrowth {
        MetadataCommand.PartitionGrowth(
            topic: try reader.readText(),
            count: try reader.read(),
            assignments: try reader.readFlag() ? try reader.readAssignments() : nil
        )
    }

    fileprivate static func readAlteration(
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MetadataCommand.ConfigAlteration {
        let key = try reader.readText()
        let change: MetadataController.ConfigChange
        switch try reader.read(UInt8.self) {
        case 0: change = .delete
        case 1: change = .set(try reader.readText())
        case 2: change = .append(try reader.readText())
        case 3: change = .subtract(try reader.readText())
        case let other: throw .unsupportedVersion(Int16(other))
        }
        return MetadataCommand.ConfigAlteration(key, change)
    }

    fileprivate static func readMembers(
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> GroupMembersReport {
        GroupMembersReport(
            groupID: try reader.read(),
            epoch: try reader.read(),
            revision: try reader.read(),
            members: GroupMembers(
                voters: try reader.readBrokers(),
                outgoing: try reader.readBrokers(),
                learners: try reader.readBrokers()
            ),
            commit: try reader.read()
        )
    }

    fileprivate static func readReassignment(
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MetadataCommand.PartitionReassignment {
        MetadataCommand.PartitionReassignment(
            topic: try reader.readText(),
            partition: try reader.read(),
            replicas: try reader.readFlag() ? try reader.readBrokers() : nil
        )
    }
}
