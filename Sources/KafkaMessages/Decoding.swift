package import Bytes

/// What generated decoders are made of.
///
/// `flexible` chooses between fixed lengths (-1: null) and compact ones (a varint of length + 1, 0:
/// null), as the protocol guide defines them.
extension ByteReader {
    /// Elements one array may have; far above what any client sends.
    private static let maxElements = 1 << 20

    package mutating func readBool() throws(MalformedBytes) -> Bool { try readInt8() != 0 }

    /// Whether a nullable struct is there.
    package mutating func readPresence() throws(MalformedBytes) -> Bool { try readInt8() >= 0 }

    /// A length, or `nil` for null.
    private mutating func readLength(flexible: Bool) throws(MalformedBytes) -> Int? {
        if flexible {
            let raw = try readUnsignedVarint()
            return raw == 0 ? nil : Int(raw) - 1
        }
        let length = Int(try readInt32())
        guard length >= -1 else { throw .invalidLength(Int64(length)) }
        return length == -1 ? nil : length
    }

    /// A string has 32,767 bytes at most in either form, so that what came in one can leave in the
    /// other.
    private mutating func readStringLength(flexible: Bool) throws(MalformedBytes) -> Int? {
        if flexible {
            let length = try readLength(flexible: true)
            if let length, length > Int(Int16.max) { throw .invalidLength(Int64(length)) }
            return length
        }
        let length = Int(try readInt16())
        guard length >= -1 else { throw .invalidLength(Int64(length)) }
        return length == -1 ? nil : length
    }

    package mutating func readString(
        flexible: Bool,
        nullable: Bool,
        field: StaticString
    ) throws(MalformedBytes) -> String? {
        guard let length = try readStringLength(flexible: flexible) else {
            guard nullable else { throw .unexpectedNull(field: "\(field)") }
            return nil
        }
        return try readUTF8(length)
    }

    package mutating func readString(
        flexible: Bool,
        field: StaticString
    ) throws(MalformedBytes) -> String {
        guard let length = try readStringLength(flexible: flexible) else {
            throw .unexpectedNull(field: "\(field)")
        }
        return try readUTF8(length)
    }

    package mutating func readBytes(
        flexible: Bool,
        nullable: Bool,
        field: StaticString
    ) throws(MalformedBytes) -> ByteSlice? {
        guard let length = try readLength(flexible: flexible) else {
            guard nullable else { throw .unexpectedNull(field: "\(field)") }
            return nil
        }
        return try readSlice(length)
    }

    package mutating func readBytes(
        flexible: Bool,
        field: StaticString
    ) throws(MalformedBytes) -> ByteSlice {
        guard let length = try readLength(flexible: flexible) else {
            throw .unexpectedNull(field: "\(field)")
        }
        return try readSlice(length)
    }

    package mutating func readRecords(
        flexible: Bool,
        nullable: Bool,
        field: StaticString
    ) throws(MalformedBytes) -> ByteRope? {
        try readBytes(flexible: flexible, nullable: nullable, field: field).map { ByteRope($0) }
    }

    /// The number of elements, checked against what the bytes that are left could hold.
    package mutating func readCount(
        flexible: Bool,
        elementBytes: Int,
        nullable: Bool,
        field: StaticString
    ) throws(MalformedBytes) -> Int? {
        guard let count = try readLength(flexible: flexible) else {
            guard nullable else { throw .unexpectedNull(field: "\(field)") }
            return nil
        }
        guard count <= remaining / elementBytes, count <= Self.maxElements else {
            throw .invalidLength(Int64(count))
        }
        return count
    }

    package mutating func readTaggedFields() throws(MalformedBytes) -> [TaggedField] {
        let count = Int(try readUnsignedVarint())
        // A tag and a length each take a byte at least.
        guard count <= remaining / 2 else { throw .invalidLength(Int64(count)) }
        var fields: [TaggedField] = []
        for _ in 0..<count {
            let tag = try readUnsignedVarint()
            let length = Int(try readUnsignedVarint())
            fields.append(TaggedField(tag: tag, data: try readSlice(length)))
        }
        return fields
    }

    package func expectEnd() throws(MalformedBytes) {
        guard remaining == 0 else { throw .trailingBytes(remaining) }
    }
}
