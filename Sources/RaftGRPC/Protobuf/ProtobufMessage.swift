import Bytes

/// Something that is a message in `proto/raft_rpc.proto`.
protocol ProtobufMessage {
    /// The message without any field.
    init()

    /// Writes the fields that are not at their default.
    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink)

    /// Takes a field; one it does not know it ignores.
    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError)
}

/// How many more repeated elements a message may have, at any depth.
///
/// An element of two bytes on the wire can be a hundred in memory: this keeps what a peer can make
/// us allocate in proportion to what it has to send.
struct ProtobufBudget {
    static let elementLimit = 1 << 19

    private var left = elementLimit

    mutating func takeElement() throws(ProtobufError) {
        guard left > 0 else { throw .tooManyElements(limit: Self.elementLimit) }
        left -= 1
    }
}

extension ProtobufMessage {
    init(protobuf bytes: ByteSlice) throws(ProtobufError) {
        var budget = ProtobufBudget()
        self.init()
        try merge(bytes, &budget)
    }

    /// Takes the fields of `bytes` beside those it has: what a field given twice means.
    mutating func merge(_ bytes: ByteSlice, _ budget: inout ProtobufBudget) throws(ProtobufError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() { try decode(field, &budget) }
    }

    func encoded() -> ByteRope {
        var writer = ProtobufWriter()
        encode(to: &writer)
        return writer.finish()
    }

    var encodedCount: Int {
        var counter = ProtobufCounter()
        encode(to: &counter)
        return counter.count
    }
}

extension ProtobufField {
    func read(_ place: inout UInt64) {
        if case .varint(let value) = value { place = value }
    }

    func read(_ place: inout UInt32) {
        if case .varint(let value) = value { place = UInt32(truncatingIfNeeded: value) }
    }

    func read(_ place: inout Int32) {
        if case .varint(let value) = value { place = Int32(truncatingIfNeeded: value) }
    }

    func read(_ place: inout Bool) {
        if case .varint(let value) = value { place = value != 0 }
    }

    func read(_ place: inout ByteSlice) {
        if case .bytes(let value) = value { place = value }
    }

    func read(_ place: inout String) throws(ProtobufError) {
        if case .bytes(let value) = value { place = try Self.text(value) }
    }

    func read<Message: ProtobufMessage>(
        _ place: inout Message,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        if case .bytes(let value) = value { try place.merge(value, &budget) }
    }

    /// An optional message, or the case of a `oneof` that is one: what is there is added to.
    func read<Message: ProtobufMessage>(
        _ place: inout Message?,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        guard case .bytes(let value) = value else { return }
        var message = place ?? Message()
        try message.merge(value, &budget)
        place = message
    }

    func append<Message: ProtobufMessage>(
        to place: inout [Message],
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        guard case .bytes(let value) = value else { return }
        try budget.takeElement()
        var message = Message()
        try message.merge(value, &budget)
        place.append(message)
    }

    func append(
        to place: inout [String],
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        guard case .bytes(let value) = value else { return }
        try budget.takeElement()
        place.append(try Self.text(value))
    }

    /// Numbers come packed or one by one.
    func append(
        to place: inout [UInt64],
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch value {
        case .varint(let value):
            try budget.takeElement()
            place.append(value)
        case .bytes(let packed):
            var reader = ProtobufReader(packed)
            while !reader.isAtEnd {
                try budget.takeElement()
                place.append(try reader.varint())
            }
        case .fixed32, .fixed64:
            break
        }
    }

    private static func text(_ bytes: ByteSlice) throws(ProtobufError) -> String {
        guard let text = bytes.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
            throw .invalidUTF8
        }
        return text
    }
}
