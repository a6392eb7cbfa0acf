package import Bytes

/// The fields of records, commands and answers.
///
/// Integers have the most significant byte first; a text is a u16 length and UTF-8, the length
/// 0xffff standing for none; a list is a u32 count and its elements; a flag is a byte, 0 or 1.
extension ByteWriter {
    package mutating func write(text: String) {
        precondition(text.utf8.count < Int(UInt16.max), "a text of \(text.utf8.count) bytes")
        write(UInt16(text.utf8.count))
        write(utf8: text)
    }

    package mutating func write(optionalText: String?) {
        guard let optionalText else { return write(UInt16.max) }
        write(text: optionalText)
    }

    package mutating func write(flag: Bool) { write(UInt8(flag ? 1 : 0)) }

    package mutating func write(brokers: [Int32]) {
        write(UInt32(brokers.count))
        for broker in brokers { write(broker) }
    }

    package mutating func write<Element>(
        list: [Element],
        _ element: (inout ByteWriter, Element) -> Void
    ) {
        write(UInt32(list.count))
        for item in list { element(&self, item) }
    }
}

extension ByteReader {
    package mutating func readText() throws(MalformedBytes) -> String {
        guard let text = try readOptionalText() else { throw .unexpectedNull(field: "text") }
        return text
    }

    package mutating func readOptionalText() throws(MalformedBytes) -> String? {
        let count: UInt16 = try read()
        return count == UInt16.max ? nil : try readUTF8(Int(count))
    }

    package mutating func readFlag() throws(MalformedBytes) -> Bool {
        switch try read(UInt8.self) {
        case 0: false
        case 1: true
        case let other: throw .invalidLength(Int64(other))
        }
    }

    package mutating func readBrokers() throws(MalformedBytes) -> [Int32] {
        try readList(elementBytes: 4) { (reader) throws(MalformedBytes) in try reader.read() }
    }

    /// Reads a list whose elements take at least so many bytes each: its count cannot lie.
    package mutating func readList<Element>(
        elementBytes: Int,
        _ element: (inout ByteReader) throws(MalformedBytes) -> Element
    ) throws(MalformedBytes) -> [Element] {
        let count: UInt32 = try read()
        guard Int(count) * elementBytes <= remaining else { throw .invalidLength(Int64(count)) }
        var list: [Element] = []
        list.reserveCapacity(Int(count))
        for _ in 0..<count { list.append(try element(&self)) }
        return list
    }
}
