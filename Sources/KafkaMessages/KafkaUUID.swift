package import Bytes

/// An id of 128 bits, as Kafka names topics and directories.
package struct KafkaUUID: Hashable, Sendable, CustomStringConvertible {
    package var high: UInt64
    package var low: UInt64

    package static let zero = KafkaUUID(high: 0, low: 0)

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A random one: version 4 of RFC 9562.
    package init(from generator: inout some RandomNumberGenerator) {
        high = generator.next() & ~0xf000 | 0x4000
        low = generator.next() & ~(0b11 << 62) | 0b10 << 62
    }

    /// Reads what ``description`` gives; `nil` for any other text.
    package init?(_ text: String) {
        var (high, low): (UInt64, UInt64) = (0, 0)
        let digits = text.compactMap { Self.alphabet.firstIndex(of: $0) }
        guard digits.count == 22, text.count == 22 else { return nil }
        for (place, digit) in digits.enumerated() {
            let bits = place < 21 ? 6 : 2
            let value = UInt64(place < 21 ? digit : digit >> 4)
            high = high << UInt64(bits) | low >> UInt64(64 - bits)
            low = low << UInt64(bits) | value
        }
        self.init(high: high, low: low)
        guard description == text else { return nil }
    }

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )

    /// Base64 without padding, in the alphabet of URLs: 22 characters.
    package var description: String {
        var text = ""
        for place in 0..<22 {
            // The last group has but 2 bits of the id, followed by 4 zeros.
            let shift = 128 - 6 * (place + 1)
            let bits: UInt64
            if shift >= 64 {
                bits = high >> UInt64(shift - 64)
            } else if shift >= 0 {
                bits = low >> UInt64(shift) | (shift > 58 ? high << UInt64(64 - shift) : 0)
            } else {
                bits = low << UInt64(-shift)
            }
            text.append(Self.alphabet[Int(bits & 0x3f)])
        }
        return text
    }
}

extension ByteReader {
    package mutating func readUUID() throws(MalformedBytes) -> KafkaUUID {
        KafkaUUID(high: try read(), low: try read())
    }
}

extension ByteWriter {
    package mutating func write(_ id: KafkaUUID) {
        write(id.high)
        write(id.low)
    }
}
