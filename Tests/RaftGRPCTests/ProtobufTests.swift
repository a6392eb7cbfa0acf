import Bytes
import Platform
import Raft
import RaftRuntime
import Testing

@testable import RaftGRPC

@Suite struct ProtobufTests {
    private func bytes(_ rope: ByteRope) -> ByteSlice { rope.joined() ?? ByteSlice() }

    @Test func `every frame comes back as it was sent`() throws {
        var draw = RandomFrames(seed: 1)
        for _ in 0..<2_000 {
            let request = StreamRequest(header: nil, frame: draw.frame())
            let encoded = bytes(request.encoded())
            #expect(encoded.count == request.encodedCount)
            #expect(try StreamRequest(protobuf: encoded) == request)
        }
    }

    @Test func `every kind of message is among the frames`() throws {
        var draw = RandomFrames(seed: 2)
        let kinds = Set((0..<15).map { "\(draw.body($0))".prefix { $0 != "(" } })
        #expect(kinds.count == 15)
    }

    @Test func `two encoded frames of messages are the encoding of one with both`() throws {
        var draw = RandomFrames(seed: 3)
        let first = (0..<5).map { _ in draw.message() }
        let second = (0..<5).map { _ in draw.message() }
        var joined = StreamRequest(
            header: CallHeader(clusterID: "c", from: 1),
            frame: .messages(first)
        ).encoded()
        joined.append(StreamRequest(header: nil, frame: .messages(second)).encoded())
        let read = try StreamRequest(protobuf: bytes(joined))
        #expect(read.frame == .messages(first + second))
        #expect(read.header?.clusterID == "c")
    }

    @Test func `an operation beyond a byte is refused`() throws {
        let call = { (operation: [UInt8]) in
            let body = [0x08, 0x05, 0x10] + operation
            return ByteSlice([0x32, UInt8(body.count)] + body)
        }
        let read = try StreamRequest(protobuf: call([0xff, 0x01]))
        #expect(read.frame == .call(PeerCall(id: 5, operation: 255, payload: ByteSlice())))
        #expect(throws: ProtobufError.invalid("operation 256")) {
            try StreamRequest(protobuf: call([0x80, 0x02]))
        }
    }

    @Test(arguments: 0..<8)
    func `damaged bytes are refused or read, and never trap`(seed: UInt64) {
        var draw = RandomFrames(seed: seed)
        var refused = 0
        for _ in 0..<1_500 {
            var damaged = bytes(StreamRequest(header: nil, frame: draw.frame()).encoded()).array
            for _ in 0...draw.number(3) where !damaged.isEmpty {
                damaged[draw.number(damaged.count)] = UInt8(draw.number(256))
            }
            if draw.number(3) == 0 { damaged.removeLast(draw.number(damaged.count + 1)) }
            do throws(ProtobufError) {
                _ = try StreamRequest(protobuf: ByteSlice(damaged))
            } catch {
                refused += 1
            }
        }
        #expect(refused > 0)
    }

    @Test func `every cut of a message is refused or is a shorter message`() throws {
        var draw = RandomFrames(seed: 9)
        let whole = bytes(StreamRequest(header: nil, frame: .messages([draw.message()])).encoded())
        for count in 1..<whole.count {
            #expect(throws: ProtobufError.self) { try StreamRequest(protobuf: whole.prefix(count)) }
        }
    }

    @Test(arguments: [
        ([0xff], ProtobufError.truncated),
        ([0x0a, 0x05, 0x00], .truncated),
        ([UInt8](repeating: 0xff, count: 11), .overlongVarint),
        ([0x00], .invalidTag(0)),
        ([0x07], .invalidTag(7)),
        ([0x0b], .unmatchedGroup),
        ([0x0c], .unmatchedGroup),
        ([0x0b, 0x14], .unmatchedGroup),
        ([UInt8](repeating: 0x0b, count: 100), .unmatchedGroup),
        ([0x0d, 0x00], .truncated),
        ([0x0a, 0x03, 0x0a, 0x01, 0xff], .invalidUTF8),
    ])
    func `bytes that are no message say why`(bytes: [UInt8], why: ProtobufError) {
        #expect(throws: why) { try ReadIndexRequest(protobuf: ByteSlice(bytes)) }
    }

    @Test func `unknown fields and groups are passed over`() throws {
        let unknown: [UInt8] = [0xf8, 0x07, 0x05, 0xfb, 0x07, 0x08, 0x01, 0xfc, 0x07]
        let header = CallHeader(clusterID: "c", from: 3, to: 1, incarnation: 9)
        let read = try CallHeader(protobuf: ByteSlice(unknown + bytes(header.encoded()).array))
        #expect(read == header)
    }

    @Test func `what a peer can make us allocate is bounded`() {
        let limit = ProtobufBudget.elementLimit
        // Empty entries: two bytes each.
        var message = [UInt8](repeating: 0, count: 2 * (limit + 1))
        for place in stride(from: 0, to: message.count, by: 2) { message[place] = 0x1a }
        #expect(throws: ProtobufError.tooManyElements(limit: limit)) {
            try Message.Append(protobuf: ByteSlice(message))
        }
    }

    @Test func `an entry of a kind nobody knows is refused`() {
        #expect(throws: ProtobufError.invalid("an entry of kind 9")) {
            try RaftEntry(protobuf: ByteSlice([0x10, 0x09]))
        }
    }

    @Test func `entries are numbered from the one before them, whatever that is`() throws {
        var draw = RandomFrames(seed: 4)
        var append = Message.Append()
        append.previousIndex = LogIndex(.max)
        append.entries = [draw.entry(LogIndex(0))]
        let message = Message(
            from: ReplicaID(1),
            to: ReplicaID(2),
            term: Term(1),
            body: .append(append)
        )
        let frame = PeerFrame.messages([GroupMessage(group: 1, message: message)])
        let encoded = bytes(StreamRequest(header: nil, frame: frame).encoded())
        #expect(try StreamRequest(protobuf: encoded).frame == frame)
    }
}
