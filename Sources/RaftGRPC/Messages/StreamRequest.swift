import Bytes
import Raft
import RaftRuntime

/// One message of the stream between two nodes: a frame, and at first who sends it.
struct StreamRequest: ProtobufMessage, Equatable {
    var header: CallHeader?
    var frame: PeerFrame?

    init() {}

    init(header: CallHeader?, frame: PeerFrame) {
        self.header = header
        self.frame = frame
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, header)
        switch frame {
        case .messages(let messages): sink.field(2, Messages(messages))
        case .beat(let beat): sink.field(3, beat)
        case .snapshotChunk(let chunk): sink.field(4, chunk)
        case .snapshotAnswer(let answer): sink.field(5, answer)
        case .call(let call): sink.field(6, call)
        case .answer(let answer): sink.field(7, answer)
        case nil: break
        }
    }

    /// Messages after messages are added to them: so two encoded frames, one behind the other, are
    /// the frame that holds the messages of both.
    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        if field.number == 1 { return try field.read(&header, &budget) }
        guard case .bytes(let bytes) = field.value else { return }
        switch field.number {
        case 2:
            var messages = Messages()
            if case .messages(let before) = frame { messages.messages = before }
            frame = nil
            try messages.merge(bytes, &budget)
            frame = .messages(messages.messages)
        case 3: frame = .beat(try NodeBeat(bytes, &budget))
        case 4: frame = .snapshotChunk(try SnapshotChunk(bytes, &budget))
        case 5: frame = .snapshotAnswer(try SnapshotAnswer(bytes, &budget))
        case 6: frame = .call(try PeerCall(bytes, &budget))
        case 7: frame = .answer(try PeerAnswer(bytes, &budget))
        default: break
        }
    }
}

private struct Messages: ProtobufMessage {
    var messages: [GroupMessage] = []

    init() {}
    init(_ messages: [GroupMessage]) { self.messages = messages }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        for message in messages { sink.field(1, WireMessage(message)) }
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        guard field.number == 1, case .bytes(let bytes) = field.value else { return }
        try budget.takeElement()
        messages.append(try WireMessage(bytes, &budget).groupMessage())
    }
}

extension NodeBeat: ProtobufMessage {
    init() { self.init(sequence: 0, answered: 0, incarnation: 0) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, sequence)
        sink.field(2, answered)
        sink.field(3, incarnation)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&sequence)
        case 2: field.read(&answered)
        case 3: field.read(&incarnation)
        default: break
        }
    }
}

extension SnapshotChunk: ProtobufMessage {
    init() {
        self.init(
            group: 0,
            index: .zero,
            term: .zero,
            content: 0,
            offset: 0,
            bytes: ByteSlice(),
            isLast: false
        )
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, group)
        sink.field(2, index.rawValue)
        sink.field(3, term.rawValue)
        sink.field(4, offset)
        sink.field(5, bytes)
        sink.field(6, isLast)
        sink.field(7, content)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&group)
        case 2: field.read(&index.rawValue)
        case 3: field.read(&term.rawValue)
        case 4: field.read(&offset)
        case 5: field.read(&bytes)
        case 6: field.read(&isLast)
        case 7: field.read(&content)
        default: break
        }
    }
}

extension SnapshotAnswer: ProtobufMessage {
    init() {
        self.init(
            group: 0,
            index: .zero,
            term: .zero,
            content: 0,
            received: 0,
            isRefused: false
        )
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, group)
        sink.field(2, index.rawValue)
        sink.field(3, term.rawValue)
        sink.field(4, received)
        sink.field(5, isRefused)
        sink.field(6, content)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&group)
        case 2: field.read(&index.rawValue)
        case 3: field.read(&term.rawValue)
        case 4: field.read(&received)
        case 5: field.read(&isRefused)
        case 6: field.read(&content)
        default: break
        }
    }
}

extension PeerCall: ProtobufMessage {
    init() { self.init(id: 0, operation: 0, payload: ByteSlice()) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, id)
        sink.field(2, UInt32(operation))
        sink.field(3, payload)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&id)
        case 2:
            var number = UInt32(operation)
            field.read(&number)
            guard let known = UInt8(exactly: number) else { throw .invalid("operation \(number)") }
            operation = known
        case 3:
            var bytes = ByteSlice()
            field.read(&bytes)
            payload = ByteRope(bytes)
        default: break
        }
    }
}

extension PeerAnswer: ProtobufMessage {
    init() { self.init(id: 0, isRefused: false, payload: ByteSlice()) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, id)
        sink.field(2, isRefused)
        sink.field(3, payload)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&id)
        case 2: field.read(&isRefused)
        case 3: field.read(&payload)
        default: break
        }
    }
}
