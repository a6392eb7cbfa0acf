import Bytes
import Platform
import Raft
import RaftRuntime
import Testing

@testable import RaftTransport

@Suite struct `The codec of frames` {
    static let limit = 64 << 20

    /// The bytes of a frame as they go over the wire.
    static func encoded(_ frame: PeerFrame) -> [ByteRope] {
        var found: [ByteRope] = []
        FrameCodec.encode(frame) { found.append(FrameCodec.framed($0, $1)) }
        return found
    }

    static func bytes(_ frame: PeerFrame) throws -> ByteSlice {
        let all = encoded(frame)
        #expect(all.count == 1)
        return try #require(all.first?.joined())
    }

    /// Reads bytes that hold exactly one frame.
    static func decoded(_ bytes: ByteSlice) throws(FrameError) -> PeerFrame? {
        guard bytes.count >= FrameHeader.byteCount else { throw .cutShort }
        let header = try FrameHeader(bytes, limit: limit)
        guard header.bodyLength == bytes.count - FrameHeader.byteCount else { throw .cutShort }
        let body = bytes.dropFirst(FrameHeader.byteCount)
        try header.check(body)
        return try FrameCodec.decode(header.kind, body)
    }

    @Test(arguments: 1...8)
    func `what is written is read again`(_ seed: UInt64) throws {
        var samples = FrameSamples(seed: seed)
        for _ in 0..<500 {
            let frame = samples.frame()
            #expect(try Self.decoded(try Self.bytes(frame)) == frame)
        }
    }

    @Test(arguments: 0..<FrameSamples.bodyChoices)
    func `every body of a message is written and read`(_ choice: Int) throws {
        var samples = FrameSamples(seed: UInt64(choice) + 100)
        for _ in 0..<100 {
            let message = Message(
                from: ReplicaID(1),
                to: ReplicaID(2),
                term: Term(samples.number()),
                body: samples.body(choice)
            )
            let frame = PeerFrame.messages([GroupMessage(group: 7, message: message)])
            #expect(try Self.decoded(try Self.bytes(frame)) == frame)
        }
    }

    @Test(arguments: 1...4)
    func `no flipped or missing byte goes unnoticed`(_ seed: UInt64) throws {
        var samples = FrameSamples(seed: seed)
        for _ in 0..<40 {
            let good = try Self.bytes(samples.frame()).array
            for place in good.indices.prefix(400) {
                var bad = good
                bad[place] ^= 1 << UInt8(samples.generator.below(8))
                #expect(throws: FrameError.self) { try Self.decoded(ByteSlice(bad)) }
                #expect(throws: FrameError.self) { try Self.decoded(ByteSlice(good)[0..<place]) }
            }
        }
    }

    @Test(arguments: 1...4)
    func `a damaged body whose checksum is right is an error or another frame`(
        _ seed: UInt64
    ) throws {
        var samples = FrameSamples(seed: seed)
        var refused = 0
        for _ in 0..<200 {
            let good = try Self.bytes(samples.frame())
            let header = try FrameHeader(good, limit: Self.limit)
            let body = good.dropFirst(FrameHeader.byteCount).array
            for place in body.indices.prefix(300) {
                var bad = body
                bad[place] = UInt8(truncatingIfNeeded: samples.generator.next())
                for bytes in [bad, Array(body[..<place])] {
                    do {
                        let read = try FrameCodec.decode(header.kind, ByteSlice(bytes))
                        let again = try Self.bytes(try #require(read))
                        #expect(try Self.decoded(again) == read)
                    } catch is FrameError {
                        refused += 1
                    }
                }
            }
        }
        #expect(refused > 1_000)
    }

    @Test func `a thousand heartbeats cost a few bytes each`() throws {
        let messages = (0..<1_000).map { (group: UInt64) -> GroupMessage in
            let heartbeat = Message.Heartbeat(commit: LogIndex(1_000_000 + group), round: 7)
            let message = Message(
                from: ReplicaID(1),
                to: ReplicaID(2),
                term: Term(3 + group % 4),
                body: .heartbeat(heartbeat)
            )
            return GroupMessage(group: 10_000 + group, message: message)
        }
        let bytes = try Self.bytes(.messages(messages))
        #expect(bytes.count <= 7_100, "\(bytes.count) bytes")
        #expect(try Self.decoded(bytes) == .messages(messages))
    }

    @Test func `a large payload is copied neither on the way out nor on the way in`() throws {
        let payload = RaftPayload(copying: [UInt8](repeating: 9, count: 100_000))
        let entry = RaftEntry(index: LogIndex(5), term: Term(1), payload: payload)
        let append = Message.Append(
            previousIndex: LogIndex(4),
            previousTerm: Term(1),
            entries: [entry],
            commit: LogIndex(4)
        )
        let message = Message(
            from: ReplicaID(1),
            to: ReplicaID(2),
            term: Term(1),
            body: .append(append)
        )
        let frame = PeerFrame.messages([GroupMessage(group: 1, message: message)])
        let rope = try #require(Self.encoded(frame).first)
        let pieces = rope.pieces.compactMap { piece -> UnsafeRawPointer? in
            if case .bytes(let slice) = piece { slice.start } else { nil }
        }
        #expect(pieces.contains { $0 == payload.start })
        let received = try #require(rope.joined())
        guard case .messages(let messages) = try Self.decoded(received),
            case .append(let read) = messages.first?.message.body,
            let found = read.entries.first?.payload,
            let start = found.start, let whole = received.start
        else {
            Issue.record("no append was read")
            return
        }
        #expect(found == payload)
        #expect(found.owner === received.owner)
        #expect(start > whole && start < whole + received.count)
    }

    @Test func `calls and answers are what the table says, their payloads never copied`() throws {
        let payload = ByteSlice([UInt8](repeating: 9, count: 100_000))
        let call = PeerFrame.call(PeerCall(id: 300, operation: 0xfe, payload: payload))
        let answer = PeerFrame.answer(PeerAnswer(id: .max, isRefused: true, payload: payload))
        let heads: [(PeerFrame, UInt8, [UInt8])] = [
            (call, 0x16, [0xfe, 0xac, 0x02]),
            (answer, 0x17, [1] + [UInt8](repeating: 0xff, count: 9) + [1]),
        ]
        for (frame, tag, head) in heads {
            let rope = try #require(Self.encoded(frame).first)
            let pieces = rope.pieces.compactMap { piece -> UnsafeRawPointer? in
                if case .bytes(let slice) = piece { slice.start } else { nil }
            }
            #expect(pieces.contains { $0 == payload.start })
            let received = try #require(rope.joined())
            #expect(received[4] == tag)
            let body = received.dropFirst(FrameHeader.byteCount)
            #expect(body.prefix(head.count).array == head)
            let read = try Self.decoded(received)
            #expect(read == frame)
            switch read {
            case .call(let call): #expect(call.wholePayload.owner === received.owner)
            case .answer(let answer): #expect(answer.payload.owner === received.owner)
            default: Issue.record("\(String(describing: read))")
            }
        }
        #expect(throws: FrameError.self) { try FrameCodec.decode(.answer, ByteSlice([2, 1])) }
        #expect(throws: FrameError.self) { try FrameCodec.decode(.call, ByteSlice([2])) }
    }

    @Test func `a very long turn is several frames in order`() throws {
        let payload = RaftPayload(copying: [UInt8](repeating: 1, count: 300_000))
        let messages = (0..<10).map { number in
            GroupMessage(
                group: UInt64(number),
                message: Message(
                    from: ReplicaID(1),
                    to: ReplicaID(2),
                    term: Term(1),
                    body: .propose([.init(payload: payload)])
                )
            )
        }
        var read: [GroupMessage] = []
        let ropes = Self.encoded(.messages(messages))
        #expect(ropes.count == 3)
        for rope in ropes {
            let frame = try Self.decoded(try #require(rope.joined()))
            guard case .messages(let part) = frame else { continue }
            read += part
        }
        #expect(read == messages)
    }

    @Test func `a length beyond the limit is refused by its header`() throws {
        var writer = ByteWriter()
        FrameHeader(kind: .beat, body: ByteRope(ByteSlice("123"))).write(to: &writer)
        var header = writer.finishContiguous().array
        header[0] = 0xff
        #expect(throws: FrameError.oversized(length: 0xff00_0003 + 9, limit: 1_000)) {
            try FrameHeader(ByteSlice(header), limit: 1_000)
        }
        header[4] = 0x2f
        #expect(throws: FrameError.unknownFormat(2)) {
            try FrameHeader(ByteSlice(header), limit: 1_000)
        }
        header[4] = 0x1f
        #expect(throws: FrameError.unknownFrameKind(15)) {
            try FrameHeader(ByteSlice(header), limit: 1_000)
        }
    }

    @Test func `counts beyond what is there are refused before memory is set aside`() throws {
        var writer = ByteWriter()
        writer.write(number: .max)
        let body = writer.finishContiguous()
        #expect(throws: FrameError.malformed(.invalidLength(.max))) {
            try FrameCodec.decode(.messages, body)
        }
    }
}
