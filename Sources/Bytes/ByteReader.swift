/// Why bytes could not be decoded; what a peer sent is at fault, never the program.
public enum MalformedBytes: Error, Equatable {
    /// More bytes were announced or needed than are there.
    case truncated(needed: Int, available: Int)
    /// A length or count below what its field allows, or above what the bytes could hold.
    case invalidLength(Int64)
    /// A varint longer than its type.
    case overlongVarint
    case invalidUTF8
    /// A null where the field does not allow one.
    case unexpectedNull(field: String)
    /// The version is outside the range the message has.
    case unsupportedVersion(Int16)
    /// Bytes were left over after the last field.
    case trailingBytes(Int)
}

/// Reads a message from a slice without copying it.
///
/// Every read is checked against the end; nothing a peer sends can trap.
public struct ByteReader {
    public let slice: ByteSlice
    @usableFromInline var offset = 0

    /// Bytes read so far.
    @inlinable public var position: Int { offset }

    @inlinable public var remaining: Int { slice.count - offset }

    public init(_ slice: ByteSlice) { self.slice = slice }

    @inlinable @inline(__always)
    mutating func advance(by n: Int) throws(MalformedBytes) -> Int {
        guard n >= 0 else { throw .invalidLength(Int64(n)) }
        guard n <= slice.count - offset else {
            throw .truncated(needed: n, available: slice.count - offset)
        }
        let at = offset
        offset += n
        return at
    }

    @inlinable
    public mutating func read<T: FixedWidthInteger>(
        _ type: T.Type = T.self
    ) throws(MalformedBytes) -> T {
        let at = try advance(by: MemoryLayout<T>.size)
        return slice.loadBigEndian(at: at, as: T.self)
    }

    public mutating func readInt8() throws(MalformedBytes) -> Int8 { try read() }
    public mutating func readInt16() throws(MalformedBytes) -> Int16 { try read() }
    public mutating func readUInt16() throws(MalformedBytes) -> UInt16 { try read() }
    public mutating func readInt32() throws(MalformedBytes) -> Int32 { try read() }
    public mutating func readUInt32() throws(MalformedBytes) -> UInt32 { try read() }
    public mutating func readInt64() throws(MalformedBytes) -> Int64 { try read() }
    public mutating func readDouble() throws(MalformedBytes) -> Double {
        Double(bitPattern: try read())
    }

    /// The next `n` bytes, sharing the memory they came in.
    public mutating func readSlice(_ n: Int) throws(MalformedBytes) -> ByteSlice {
        let at = try advance(by: n)
        return slice[at..<at + n]
    }

    public mutating func skip(_ n: Int) throws(MalformedBytes) { _ = try advance(by: n) }

    public mutating func readUTF8(_ n: Int) throws(MalformedBytes) -> String {
        let bytes = try readSlice(n)
        guard let text = bytes.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
            throw .invalidUTF8
        }
        return text
    }

    public mutating func readUnsignedVarint() throws(MalformedBytes) -> UInt32 {
        let value = try readUnsignedVarlong(limit: 5)
        guard let narrow = UInt32(exactly: value) else { throw .overlongVarint }
        return narrow
    }

    public mutating func readUnsignedVarlong() throws(MalformedBytes) -> UInt64 {
        try readUnsignedVarlong(limit: 10)
    }

    public mutating func readVarint() throws(MalformedBytes) -> Int32 {
        let raw = try readUnsignedVarint()
        return Int32(bitPattern: (raw >> 1) ^ (0 &- (raw & 1)))
    }

    public mutating func readVarlong() throws(MalformedBytes) -> Int64 {
        let raw = try readUnsignedVarlong()
        return Int64(bitPattern: (raw >> 1) ^ (0 &- (raw & 1)))
    }

    private mutating func readUnsignedVarlong(limit: Int) throws(MalformedBytes) -> UInt64 {
        var value: UInt64 = 0
        for group in 0..<limit {
            let byte: UInt8 = try read()
            if group == 9 && byte > 1 { throw .overlongVarint }
            value |= UInt64(byte & 0x7f) << UInt64(7 * group)
            if byte & 0x80 == 0 { return value }
        }
        throw .overlongVarint
    }
}
