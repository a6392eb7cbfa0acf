import Bytes

/// Why bytes are not the protobuf message they should be.
enum ProtobufError: Error, Equatable, Sendable {
    case truncated
    case overlongVarint
    case invalidTag(UInt64)
    case unmatchedGroup
    case invalidUTF8
    /// More repeated elements than a message may have.
    case tooManyElements(limit: Int)
    /// A field that must be there is not, or a number that stands for something stands for nothing.
    case invalid(String)
}

/// A field as it is on the wire; what it means its number says.
struct ProtobufField {
    enum Value {
        case varint(UInt64)
        case fixed64(UInt64)
        case bytes(ByteSlice)
        case fixed32(UInt32)
    }

    let number: UInt32
    let value: Value
}

/// Takes the fields of a message one by one; bytes are shared, never copied.
///
/// Fields of another wire type than expected are left alone like unknown ones, as the format asks
/// for.
struct ProtobufReader {
    private static let maxGroupDepth = 64

    private let bytes: ByteSlice
    private var offset = 0

    init(_ bytes: ByteSlice) { self.bytes = bytes }

    /// The next field, `nil` at the end; groups, which nobody has written for long, are passed over.
    mutating func next() throws(ProtobufError) -> ProtobufField? {
        var depth = 0
        var open: [UInt32] = []
        while offset < bytes.count {
            let tag = try varint()
            guard tag <= UInt64(UInt32.max), tag >> 3 > 0 else { throw .invalidTag(tag) }
            let number = UInt32(tag >> 3)
            let value: ProtobufField.Value
            switch tag & 7 {
            case 0: value = .varint(try varint())
            case 1: value = .fixed64(try littleEndian())
            case 2: value = .bytes(try delimited())
            case 3:
                guard depth < Self.maxGroupDepth else { throw .unmatchedGroup }
                depth += 1
                open.append(number)
                continue
            case 4:
                guard open.popLast() == number else { throw .unmatchedGroup }
                depth -= 1
                continue
            case 5: value = .fixed32(try littleEndian())
            default: throw .invalidTag(tag)
            }
            if depth == 0 { return ProtobufField(number: number, value: value) }
        }
        guard depth == 0 else { throw .unmatchedGroup }
        return nil
    }

    mutating func varint() throws(ProtobufError) -> UInt64 {
        var value: UInt64 = 0
        for place in 0..<10 {
            guard offset < bytes.count else { throw .truncated }
            let byte = bytes[offset]
            offset += 1
            if place == 9 && byte > 1 { throw .overlongVarint }
            value |= UInt64(byte & 0x7f) << UInt64(7 * place)
            if byte & 0x80 == 0 { return value }
        }
        throw .overlongVarint
    }

    private mutating func littleEndian<T: FixedWidthInteger>() throws(ProtobufError) -> T {
        let size = MemoryLayout<T>.size
        guard bytes.count - offset >= size else { throw .truncated }
        defer { offset += size }
        return bytes.loadLittleEndian(at: offset)
    }

    private mutating func delimited() throws(ProtobufError) -> ByteSlice {
        let length = try varint()
        guard length <= UInt64(bytes.count - offset) else { throw .truncated }
        let start = offset
        offset += Int(length)
        return bytes[start..<offset]
    }

    var isAtEnd: Bool { offset >= bytes.count }
}
