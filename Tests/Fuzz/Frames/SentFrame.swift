import Bytes
import FuzzDriver
import Raft
import RaftRuntime

@testable import RaftTransport

/// Frames built from an input, written and read again.
enum SentFrame {
    static func check(_ input: inout FuzzInput) {
        var messages: [GroupMessage] = []
        while !input.isEmpty && messages.count < 50 { messages.append(message(&input)) }
        checkRoundTrip(.messages(messages))
    }

    static func checkRoundTrip(_ frame: PeerFrame) {
        var read: [PeerFrame] = []
        FrameCodec.encode(frame) { kind, body in
            let rope = FrameCodec.framed(kind, body)
            guard let bytes = rope.joined() else { finding("a frame has a piece in a file") }
            guard let header = try? FrameHeader(bytes, limit: 64 << 20) else {
                finding("a header that was written is not read")
            }
            let content = bytes.dropFirst(FrameHeader.byteCount)
            guard header.kind == kind, header.bodyLength == content.count,
                (try? header.check(content)) != nil,
                let found = try? FrameCodec.decode(kind, content)
            else { finding("a frame that was written is not read: \(frame)") }
            read.append(found)
        }
        require(read == [frame], "\(frame) became \(read)")
    }

    private static func message(_ input: inout FuzzInput) -> GroupMessage {
        let body: Message.Body
        switch input.byte() % 6 {
        case 0:
            body = .append(
                .init(
                    previousIndex: LogIndex(input.integer()),
                    previousTerm: Term(UInt64(input.byte())),
                    entries: (0..<Int(input.byte() % 4)).map { _ in entry(&input) },
                    commit: LogIndex(input.integer())
                )
            )
        case 1: body = .heartbeat(.init(commit: LogIndex(input.integer()), round: input.integer()))
        case 2:
            body = .appendResponse(
                .init(
                    index: LogIndex(input.integer()),
                    rejection: .init(index: LogIndex(input.integer()), term: Term(input.integer()))
                )
            )
        case 3:
            let membership = Membership(
                voters: (0..<Int(input.byte() % 5)).map { _ in ReplicaID(input.integer()) },
                learners: (0..<Int(input.byte() % 5)).map { _ in ReplicaID(input.integer()) }
            )
            let metadata = SnapshotMetadata(
                index: LogIndex(input.integer()),
                term: Term(input.integer()),
                membership: membership
            )
            body = .snapshot(Snapshot(metadata: metadata, payload: payload(&input)))
        case 4: body = .propose([.init(payload: payload(&input))])
        default:
            body = .preVoteResponse(
                granted: input.byte() & 1 == 0,
                commit: .init(index: LogIndex(input.integer()), term: Term(input.integer()))
            )
        }
        return GroupMessage(
            group: input.integer(),
            message: Message(
                from: ReplicaID(UInt64(input.byte())),
                to: ReplicaID(UInt64(input.byte())),
                term: Term(UInt64(input.byte())),
                body: body
            )
        )
    }

    private static func entry(_ input: inout FuzzInput) -> RaftEntry {
        RaftEntry(
            index: LogIndex(input.integer()),
            term: Term(UInt64(input.byte())),
            kind: input.byte() & 1 == 0 ? .normal : .configuration,
            payload: payload(&input)
        )
    }

    private static func payload(_ input: inout FuzzInput) -> RaftPayload {
        let bytes = input.slice(input.below(300))
        return RaftPayload(owner: bytes.owner, start: bytes.start, count: bytes.count)
    }
}
