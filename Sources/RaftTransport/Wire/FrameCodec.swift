internal import Bytes
internal import Raft
internal import RaftRuntime

/// Turns frames into bytes and back.
///
/// | kind | body |
/// |---|---|
/// | messages | count n, then messages: ``MessageTag`` |
/// | beat | sequence n, answered n, incarnation n |
/// | snapshot chunk | 1 if it is the last, else 0; group n, index n, term n, content n, offset n; the bytes |
/// | snapshot answer | 1 if refused, else 0; group n, index n, term n, content n, received n |
/// | receipt | bytes received on this connection, n |
/// | keep-alive | |
/// | call | operation, 1 byte; id n; the payload |
/// | answer | 1 if refused, else 0; id n; the payload |
///
/// `n` is a base-128 number, low groups first.
enum FrameCodec {
    /// A frame of messages that has reached this many bytes is followed by another.
    ///
    /// Payloads keep the frame they came in alive, and a frame is taken in only when all of it has
    /// arrived.
    static let softBytes = 1 << 20

    /// What is written for a frame: one body, or several for a very long turn.
    static func encode(_ frame: PeerFrame, _ body: (FrameHeader.Kind, ByteRope) -> Void) {
        switch frame {
        case .messages(let messages): encode(messages, body)
        case .beat(let beat):
            var writer = ByteWriter(capacity: 64)
            writer.write(number: beat.sequence)
            writer.write(number: beat.answered)
            writer.write(number: beat.incarnation)
            body(.beat, writer.finish())
        case .snapshotChunk(let chunk):
            var writer = ByteWriter(capacity: 64)
            writer.write(UInt8(chunk.isLast ? 1 : 0))
            writer.write(number: chunk.group)
            writer.write(number: chunk.index.rawValue)
            writer.write(number: chunk.term.rawValue)
            writer.write(number: chunk.content)
            writer.write(number: chunk.offset)
            writer.write(chunk.bytes)
            body(.snapshotChunk, writer.finish())
        case .snapshotAnswer(let answer):
            var writer = ByteWriter(capacity: 64)
            writer.write(UInt8(answer.isRefused ? 1 : 0))
            writer.write(number: answer.group)
            writer.write(number: answer.index.rawValue)
            writer.write(number: answer.term.rawValue)
            writer.write(number: answer.content)
            writer.write(number: answer.received)
            body(.snapshotAnswer, writer.finish())
        case .call(let call):
            body(.call, encode(call.operation, call.id, call.payload))
        case .answer(let answer):
            let first: UInt8 = answer.isRefused ? 1 : 0
            body(.answer, encode(first, answer.id, ByteRope(answer.payload)))
        }
    }

    private static func encode(
        _ messages: [GroupMessage],
        _ body: (FrameHeader.Kind, ByteRope) -> Void
    ) {
        var next = 0
        repeat {
            let first = next
            var writer = MessageWriter(capacity: 32 + 16 * (messages.count - first))
            while next < messages.count && writer.count < softBytes {
                writer.write(messages[next])
                next += 1
            }
            var head = ByteWriter(capacity: 64)
            head.write(number: UInt64(next - first))
            head.write(writer.finish())
            body(.messages, head.finish())
        } while next < messages.count
    }

    private static func encode(_ first: UInt8, _ id: UInt64, _ payload: ByteRope) -> ByteRope {
        var writer = ByteWriter(capacity: 64)
        writer.write(first)
        writer.write(number: id)
        writer.write(payload)
        return writer.finish()
    }

    /// The frame of a body whose checksum was right; `nil` for one that is the transport's own.
    static func decode(
        _ kind: FrameHeader.Kind,
        _ body: ByteSlice
    ) throws(FrameError) -> PeerFrame? {
        switch kind {
        case .messages: return .messages(try MessageReader.read(body))
        case .beat:
            var reader = BodyReader(body)
            let beat = NodeBeat(
                sequence: try reader.number(),
                answered: try reader.number(),
                incarnation: try reader.number()
            )
            try reader.end()
            return .beat(beat)
        case .snapshotChunk: return .snapshotChunk(try snapshotChunk(body))
        case .snapshotAnswer: return .snapshotAnswer(try snapshotAnswer(body))
        case .call:
            var reader = BodyReader(body)
            let operation = try reader.byte()
            let id = try reader.number()
            return .call(PeerCall(id: id, operation: operation, payload: reader.rest()))
        case .answer:
            var reader = BodyReader(body)
            let isRefused = try flag(&reader)
            let id = try reader.number()
            return .answer(PeerAnswer(id: id, isRefused: isRefused, payload: reader.rest()))
        case .receipt, .keepAlive: return nil
        }
    }

    private static func snapshotChunk(_ body: ByteSlice) throws(FrameError) -> SnapshotChunk {
        var reader = BodyReader(body)
        let isLast = try flag(&reader)
        return SnapshotChunk(
            group: try reader.number(),
            index: LogIndex(try reader.number()),
            term: Term(try reader.number()),
            content: try reader.number(),
            offset: try reader.number(),
            bytes: reader.rest(),
            isLast: isLast
        )
    }

    private static func snapshotAnswer(_ body: ByteSlice) throws(FrameError) -> SnapshotAnswer {
        var reader = BodyReader(body)
        let isRefused = try flag(&reader)
        let answer = SnapshotAnswer(
            group: try reader.number(),
            index: LogIndex(try reader.number()),
            term: Term(try reader.number()),
            content: try reader.number(),
            received: try reader.number(),
            isRefused: isRefused
        )
        try reader.end()
        return answer
    }

    private static func flag(_ reader: inout BodyReader) throws(FrameError) -> Bool {
        let byte = try reader.byte()
        guard byte <= 1 else { throw .malformed(.invalidLength(Int64(byte))) }
        return byte == 1
    }

    // MARK: The transport's own frames

    static func receipt(_ received: UInt64) -> ByteRope {
        var writer = ByteWriter(capacity: 64)
        writer.write(number: received)
        return framed(.receipt, writer.finish())
    }

    static func readReceipt(_ body: ByteSlice) throws(FrameError) -> UInt64 {
        var reader = BodyReader(body)
        let received = try reader.number()
        try reader.end()
        return received
    }

    static func framed(_ kind: FrameHeader.Kind, _ body: ByteRope) -> ByteRope {
        var writer = ByteWriter(capacity: 64)
        FrameHeader(kind: kind, body: body).write(to: &writer)
        writer.write(body)
        return writer.finish()
    }
}
