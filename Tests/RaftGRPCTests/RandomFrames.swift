import Bytes
import Platform
import Raft
import RaftRuntime

/// Frames of every kind, the same for the same seed.
struct RandomFrames {
    private var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func number(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &generator) }

    mutating func value() -> UInt64 {
        let choices: [UInt64] = [0, 1, 127, 128, 1 << 40, (1 << 62) - 1]
        return choices[number(choices.count)]
    }

    mutating func slice() -> ByteSlice {
        let counts = [0, 1, 30, 3_000]
        let count = counts[number(counts.count)]
        return ByteSlice(
            [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
                for index in 0..<count {
                    bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                }
                filled = count
            }
        )
    }

    mutating func frame() -> PeerFrame {
        switch number(6) {
        case 0: .messages((0...number(4)).map { _ in message() })
        case 1: .beat(NodeBeat(sequence: value(), answered: value(), incarnation: value()))
        case 2:
            .snapshotChunk(
                SnapshotChunk(
                    group: value(),
                    index: LogIndex(value()),
                    term: Term(value()),
                    content: value(),
                    offset: value(),
                    bytes: slice(),
                    isLast: number(2) == 0
                )
            )
        case 3:
            .call(PeerCall(id: value(), operation: UInt8(number(256)), payload: slice()))
        case 4:
            .answer(PeerAnswer(id: value(), isRefused: number(2) == 0, payload: slice()))
        default:
            .snapshotAnswer(
                SnapshotAnswer(
                    group: value(),
                    index: LogIndex(value()),
                    term: Term(value()),
                    content: value(),
                    received: value(),
                    isRefused: number(2) == 0
                )
            )
        }
    }

    mutating func message() -> GroupMessage {
        let message = Message(
            from: ReplicaID(value()),
            to: ReplicaID(value()),
            term: Term(value()),
            body: body(number(15))
        )
        return GroupMessage(group: value(), message: message)
    }

    mutating func entry(_ index: LogIndex) -> RaftEntry {
        RaftEntry(
            index: index,
            term: Term(value()),
            kind: number(2) == 0 ? .normal : .configuration,
            payload: RaftPayload(slice())
        )
    }

    mutating func body(_ kind: Int) -> Message.Body {
        switch kind {
        case 0:
            let previous = LogIndex(value())
            let entries = (0..<number(4)).map { entry(previous + 1 + $0) }
            return .append(
                Message.Append(
                    previousIndex: previous,
                    previousTerm: Term(value()),
                    entries: entries,
                    commit: LogIndex(value())
                )
            )
        case 1:
            let rejection = Message.Rejection(index: LogIndex(value()), term: Term(value()))
            return .appendResponse(
                Message.AppendResponse(
                    index: LogIndex(value()),
                    rejection: number(2) == 0 ? nil : rejection
                )
            )
        case 2: return .vote(voteRequest())
        case 3: return .voteResponse(granted: number(2) == 0, commit: commitPoint())
        case 4: return .preVote(voteRequest())
        case 5: return .preVoteResponse(granted: number(2) == 0, commit: commitPoint())
        case 6:
            return .heartbeat(
                Message.Heartbeat(
                    commit: LogIndex(value()),
                    round: value(),
                    quiesce: number(2) == 0
                )
            )
        case 7: return .heartbeatResponse(round: value())
        case 8: return .lostEntries(last: LogIndex(value()))
        case 9: return .snapshot(snapshot())
        case 10: return .timeoutNow
        case 11: return .transferLeader(to: ReplicaID(value()))
        case 12: return .readIndex(context: value())
        case 13: return .readIndexResponse(index: LogIndex(value()), context: value())
        default:
            return .propose(
                (0..<number(4)).map { _ in Message.Proposal(payload: RaftPayload(slice())) }
            )
        }
    }

    private mutating func voteRequest() -> Message.VoteRequest {
        Message.VoteRequest(
            lastIndex: LogIndex(value()),
            lastTerm: Term(value()),
            isTransfer: number(2) == 0
        )
    }

    private mutating func commitPoint() -> Message.CommitPoint? {
        number(2) == 0 ? nil : Message.CommitPoint(index: LogIndex(value()), term: Term(value()))
    }

    private mutating func snapshot() -> Snapshot {
        let membership = Membership(
            voters: [1, 2, 3].map { ReplicaID($0) },
            outgoingVoters: [2, 300].map { ReplicaID($0) },
            learners: [ReplicaID(77)],
            learnersNext: [ReplicaID(300)],
            autoLeave: true
        )
        let metadata = SnapshotMetadata(
            index: LogIndex(value()),
            term: Term(value()),
            membership: membership
        )
        return Snapshot(metadata: metadata, payload: RaftPayload(slice()))
    }
}
