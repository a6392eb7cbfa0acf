import Bytes
import KafkaMessages
import Testing

/// A message that can be filled with values that differ from each other and from its defaults.
protocol SampledMessage: KafkaMessage, Equatable {
    init()
    static func sample(version: Int16, from values: inout SampleValues) -> Self
}

/// Where the values of samples come from: each is used once.
struct SampleValues {
    private var last = 0
    private let leavesOut: Bool

    /// - Parameter leavesOut: Whether fields are null wherever they may be.
    init(leavesOut: Bool = false) { self.leavesOut = leavesOut }

    func leavesOut(_ mayBeNull: Bool) -> Bool { leavesOut && mayBeNull }

    private mutating func next() -> Int {
        last += 1
        return last
    }

    mutating func bool() -> Bool { next() % 2 == 0 }
    mutating func int8() -> Int8 { Int8(2 + next() % 100) }
    mutating func int16() -> Int16 { Int16(0x1100 + next()) }
    mutating func uint16() -> UInt16 { UInt16(0xe100 + next()) }
    mutating func int32() -> Int32 { Int32(0x2122_0000 + next()) }
    mutating func uint32() -> UInt32 { UInt32(0xe122_0000 + next()) }
    mutating func int64() -> Int64 { Int64(0x3132_3334_0000_0000 + next()) }
    mutating func float64() -> Double { Double(next()) + 0.5 }
    mutating func string() -> String { "s\(next())" }
    mutating func bytes() -> ByteSlice { ByteSlice("b\(next())") }
    mutating func records() -> ByteRope { ByteRope(ByteSlice("r\(next())")) }
    mutating func uuid() -> KafkaUUID { KafkaUUID(high: UInt64(next()), low: UInt64(next())) }

    mutating func taggedFields() -> [TaggedField] {
        [
            TaggedField(tag: 1000, data: bytes()),
            TaggedField(tag: .max, data: ByteSlice()),
        ]
    }
}

/// A message in one of its versions, as an argument of tests.
struct Subject: Sendable, CustomTestStringConvertible {
    let type: any SampledMessage.Type

    var testDescription: String { type.name }

    static let all = MessageCatalog.all.compactMap { $0 as? any SampledMessage.Type }
        .map { Subject(type: $0) }
}

extension SampledMessage {
    func encoded(version: Int16) throws(EncodingProblem) -> ByteSlice {
        var writer = ByteWriter()
        try encode(into: &writer, version: version)
        return writer.finishContiguous()
    }

    static func decoded(_ bytes: ByteSlice, version: Int16) throws(MalformedBytes) -> Self {
        var reader = ByteReader(bytes)
        let message = try Self(from: &reader, version: version)
        try reader.expectEnd()
        return message
    }

    static func sample(version: Int16, leavesOut: Bool = false) -> Self {
        var values = SampleValues(leavesOut: leavesOut)
        return sample(version: version, from: &values)
    }
}
