import Bytes
import KafkaMessages

/// Reads the topics out of what a consumer says of itself when it joins.
struct ConsumerSubscription {
    private let bytes: ByteSlice

    init(_ bytes: ByteSlice) { self.bytes = bytes }

    /// `nil` when the bytes are no consumer's subscription.
    var topics: [String]? {
        var reader = ByteReader(bytes)
        guard let version = try? reader.readInt16(), version >= 0 else { return nil }
        // Later versions only add fields at the end.
        let known = min(version, ConsumerProtocolSubscription.validVersions.upperBound)
        return try? ConsumerProtocolSubscription(from: &reader, version: known).topics
    }
}
