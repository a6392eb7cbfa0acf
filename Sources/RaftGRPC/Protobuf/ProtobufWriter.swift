import Bytes

/// Where a message puts its fields: into bytes, or into a count of bytes.
///
/// A message within another is preceded by its length, so everything but the outermost is gone
/// through once to count and once to write; payloads are not looked at for either.
protocol ProtobufSink: ~Copyable {
    mutating func varint(_ value: UInt64)
    mutating func raw(_ bytes: ByteSlice)
    mutating func raw(utf8 text: String)
}

struct ProtobufCounter: ProtobufSink {
    private(set) var count = 0

    mutating func varint(_ value: UInt64) {
        count += max(1, (70 - value.leadingZeroBitCount) / 7)
    }

    mutating func raw(_ bytes: ByteSlice) { count += bytes.count }
    mutating func raw(utf8 text: String) { count += text.utf8.count }
}

struct ProtobufWriter: ProtobufSink, ~Copyable {
    private var writer = ByteWriter()

    init() {}

    mutating func varint(_ value: UInt64) { writer.writeUnsignedVarlong(value) }
    mutating func raw(_ bytes: ByteSlice) { writer.write(bytes) }
    mutating func raw(utf8 text: String) { writer.write(utf8: text) }

    consuming func finish() -> ByteRope { writer.finish() }
}

extension ProtobufSink where Self: ~Copyable {
    mutating func field(_ number: UInt32, _ value: UInt64) {
        if value != 0 { always(number, value) }
    }

    mutating func field(_ number: UInt32, _ value: UInt32) { field(number, UInt64(value)) }

    /// Negative numbers take ten bytes, as everywhere in protobuf.
    mutating func field(_ number: UInt32, _ value: Int32) {
        field(number, UInt64(bitPattern: Int64(value)))
    }

    mutating func field(_ number: UInt32, _ value: Bool) { field(number, UInt64(value ? 1 : 0)) }

    /// Written at its default too: for fields whose absence means something.
    mutating func always(_ number: UInt32, _ value: UInt64) {
        varint(UInt64(number) << 3)
        varint(value)
    }

    mutating func field(_ number: UInt32, _ bytes: ByteSlice) {
        guard !bytes.isEmpty else { return }
        header(number, count: bytes.count)
        raw(bytes)
    }

    /// In memory, all of it.
    mutating func field(_ number: UInt32, _ bytes: ByteRope) {
        guard !bytes.isEmpty else { return }
        header(number, count: bytes.count)
        for case .bytes(let piece) in bytes.pieces { raw(piece) }
    }

    mutating func field(_ number: UInt32, _ text: String) {
        if !text.isEmpty { element(number, text) }
    }

    mutating func field(_ number: UInt32, _ texts: [String]) {
        for text in texts { element(number, text) }
    }

    mutating func field<Message: ProtobufMessage>(_ number: UInt32, _ message: Message?) {
        if let message { field(number, message) }
    }

    mutating func field<Message: ProtobufMessage>(_ number: UInt32, _ message: Message) {
        header(number, count: message.encodedCount)
        message.encode(to: &self)
    }

    mutating func field<Message: ProtobufMessage>(_ number: UInt32, _ messages: [Message]) {
        for message in messages { field(number, message) }
    }

    /// Packed.
    mutating func field(_ number: UInt32, _ values: [UInt64]) {
        guard !values.isEmpty else { return }
        var counter = ProtobufCounter()
        for value in values { counter.varint(value) }
        header(number, count: counter.count)
        for value in values { varint(value) }
    }

    private mutating func element(_ number: UInt32, _ text: String) {
        header(number, count: text.utf8.count)
        raw(utf8: text)
    }

    private mutating func header(_ number: UInt32, count: Int) {
        varint(UInt64(number) << 3 | 2)
        varint(UInt64(count))
    }
}
