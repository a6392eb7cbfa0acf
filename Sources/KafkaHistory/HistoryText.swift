package import Bytes
import Platform

/// Keys and values as a history writes them.
package enum HistoryText {
    private static let longest = 256

    /// Text when it is UTF-8, `base64:` and the bytes when it is not, the digest when it is long.
    package static func text(_ bytes: ByteSlice?) -> String? {
        guard let bytes else { return nil }
        if bytes.count > longest {
            return "sha256:\(SHA256.hexadecimalDigest(of: bytes.array)):\(bytes.count)"
        }
        if let text = String(validating: bytes.array, as: UTF8.self),
            !text.hasPrefix("base64:"), !text.hasPrefix("sha256:")
        {
            return text
        }
        return "base64:" + Base64.encode(bytes.array)
    }
}

/// Base64 of RFC 4648, section 4.
package enum Base64 {
    private static let digits = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
    )

    package static func encode(_ bytes: [UInt8]) -> String {
        var out: [UInt8] = []
        out.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let part = bytes[start..<min(start + 3, bytes.count)]
            var bits = part.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            bits <<= UInt32(8 * (3 - part.count))
            for index in 0..<4 {
                let digit = Int(bits >> UInt32(18 - 6 * index)) & 63
                out.append(index <= part.count ? digits[digit] : UInt8(ascii: "="))
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// The bytes; `nil` for what is no base64.
    package static func decode(_ text: String) -> [UInt8]? {
        var out: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        var padding = 0
        for byte in text.utf8 {
            if byte == UInt8(ascii: "=") {
                padding += 1
                continue
            }
            guard padding == 0, let digit = value(of: byte) else { return nil }
            bits = bits << 6 | UInt32(digit)
            count += 1
            if count % 4 == 0 {
                for shift: UInt32 in [16, 8, 0] {
                    out.append(UInt8(truncatingIfNeeded: bits >> shift))
                }
                bits = 0
            }
        }
        guard (count + padding) % 4 == 0, count % 4 != 1 else { return nil }
        switch count % 4 {
        case 2: out.append(UInt8(truncatingIfNeeded: bits >> 4))
        case 3:
            out.append(UInt8(truncatingIfNeeded: bits >> 10))
            out.append(UInt8(truncatingIfNeeded: bits >> 2))
        default: break
        }
        return out
    }

    private static func value(of byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
