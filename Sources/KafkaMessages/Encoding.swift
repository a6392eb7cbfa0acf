package import Bytes

/// What generated encoders are made of.
extension ByteWriter {
    private mutating func writeLength(_ length: Int, flexible: Bool) {
        if flexible {
            writeUnsignedVarint(UInt32(length) + 1)
        } else {
            write(Int32(length))
        }
    }

    package mutating func writeNullLength(flexible: Bool) {
        if flexible { writeUnsignedVarint(0) } else { write(Int32(-1)) }
    }

    package mutating func writeNullString(flexible: Bool) {
        if flexible { writeUnsignedVarint(0) } else { write(Int16(-1)) }
    }

    package mutating func writeCount(_ count: Int, flexible: Bool) {
        writeLength(count, flexible: flexible)
    }

    package mutating func writeString(_ text: String, flexible: Bool) throws(EncodingProblem) {
        let length = text.utf8.count
        if flexible {
            writeUnsignedVarint(UInt32(length) + 1)
        } else {
            guard length <= Int(Int16.max) else { throw .stringTooLong(length) }
            write(Int16(length))
        }
        write(utf8: text)
    }

    package mutating func writeBytes(_ bytes: ByteSlice, flexible: Bool) {
        writeLength(bytes.count, flexible: flexible)
        write(bytes)
    }

    package mutating func writeRecords(_ records: ByteRope, flexible: Bool) {
        writeLength(records.count, flexible: flexible)
        write(records)
    }

    /// Tagged fields in the order of their tags.
    package mutating func writeTaggedFields(_ fields: [TaggedField]) {
        writeUnsignedVarint(UInt32(fields.count))
        for field in fields.count > 1 ? fields.sorted(by: { $0.tag < $1.tag }) : fields {
            writeUnsignedVarint(field.tag)
            writeUnsignedVarint(UInt32(field.data.count))
            write(field.data)
        }
    }
}
