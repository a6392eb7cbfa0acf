import Bytes
import Platform
import Raft
import RaftRuntime

/// Frames drawn at random, of every kind, with small and with extreme numbers.
struct FrameSamples {
    var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func number() -> UInt64 {
        switch generator.below(5) {
        case 0: 0
        case 1: UInt64(generator.below(100))
        case 2: UInt64(generator.below(1_000_000))
        case 3: generator.next()
        default: .max - UInt64(generator.below(2))
        }
    }

    mutating func bytes(_ most: Int = 40) -> ByteSlice {
        let count = generator.chance(1, in: 50) ? generator.below(10_000) : generator.below(most)
        return ByteSlice((0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
    }

    mutating func payload() -> RaftPayload { RaftPayload(copying: bytes().array) }

    private mutating func flip() -> Bool { generator.chance(1, in: 2) }
    private mutating func index() -> LogIndex { LogIndex(number()) }
    private mutating func term() -> Term { Term(number()) }

    private mutating func list<T>(_ make: (inout FrameSamples) -> T) -> [T] {
        (0..<generator.below(5)).map { _ in make(&self) }
    }

    private mutating func kind() -> RaftEntry.Kind { flip() ? .normal : .configuration }

    private mutating func append() -> Message.Append {
        let first = LogIndex(UInt64(generator.below(1_000)))
        var next = first.rawValue
        let isContiguous = generator.chance(4, in: 5)
        return Message.Append(
            previousIndex: first,
            previousTerm: Term(UInt64(generator.below(3))),
            entries: list {
                next = isContiguous ? next + 1 : $0.number()
                return RaftEntry(
                    index: LogIndex(next),
                    term: $0.flip() ? Term(1) : $0.term(),
                    kind: $0.kind(),
                    payload: $0.payload()
                )
            },
            commit: index()
        )
    }

    private mutating func snapshot() -> Snapshot {
        let membership = Membership(
            voters: list { ReplicaID($0.number()) },
            outgoingVoters: list { ReplicaID($0.number()) },
            learners: list { ReplicaID($0.number()) },
            learnersNext: list { ReplicaID($0.number()) },
            autoLeave: flip()
        )
        let metadata = SnapshotMetadata(index: index(), term: term(), membership: membership)
        return Snapshot(metadata: metadata, payload: payload())
    }

    private mutating func vote() -> Message.VoteRequest {
        .init(lastIndex: index(), lastTerm: term(), isTransfer: flip())
    }

    private mutating func commitPoint() -> Message.CommitPoint? {
        flip() ? .init(index: index(), term: term()) : nil
    }

    mutating func body(_ choice: Int) -> Message.Body {
        switch choice {
        case 0: .append(append())
        case 1: .appendResponse(.init(index: index()))
        case 2:
            .appendResponse(
                .init(index: index(), rejection: .init(index: index(), term: term()))
            )
        case 3: .vote(vote())
        case 4: .voteResponse(granted: flip(), commit: commitPoint())
        case 5: .preVote(vote())
        case 6: .preVoteResponse(granted: flip(), commit: commitPoint())
        case 7: .heartbeat(.init(commit: index(), round: number(), quiesce: flip()))
        case 8: .heartbeatResponse(round: number())
        case 9: .lostEntries(last: index())
        case 10: .snapshot(snapshot())
        case 11: .timeoutNow
        case 12: .transferLeader(to: ReplicaID(number()))
        case 13: .readIndex(context: number())
        case 14: .readIndexResponse(index: index(), context: number())
        default: .propose(list { .init(kind: $0.kind(), payload: $0.payload()) })
        }
    }

    static let bodyChoices = 16

    mutating func message() -> GroupMessage {
        let plain = flip()
        return GroupMessage(
            group: number(),
            message: Message(
                from: plain ? ReplicaID(1) : ReplicaID(number()),
                to: plain ? ReplicaID(2) : ReplicaID(number()),
                term: plain ? Term(3) : term(),
                body: body(generator.below(Self.bodyChoices))
            )
        )
    }

    mutating func frame() -> PeerFrame {
        switch generator.below(8) {
        case 0:
            .beat(NodeBeat(sequence: number(), answered: number(), incarnation: number()))
        case 1:
            .snapshotChunk(
                SnapshotChunk(
                    group: number(),
                    index: index(),
                    term: term(),
                    content: number(),
                    offset: number(),
                    bytes: bytes(),
                    isLast: flip()
                )
            )
        case 2:
            .snapshotAnswer(
                SnapshotAnswer(
                    group: number(),
                    index: index(),
                    term: term(),
                    content: number(),
                    received: number(),
                    isRefused: flip()
                )
            )
        case 3:
            .call(
                PeerCall(
                    id: number(),
                    operation: UInt8(generator.below(256)),
                    payload: bytes()
                )
            )
        case 4: .answer(PeerAnswer(id: number(), isRefused: flip(), payload: bytes()))
        default: .messages(list { $0.message() })
        }
    }
}
