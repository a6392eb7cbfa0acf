import Bytes
import FuzzDriver
import Raft
import RaftRuntime

@testable import RaftTransport

/// Frames of every kind, in the ways that the target reads an input.
enum FrameSeeds {
    static func all() -> [FuzzProgram.Seed] {
        var seeds: [FuzzProgram.Seed] = []
        var stream: [UInt8] = [0]
        for (name, frame) in frames() {
            FrameCodec.encode(frame) { kind, body in
                let content = body.joined()?.array ?? []
                seeds.append(("body-" + name, [1, kind.rawValue] + content))
                stream += FrameCodec.framed(kind, body).joined()?.array ?? []
            }
        }
        seeds.append(("stream", stream))
        seeds.append(("stream-cut", stream.dropLast(5)))
        let identity = NodeIdentity(cluster: "cluster", node: ReplicaID(1), incarnation: 7)
        let hello = Hello(versions: 1...2, stream: 1, caller: identity, called: ReplicaID(2))
        let answer = HelloAnswer(versions: 1...1, refusal: .wrongNode, answering: identity)
        seeds.append(("hello", [2] + hello.bytes.dropFirst(Envelope.headerBytes).array))
        seeds.append(("hello-sealed", [2] + hello.bytes.array))
        seeds.append(("answer", [2] + answer.bytes.dropFirst(Envelope.headerBytes).array))
        seeds.append(("sent", [3] + (0..<250).map { UInt8(truncatingIfNeeded: $0 * 67) }))
        return seeds
    }

    private static func frames() -> [(String, PeerFrame)] {
        let (index, term) = (LogIndex(300), Term(4))
        let payload = RaftPayload(copying: Array("payload".utf8))
        let entry = RaftEntry(index: LogIndex(301), term: term, payload: payload)
        let odd = RaftEntry(index: index, term: Term(5), kind: .configuration, payload: payload)
        let ids = [ReplicaID(1), ReplicaID(2), ReplicaID(300)]
        let membership = Membership(voters: ids, learners: [ReplicaID(9)])
        let metadata = SnapshotMetadata(index: index, term: term, membership: membership)
        let snapshot = Snapshot(metadata: metadata, payload: payload)
        let bodies: [(String, Message.Body)] = [
            (
                "append",
                .append(
                    .init(
                        previousIndex: index,
                        previousTerm: term,
                        entries: [entry, odd],
                        commit: index
                    )
                )
            ),
            ("append-response", .appendResponse(.init(index: index))),
            (
                "rejection",
                .appendResponse(.init(index: index, rejection: .init(index: index, term: term)))
            ),
            ("vote", .vote(.init(lastIndex: index, lastTerm: term))),
            ("vote-response", .voteResponse(granted: true)),
            ("pre-vote", .preVote(.init(lastIndex: index, lastTerm: term, isTransfer: true))),
            (
                "pre-vote-response",
                .preVoteResponse(granted: false, commit: .init(index: index, term: term))
            ),
            ("heartbeat", .heartbeat(.init(commit: index, round: 9, quiesce: true))),
            ("heartbeat-response", .heartbeatResponse(round: 9)),
            ("lost-entries", .lostEntries(last: index)),
            ("snapshot", .snapshot(snapshot)),
            ("timeout-now", .timeoutNow),
            ("transfer-leader", .transferLeader(to: ReplicaID(2))),
            ("read-index", .readIndex(context: 5)),
            ("read-index-response", .readIndexResponse(index: index, context: 5)),
            ("propose", .propose([.init(payload: payload)])),
        ]
        let messages = bodies.map { name, body in
            (name, message(body))
        }
        let chunk = SnapshotChunk(
            group: 1,
            index: index,
            term: term,
            content: 7 << 40,
            offset: 4096,
            bytes: ByteSlice("content"),
            isLast: true
        )
        let answer = SnapshotAnswer(
            group: 1,
            index: index,
            term: term,
            content: 7 << 40,
            received: 4103,
            isRefused: false
        )
        return messages.map { ($0, .messages([$1])) } + [
            ("all-messages", .messages(messages.map(\.1))),
            ("beat", .beat(NodeBeat(sequence: 5, answered: 4, incarnation: 1 << 60))),
            ("snapshot-chunk", .snapshotChunk(chunk)),
            ("snapshot-answer", .snapshotAnswer(answer)),
            ("call", .call(PeerCall(id: 300, operation: 2, payload: ByteSlice("question")))),
            (
                "answer",
                .answer(PeerAnswer(id: 300, isRefused: false, payload: ByteSlice("answer")))
            ),
        ]
    }

    private static func message(_ body: Message.Body) -> GroupMessage {
        GroupMessage(
            group: 12,
            message: Message(from: ReplicaID(1), to: ReplicaID(2), term: Term(4), body: body)
        )
    }
}
