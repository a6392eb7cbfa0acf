package import Bytes

/// An input read from its front, as choices; what is missing at its end is zero.
package struct FuzzInput {
    private let bytes: ByteSlice
    private var at = 0

    package init(_ bytes: ByteSlice) { self.bytes = bytes }

    package var isEmpty: Bool { at == bytes.count }

    package mutating func byte() -> UInt8 {
        guard at < bytes.count else { return 0 }
        defer { at += 1 }
        return bytes[at]
    }

    /// An integer, most significant byte first.
    package mutating func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T {
        var value: T = 0
        for _ in 0..<T.bitWidth / 8 { value = value << 8 | T(truncatingIfNeeded: byte()) }
        return value
    }

    /// A number below `bound`, from two bytes.
    package mutating func below(_ bound: Int) -> Int { Int(integer(UInt16.self)) % max(1, bound) }

    /// At most `count` bytes, fewer at the end.
    package mutating func slice(_ count: Int) -> ByteSlice {
        let end = min(bytes.count, at + count)
        defer { at = end }
        return bytes[at..<end]
    }

    package mutating func rest() -> ByteSlice { slice(bytes.count) }
}
