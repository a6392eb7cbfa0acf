import Admin
import Bytes
import KafkaProtocol

/// What a node tells another of itself.
///
///     version u8 = 1, flags u8: 1 its disk is full
struct NodeStatus: Sendable, Equatable {
    var isDiskFull: Bool

    func encoded() -> ByteSlice { ByteSlice([1, isDiskFull ? 1 : 0]) }

    init(isDiskFull: Bool) { self.isDiskFull = isDiskFull }

    init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let version: UInt8 = try reader.read()
        guard version == 1 else { throw .unsupportedVersion(Int16(version)) }
        let flags: UInt8 = try reader.read()
        isDiskFull = flags & 1 != 0
    }
}

/// The wish that a partition's leader hand over to another node.
///
///     node i32, partition i32, topic as u16 length and bytes
struct TransferRequest: Sendable, Equatable {
    var id: TopicPartition
    var node: Int32

    init(_ id: TopicPartition, to node: Int32) {
        self.id = id
        self.node = node
    }

    func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 300)
        writer.write(node)
        writer.write(id.partition)
        writer.write(shortText: id.topic)
        return writer.finishContiguous()
    }

    init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        node = try reader.read()
        let partition: Int32 = try reader.read()
        id = TopicPartition(topic: try reader.readShortText(), partition: partition)
    }
}

/// On the wire:
///
///     kind u8, then for
///     4 not a replica       count u16, node i32 each
///     6 target unavailable  why, as u16 length and bytes
///     9 failed              why
extension LeadershipTransfer {
    func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 64)
        switch self {
        case .transferred: writer.write(UInt8(1))
        case .alreadyLeader: writer.write(UInt8(2))
        case .unknownPartition: writer.write(UInt8(3))
        case .notAReplica(let replicas):
            writer.write(UInt8(4))
            let told = replicas.prefix(Int(UInt16.max))
            writer.write(UInt16(told.count))
            for replica in told { writer.write(replica) }
        case .leaderless: writer.write(UInt8(5))
        case .targetUnavailable(let reason):
            writer.write(UInt8(6))
            writer.write(shortText: reason)
        case .busy: writer.write(UInt8(7))
        case .timedOut: writer.write(UInt8(8))
        case .failed(let reason):
            writer.write(UInt8(9))
            writer.write(shortText: reason)
        }
        return writer.finishContiguous()
    }

    init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let kind: UInt8 = try reader.read()
        switch kind {
        case 1: self = .transferred
        case 2: self = .alreadyLeader
        case 3: self = .unknownPartition
        case 4:
            let count: UInt16 = try reader.read()
            var replicas: [Int32] = []
            for _ in 0..<count { replicas.append(try reader.read()) }
            self = .notAReplica(replicas: replicas)
        case 5: self = .leaderless
        case 6: self = .targetUnavailable(reason: try reader.readShortText())
        case 7: self = .busy
        case 8: self = .timedOut
        case 9: self = .failed(reason: try reader.readShortText())
        default: throw .unsupportedVersion(Int16(kind))
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(shortText text: String) {
        let bytes = text.utf8.prefix(Int(UInt16.max))
        write(UInt16(bytes.count))
        write(ByteSlice(Array(bytes)))
    }
}

extension ByteReader {
    fileprivate mutating func readShortText() throws(MalformedBytes) -> String {
        let length: UInt16 = try read()
        return try readUTF8(Int(length))
    }
}
