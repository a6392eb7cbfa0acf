package import Bytes
import KafkaMessages
import KafkaProtocol

extension MetadataAnswer {
    private static let version: UInt8 = 0

    private enum Kind: UInt8 {
        case outcomes = 1
        case topics = 2
        case brokerEpoch = 3
        case producerIDs = 4
        case refused = 5
    }

    package func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 64)
        writer.write(Self.version)
        switch self {
        case .outcomes(let outcomes):
            writer.write(Kind.outcomes.rawValue)
            writer.write(list: outcomes) { $0.write($1) }
        case .topics(let topics):
            writer.write(Kind.topics.rawValue)
            writer.write(list: topics) { writer, topic in
                writer.write(topic.outcome)
                writer.write(topic.id)
                writer.write(topic.partitions)
                writer.write(topic.replicationFactor)
            }
        case .brokerEpoch(let epoch):
            writer.write(Kind.brokerEpoch.rawValue)
            writer.write(epoch)
        case .producerIDs(let first, let count):
            writer.write(Kind.producerIDs.rawValue)
            writer.write(first)
            writer.write(count)
        case .refused(let outcome):
            writer.write(Kind.refused.rawValue)
            writer.write(outcome)
        }
        return writer.finishContiguous()
    }

    package init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let version: UInt8 = try reader.read()
        guard version == Self.version else { throw .unsupportedVersion(Int16(version)) }
        let raw: UInt8 = try reader.read()
        switch Kind(rawValue: raw) {
        case .outcomes:
            self = .outcomes(
                try reader.readList(elementBytes: 4) { (reader) throws(MalformedBytes) in
                    try reader.readOutcome()
                }
            )
        case .topics:
            self = .topics(
                try reader.readList(elementBytes: 26) { (reader) throws(MalformedBytes) in
                    TopicOutcome(
                        try reader.readOutcome(),
                        id: try reader.readUUID(),
                        partitions: try reader.read(),
                        replicationFactor: try reader.read()
                    )
                }
            )
        case .brokerEpoch: self = .brokerEpoch(try reader.read())
        case .producerIDs:
            let first: Int64 = try reader.read()
            let count: Int64 = try reader.read()
            // The end is a number too.
            guard first >= 0, count >= 0, count <= Int64.max - first else {
                throw .invalidLength(count)
            }
            self = .producerIDs(first: first, count: count)
        case .refused: self = .refused(try reader.readOutcome())
        case nil: throw .unsupportedVersion(Int16(raw))
        }
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ outcome: MetadataAnswer.Outcome) {
        write(outcome.code.rawValue)
        // A message quotes what was asked for, which may be longer than a text can be.
        write(optionalText: outcome.message.map { $0.utf8.count < 4096 ? $0 : $0.shortened })
    }
}

extension String {
    fileprivate var shortened: String { String(unicodeScalars.prefix(1000)) + "…" }
}

extension ByteReader {
    fileprivate mutating func readOutcome() throws(MalformedBytes) -> MetadataAnswer.Outcome {
        let raw: Int16 = try read()
        guard let code = ErrorCode(rawValue: raw) else { throw .unsupportedVersion(raw) }
        return MetadataAnswer.Outcome(code, try readOptionalText())
    }
}
