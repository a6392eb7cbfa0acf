package import Bytes

/// A message of Kafka's protocol, or a record of one of its internal topics.
package protocol KafkaMessage: Sendable {
    static var name: String { get }
    /// The versions the schema has.
    static var validVersions: ClosedRange<Int16> { get }
    /// Whether the version has compact lengths and tagged fields (KIP-482).
    static func isFlexible(version: Int16) -> Bool
    init(from reader: inout ByteReader, version: Int16) throws(MalformedBytes)
    func encode(into writer: inout ByteWriter, version: Int16) throws(EncodingProblem)
}

package protocol KafkaRequest: KafkaMessage {
    associatedtype Response: KafkaMessage
    static var apiKey: APIKey { get }
}

/// Why a message cannot be written in a version; a mistake of the program's.
package enum EncodingProblem: Error, Equatable {
    case fieldNotInVersion(message: String, field: String, version: Int16)
    case unexpectedNull(message: String, field: String, version: Int16)
    /// Longer than a length that is not compact can say.
    case stringTooLong(Int)
}

/// A tagged field the schema does not know; kept, and written back.
package struct TaggedField: Equatable, Sendable {
    package var tag: UInt32
    package var data: ByteSlice

    package init(tag: UInt32, data: ByteSlice) {
        self.tag = tag
        self.data = data
    }
}

extension APIKey {
    package func requestHeaderVersion(for version: Int16) -> Int16 {
        isFlexible(version: version) ? 2 : 1
    }

    /// ApiVersions answers with header 0 always: the client does not know yet what we speak.
    package func responseHeaderVersion(for version: Int16) -> Int16 {
        self != .apiVersions && isFlexible(version: version) ? 1 : 0
    }
}
