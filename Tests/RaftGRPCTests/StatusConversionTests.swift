import Bytes
import Raft
import RaftRuntime
import Testing

@testable import RaftGRPC

@Suite struct StatusConversionTests {
    private static let rejections: [RaftProposalError] = [
        .notLeader(leader: nil), .notLeader(leader: ReplicaID(2)),
        .transferInProgress(to: ReplicaID(3)), .removed, .tooManyUncommittedBytes(1 << 30),
        .changePending(through: LogIndex(9)), .mustLeaveJoint, .notJoint,
        .invalidChange(.alreadyJoint), .invalidChange(.notJoint), .invalidChange(.noVoters),
        .invalidChange(.simpleChangeWhileJoint), .invalidChange(.removesAllVoters),
        .invalidChange(.moreThanOneVoterChanged), .tooManyPendingReads(5),
        .notAVoter(ReplicaID(4)), .nothingToTransfer,
    ]

    private static let raft: [RaftError] =
        [
            .notLeader(leader: nil), .notLeader(leader: ReplicaID(7)), .overloaded,
            .outcomeUnknown, .timedOut, .storageFailed,
            .logConflict(index: LogIndex(5), commit: LogIndex(6)), .snapshotFailed("disk"),
            .unknownGroup(77), .changePending, .logHasNoBase, .stopped,
        ] + rejections.map { .rejected($0) }

    static let all: [RaftCallError] =
        raft.map { .raft($0) } + [
            .wrongCluster(theirs: "theirs", ours: "ours"), .wrongNode(asked: 2, this: 1),
            .unknownNode(0), .unknownNode(9), .duplicateNode(1),
            .oldIncarnation(node: 2, theirs: 10, latest: 20), .unknownPartition("orders-3"),
            .staleGroup(asked: 5, current: 6), .malformed("bytes"), .tooLarge("message"),
            .tooManyCalls(limit: 12), .noAnswer("group 1"), .notSupported("method"),
            .deadlineExceeded, .cancelled, .unreachable("nobody there"),
            .status(code: StatusCode.internal.rawValue, text: "anything"),
        ]

    @Test(arguments: all)
    func `an error comes back as it was, and never as success`(error: RaftCallError) throws {
        let status = error.status
        #expect(status.code != .ok && !status.text.isEmpty)
        let encoded = status.detail.map { $0.encoded() }
        let detail = try encoded.map { try ErrorDetail(protobuf: try #require($0.joined())) }
        #expect(RaftCallError(status.code.rawValue, status.text, detail) == error)
    }

    @Test func `the codes are those a client expects`() {
        let codes: [(RaftCallError, StatusCode)] = [
            (.raft(.notLeader(leader: nil)), .failedPrecondition),
            (.raft(.overloaded), .resourceExhausted), (.raft(.outcomeUnknown), .aborted),
            (.raft(.storageFailed), .dataLoss), (.raft(.stopped), .unavailable),
            (.raft(.unknownGroup(1)), .notFound), (.malformed(""), .invalidArgument),
            (.tooLarge(""), .resourceExhausted), (.unknownNode(1), .permissionDenied),
        ]
        for (error, code) in codes { #expect(error.status.code == code) }
    }

    @Test func `the text names both clusters, and the leader`() {
        let cluster = RaftCallError.wrongCluster(theirs: "red", ours: "blue").status.text
        #expect(cluster.contains("red") && cluster.contains("blue"))
        #expect(RaftCallError.raft(.notLeader(leader: ReplicaID(42))).status.text.contains("42"))
    }

    @Test func `a status nobody knows is an error`() {
        for code: Int32 in [-1, 0, 17, 99, .max] {
            guard case .status(let known, _) = RaftCallError(code, "text", nil) else {
                Issue.record("\(code)")
                continue
            }
            #expect(known == StatusCode.unknown.rawValue)
        }
        var later = ErrorDetail()
        later.code = 10_000
        #expect(RaftCallError(9, "text", later) == .status(code: 9, text: "text"))
        for code in StatusCode.allCases where code != .ok {
            let status = RaftCallError(code.rawValue, "text", nil).status
            #expect(status.code == code)
        }
        #expect(RaftCallError.status(code: 0, text: "fine").status.code == .unknown)
    }

    @Test func `every detail stands for an error but the empty one`() {
        for code in ErrorDetail.Code.allCases where code != .none && code != .invalidChange {
            let error = RaftCallError(9, "text", ErrorDetail(code))
            if case .status = error { Issue.record("\(code)") }
        }
        #expect(Set(Self.all.compactMap { $0.status.detail?.code }).count == 34)
    }
}
