import Bytes
import FuzzDriver
import KafkaMessages

/// A message's type without its type.
struct Codec: Sendable {
    let name: String
    let versions: ClosedRange<Int16>
    /// Decodes, and checks what comes of it.
    let check: @Sendable (ByteSlice, Int16) -> Void

    init<M: KafkaMessage & Equatable>(_ type: M.Type) {
        name = M.name
        versions = M.validVersions
        check = { bytes, version in
            var reader = ByteReader(bytes)
            guard let message = try? M(from: &reader, version: version) else { return }
            RoundTrip.check(message, version: version, decodedFrom: bytes.count - reader.remaining)
        }
    }

    static let all = inside + RequestType.all.map(\.request) + RequestType.all.map(\.response)

    /// What the broker reads beside requests: of clients inside requests, and of its own topics.
    private static let inside: [Codec] = [
        Codec(RequestHeader.self), Codec(ConsumerProtocolSubscription.self),
        Codec(ConsumerProtocolAssignment.self), Codec(OffsetCommitKey.self),
        Codec(OffsetCommitValue.self), Codec(GroupMetadataKey.self),
        Codec(GroupMetadataValue.self),
    ]
}

/// What was decoded can be encoded, in no more bytes, and comes back as it was.
enum RoundTrip {
    static func check<M: KafkaMessage & Equatable>(
        _ message: M,
        version: Int16,
        decodedFrom length: Int
    ) {
        let what = "\(M.name) v\(version)"
        let bytes = encode(message, version)
        require(bytes.count <= length, "\(what) of \(length) bytes takes \(bytes.count)")
        var reader = ByteReader(bytes)
        let again: M
        do {
            again = try M(from: &reader, version: version)
        } catch {
            finding("\(what), encoded, cannot be decoded: \(error)")
        }
        require(reader.remaining == 0, "\(what), encoded, has \(reader.remaining) bytes behind it")
        require(
            message == again || SortedText.of(message) == SortedText.of(again),
            "\(what) was \(message), became \(again)"
        )
        require(encode(again, version) == bytes, "\(what) has two encodings")
    }

    private static func encode<M: KafkaMessage>(_ message: M, _ version: Int16) -> ByteSlice {
        var writer = ByteWriter()
        do {
            try message.encode(into: &writer, version: version)
        } catch {
            finding("\(M.name) v\(version) was decoded and cannot be encoded: \(error)")
        }
        return writer.finishContiguous()
    }
}

/// A message as text in which tagged fields are in order and a NaN is equal to itself.
///
/// The encoder sorts unknown tagged fields, so a message that came with them out of order differs
/// from what it was in their order alone.
enum SortedText {
    static func of(_ value: Any) -> String {
        switch value {
        case let bytes as ByteSlice: return "\(bytes.array)"
        case let rope as ByteRope: return "\(rope.joined()?.array ?? [])"
        case let fields as [TaggedField]:
            return fields.enumerated().map { ($1.tag, $0, "\($1.tag): \($1.data.array)") }
                .sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.2).joined(separator: ", ")
        default: break
        }
        let mirror = Mirror(reflecting: value)
        guard !mirror.children.isEmpty else { return "\(value)" }
        let parts = mirror.children.map { "\($0.label ?? ""): \(of($0.value))" }
        return "{" + parts.joined(separator: ", ") + "}"
    }
}
