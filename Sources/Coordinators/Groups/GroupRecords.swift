import Bytes
import KafkaMessages

/// The records of `__consumer_offsets`, in Kafka's own formats: a version, then the message.
enum GroupRecords {
    enum Decoded {
        case offset(group: String, topic: String, partition: Int32, CommittedOffset?)
        case group(id: String, GroupMetadataValue?)
        /// Of a kind this version does not know.
        case unknown
    }

    /// No name may be longer: the records' lengths have 16 bits, and a member's id is longer than
    /// the name it is made of.
    static let maxNameBytes = 32_000

    static func offset(
        group: String,
        topic: String,
        partition: Int32,
        _ offset: CommittedOffset?
    ) -> CoordinatorRecord {
        var key = OffsetCommitKey()
        key.group = group
        key.topic = topic
        key.partition = partition
        let value = offset.map { offset in
            var value = OffsetCommitValue()
            value.offset = offset.offset
            value.leaderEpoch = offset.leaderEpoch
            value.metadata = offset.metadata
            value.commitTimestamp = offset.commitTimestamp
            return encode(value, version: 3)
        }
        return CoordinatorRecord(key: encode(key, version: 1), value: value)
    }

    static func group(_ group: Group, assignments: [String: ByteSlice]) -> CoordinatorRecord {
        var value = GroupMetadataValue()
        value.protocolType = group.protocolType ?? ""
        value.generation = group.generation
        value.protocol = group.protocolName
        value.leader = group.isEmpty ? nil : group.leader
        value.currentStateTimestamp = group.stateSince
        value.members = group.members.map { member in
            var entry = GroupMetadataValue.MemberMetadata()
            entry.memberId = member.id
            entry.groupInstanceId = member.instanceID
            entry.clientId = member.clientID
            entry.clientHost = member.clientHost
            entry.rebalanceTimeout = Int32(clamping: member.rebalanceTimeout)
            entry.sessionTimeout = Int32(clamping: member.sessionTimeout)
            entry.subscription = group.protocolName.map { member.metadata(of: $0) } ?? ByteSlice()
            entry.assignment = assignments[member.id] ?? ByteSlice()
            return entry
        }
        return Self.group(group.id, value)
    }

    static func group(_ id: String, _ value: GroupMetadataValue) -> CoordinatorRecord {
        CoordinatorRecord(key: groupKey(id), value: encode(value, version: 3))
    }

    static func groupRemoved(_ id: String) -> CoordinatorRecord {
        CoordinatorRecord(key: groupKey(id), value: nil)
    }

    private static func groupKey(_ id: String) -> ByteSlice {
        var key = GroupMetadataKey()
        key.group = id
        return encode(key, version: 2)
    }

    private static func encode<M: KafkaMessage>(_ message: M, version: Int16) -> ByteSlice {
        var writer = ByteWriter(capacity: 128)
        writer.write(version)
        do {
            try message.encode(into: &writer, version: version)
        } catch {
            preconditionFailure("\(M.name) v\(version) cannot be encoded: \(error)")
        }
        return writer.finishContiguous()
    }

    static func decode(key: ByteSlice, value: ByteSlice?) throws(MalformedBytes) -> Decoded {
        var reader = ByteReader(key)
        switch try reader.readInt16() {
        case 0, 1:
            let key = try OffsetCommitKey(from: &reader, version: 1)
            return .offset(
                group: key.group,
                topic: key.topic,
                partition: key.partition,
                try value.map(decodeOffset)
            )
        case 2:
            let key = try GroupMetadataKey(from: &reader, version: 2)
            return .group(id: key.group, try value.map(decodeGroup))
        default: return .unknown
        }
    }

    private static func decodeOffset(_ bytes: ByteSlice) throws(MalformedBytes) -> CommittedOffset {
        var reader = ByteReader(bytes)
        let version = try reader.readInt16()
        guard OffsetCommitValue.validVersions.contains(version) else {
            throw .unsupportedVersion(version)
        }
        let value = try OffsetCommitValue(from: &reader, version: version)
        return CommittedOffset(
            offset: value.offset,
            leaderEpoch: value.leaderEpoch,
            metadata: value.metadata,
            commitTimestamp: value.commitTimestamp
        )
    }

    private static func decodeGroup(_ bytes: ByteSlice) throws(MalformedBytes) -> GroupMetadataValue
    {
        // The group keeps parts of it for long, and the batch around it is not wanted.
        var reader = ByteReader(bytes.copied())
        let version = try reader.readInt16()
        guard GroupMetadataValue.validVersions.contains(version) else {
            throw .unsupportedVersion(version)
        }
        return try GroupMetadataValue(from: &reader, version: version)
    }
}

extension Optional {
    /// `map` whose errors keep their type.
    fileprivate func map<T, E: Error>(_ body: (Wrapped) throws(E) -> T) throws(E) -> T? {
        guard let self else { return nil }
        return try body(self)
    }
}
