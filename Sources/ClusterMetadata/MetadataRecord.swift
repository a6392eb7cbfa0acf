package import Bytes
package import KafkaMessages

/// One change of the cluster's metadata, as the metadata group's log keeps it.
///
/// Layout of a record's value, integers most significant byte first:
///
///     type u8 | version u8 (0) | fields in the order of the case's labels
///
/// text is a u16 length and UTF-8; a list is a u32 count and its elements.
package enum MetadataRecord: Equatable, Sendable {
    case topic(id: KafkaUUID, name: String)
    case partition(
        topicID: KafkaUUID,
        index: Int32,
        groupID: UInt64,
        replicas: [Int32]
    )
    /// A `nil` value takes the override away.
    case topicConfig(topicID: KafkaUUID, key: String, value: String?)
    case brokerConfig(key: String, value: String?)
    case removeTopic(id: KafkaUUID)
    /// Producer ids below `next` are given out.
    case producerIDs(next: Int64)
    case broker(id: Int32, host: String, port: UInt16, rack: String?)

    private enum Tag: UInt8 {
        case topic = 1
        case partition = 2
        case topicConfig = 3
        case brokerConfig = 4
        case removeTopic = 5
        case producerIDs = 6
        case broker = 7
    }

    package func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 128)
        switch self {
        case .topic(let id, let name):
            writer.begin(Tag.topic.rawValue)
            writer.write(id)
            writer.write(text: name)
        case .partition(let topicID, let index, let groupID, let replicas):
            writer.begin(Tag.partition.rawValue)
            writer.write(topicID)
            writer.write(index)
            writer.write(groupID)
            writer.write(UInt32(replicas.count))
            for replica in replicas { writer.write(replica) }
        case .topicConfig(let topicID, let key, let value):
            writer.begin(Tag.topicConfig.rawValue)
            writer.write(topicID)
            writer.write(text: key)
            writer.write(optionalText: value)
        case .brokerConfig(let key, let value):
            writer.begin(Tag.brokerConfig.rawValue)
            writer.write(text: key)
            writer.write(optionalText: value)
        case .removeTopic(let id):
            writer.begin(Tag.removeTopic.rawValue)
            writer.write(id)
        case .producerIDs(let next):
            writer.begin(Tag.producerIDs.rawValue)
            writer.write(next)
        case .broker(let id, let host, let port, let rack):
            writer.begin(Tag.broker.rawValue)
            writer.write(id)
            writer.write(text: host)
            writer.write(port)
            writer.write(optionalText: rack)
        }
        return writer.finishContiguous()
    }

    package init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let raw: UInt8 = try reader.read()
        let version: UInt8 = try reader.read()
        guard let tag = Tag(rawValue: raw), version == 0 else {
            throw .unsupportedVersion(Int16(raw) << 8 | Int16(version))
        }
        switch tag {
        case .topic: self = .topic(id: try reader.readUUIDField(), name: try reader.readText())
        case .partition:
            self = .partition(
                topicID: try reader.readUUIDField(),
                index: try reader.read(),
                groupID: try reader.readGroupID(),
                replicas: try reader.readReplicas()
            )
        case .topicConfig:
            self = .topicConfig(
                topicID: try reader.readUUIDField(),
                key: try reader.readText(),
                value: try reader.readOptionalText()
            )
        case .brokerConfig:
            self = .brokerConfig(key: try reader.readText(), value: try reader.readOptionalText())
        case .removeTopic: self = .removeTopic(id: try reader.readUUIDField())
        case .producerIDs: self = .producerIDs(next: try reader.read())
        case .broker:
            self = .broker(
                id: try reader.read(),
                host: try reader.readText(),
                port: try reader.read(),
                rack: try reader.readOptionalText()
            )
        }
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
    }
}

extension ByteWriter {
    fileprivate mutating func begin(_ tag: UInt8) {
        write(tag)
        write(UInt8(0))
    }

    fileprivate mutating func write(_ id: KafkaUUID) {
        write(id.high)
        write(id.low)
    }

    fileprivate mutating func write(text: String) {
        precondition(text.utf8.count < Int(UInt16.max), "a text of \(text.utf8.count) bytes")
        write(UInt16(text.utf8.count))
        write(utf8: text)
    }

    /// The length 0xffff stands for none.
    fileprivate mutating func write(optionalText: String?) {
        guard let optionalText else { return write(UInt16.max) }
        write(text: optionalText)
    }
}

extension ByteReader {
    fileprivate mutating func readUUIDField() throws(MalformedBytes) -> KafkaUUID {
        KafkaUUID(high: try read(), low: try read())
    }

    /// Leaves room for the next one.
    fileprivate mutating func readGroupID() throws(MalformedBytes) -> UInt64 {
        let id: UInt64 = try read()
        guard id < UInt64.max else { throw .invalidLength(-1) }
        return id
    }

    fileprivate mutating func readText() throws(MalformedBytes) -> String {
        try readUTF8(Int(try read(UInt16.self)))
    }

    fileprivate mutating func readOptionalText() throws(MalformedBytes) -> String? {
        let count: UInt16 = try read()
        return count == UInt16.max ? nil : try readUTF8(Int(count))
    }

    fileprivate mutating func readReplicas() throws(MalformedBytes) -> [Int32] {
        let count: UInt32 = try read()
        guard Int(count) * 4 <= remaining else { throw .invalidLength(Int64(count)) }
        var replicas: [Int32] = []
        for _ in 0..<count { replicas.append(try read()) }
        return replicas
    }
}
