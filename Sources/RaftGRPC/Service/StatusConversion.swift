import Raft
import RaftRuntime

// Errors as statuses and back. Both directions are one switch without a default over the errors,
// so that the compiler asks about a new case.

extension RaftCallError {
    /// What goes over the wire.
    var status: CallStatus {
        switch self {
        case .raft(let error): return error.status
        case .wrongCluster(let theirs, let ours):
            var detail = ErrorDetail(.wrongCluster)
            (detail.actualText, detail.expectedText) = (theirs, ours)
            return CallStatus(
                .failedPrecondition,
                "a call for cluster '\(theirs)' at a node of cluster '\(ours)'",
                detail
            )
        case .wrongNode(let asked, let this):
            var detail = ErrorDetail(.wrongNode)
            (detail.expected, detail.actual) = (asked, this)
            return CallStatus(
                .failedPrecondition,
                "a call for node \(asked) at node \(this)",
                detail
            )
        case .unknownNode(let node):
            var detail = ErrorDetail(.unknownNode)
            detail.node = node
            return CallStatus(.permissionDenied, Self.text(unknownNode: node), detail)
        case .duplicateNode(let node):
            var detail = ErrorDetail(.duplicateNode)
            detail.node = node
            return CallStatus(
                .alreadyExists,
                "caller and called are both node \(node): two nodes have one id",
                detail
            )
        case .oldIncarnation(let node, let theirs, let latest):
            var detail = ErrorDetail(.oldIncarnation)
            (detail.node, detail.actual, detail.expected) = (node, theirs, latest)
            return CallStatus(
                .failedPrecondition,
                "node \(node) of incarnation \(theirs), which has been followed by \(latest)",
                detail
            )
        case .unknownPartition(let name):
            var detail = ErrorDetail(.unknownPartition)
            detail.actualText = name
            return CallStatus(.notFound, "no replica of \(name) here", detail)
        case .staleGroup(let asked, let current):
            var detail = ErrorDetail(.staleGroup)
            (detail.actual, detail.expected) = (asked, current)
            return CallStatus(
                .failedPrecondition,
                "group \(asked) of a partition that is replicated by group \(current) now",
                detail
            )
        case .malformed(let text): return CallStatus(.invalidArgument, .malformed, text)
        case .tooLarge(let text): return CallStatus(.resourceExhausted, .tooLarge, text)
        case .tooManyCalls(let limit):
            var detail = ErrorDetail(.tooManyCalls)
            detail.expected = limit
            return CallStatus(.resourceExhausted, "more than \(limit) calls at once", detail)
        case .noAnswer(let text): return CallStatus(.deadlineExceeded, .noAnswer, text)
        case .notSupported(let text): return CallStatus(.unimplemented, .notSupported, text)
        case .deadlineExceeded:
            return CallStatus(.deadlineExceeded, "the time given for the call is over", nil)
        case .cancelled: return CallStatus(.cancelled, "cancelled", nil)
        case .unreachable(let text): return CallStatus(.unavailable, text, nil)
        case .status(let code, let text):
            let known = StatusCode(rawValue: code) ?? .unknown
            return CallStatus(known == .ok ? .unknown : known, text, nil)
        }
    }

    private static func text(unknownNode node: UInt64) -> String {
        node == 0
            ? "only a node of the cluster may call this"
            : "node \(node) does not belong to the cluster"
    }

    /// What came over the wire: never success, whatever it says.
    init(_ code: Int32, _ text: String, _ detail: ErrorDetail?) {
        if let detail, let known = Self(detail) {
            self = known
            return
        }
        self =
            switch StatusCode(rawValue: code) {
            case .cancelled: .cancelled
            case .deadlineExceeded: .deadlineExceeded
            case .unavailable: .unreachable(text)
            case .invalidArgument: .malformed(text)
            case .resourceExhausted: .tooLarge(text)
            case .unimplemented: .notSupported(text)
            case .ok, nil: .status(code: StatusCode.unknown.rawValue, text: "\(code): \(text)")
            default: .status(code: code, text: text)
            }
    }

    /// The error a detail stands for; `nil` for one of a later version.
    private init?(_ detail: ErrorDetail) {
        guard let code = ErrorDetail.Code(rawValue: detail.code) else { return nil }
        switch code {
        case .none: return nil
        case .wrongCluster:
            self = .wrongCluster(theirs: detail.actualText, ours: detail.expectedText)
        case .wrongNode: self = .wrongNode(asked: detail.expected, this: detail.actual)
        case .unknownNode: self = .unknownNode(detail.node)
        case .duplicateNode: self = .duplicateNode(detail.node)
        case .oldIncarnation:
            self = .oldIncarnation(
                node: detail.node,
                theirs: detail.actual,
                latest: detail.expected
            )
        case .unknownPartition: self = .unknownPartition(detail.actualText)
        case .staleGroup: self = .staleGroup(asked: detail.actual, current: detail.expected)
        case .malformed: self = .malformed(detail.actualText)
        case .tooLarge: self = .tooLarge(detail.actualText)
        case .tooManyCalls: self = .tooManyCalls(limit: detail.expected)
        case .noAnswer: self = .noAnswer(detail.actualText)
        case .notSupported: self = .notSupported(detail.actualText)
        case .notLeader, .overloaded, .outcomeUnknown, .storageFailed, .stopped,
            .transferInProgress, .removed, .tooManyUncommittedBytes, .changePending,
            .mustLeaveJoint, .notJoint, .invalidChange, .tooManyPendingReads, .notAVoter,
            .nothingToTransfer, .rejectedNotLeader, .timedOut, .logConflict,
            .snapshotFailed, .unknownGroup, .changeUnderWay, .logHasNoBase:
            guard let error = RaftError(code, detail) else { return nil }
            self = .raft(error)
        }
    }
}

extension CallStatus {
    init(_ code: StatusCode, _ text: String, _ detail: ErrorDetail?) {
        self.init(code: code, text: text, detail: detail)
    }

    /// An error that is its text.
    init(_ code: StatusCode, _ kind: ErrorDetail.Code, _ text: String) {
        var detail = ErrorDetail(kind)
        detail.actualText = text
        self.init(code: code, text: text, detail: detail)
    }
}

extension RaftError {
    var status: CallStatus {
        switch self {
        case .notLeader(let leader):
            var detail = ErrorDetail(.notLeader)
            detail.leader = leader?.rawValue ?? 0
            return CallStatus(.failedPrecondition, Self.text(notLeader: leader), detail)
        case .overloaded:
            return CallStatus(.resourceExhausted, .overloaded, "too much is waiting: try again")
        case .outcomeUnknown:
            return CallStatus(
                .aborted,
                .outcomeUnknown,
                "leadership was lost meanwhile: it may have happened or not"
            )
        case .storageFailed:
            return CallStatus(.dataLoss, .storageFailed, "this replica's log cannot be written")
        case .stopped:
            return CallStatus(.unavailable, .stopped, "this replica was stopped or removed")
        case .timedOut:
            return CallStatus(.deadlineExceeded, .timedOut, "the read was not confirmed in time")
        case .logConflict(let index, let commit):
            var detail = ErrorDetail(.logConflict)
            (detail.actual, detail.expected) = (index.rawValue, commit.rawValue)
            return CallStatus(
                .dataLoss,
                "the leader contradicts entry \(index) of a log committed through \(commit)",
                detail
            )
        case .snapshotFailed(let text): return CallStatus(.internal, .snapshotFailed, text)
        case .unknownGroup(let group):
            var detail = ErrorDetail(.unknownGroup)
            detail.actual = group
            return CallStatus(.notFound, "no replica of group \(group) here", detail)
        case .changePending:
            return CallStatus(
                .failedPrecondition,
                .changeUnderWay,
                "a change of the membership is under way: try again once it is through"
            )
        case .logHasNoBase:
            return CallStatus(
                .failedPrecondition,
                .logHasNoBase,
                "nobody can join a group whose log starts from nothing"
            )
        case .rejected(let error): return error.status
        }
    }

    fileprivate static func text(notLeader leader: ReplicaID?) -> String {
        leader.map { "not the leader: that is node \($0)" } ?? "not the leader, and none is known"
    }

    fileprivate init?(_ code: ErrorDetail.Code, _ detail: ErrorDetail) {
        let leader = detail.leader == 0 ? nil : ReplicaID(detail.leader)
        switch code {
        case .notLeader: self = .notLeader(leader: leader)
        case .overloaded: self = .overloaded
        case .outcomeUnknown: self = .outcomeUnknown
        case .storageFailed: self = .storageFailed
        case .stopped: self = .stopped
        case .timedOut: self = .timedOut
        case .logConflict:
            self = .logConflict(index: LogIndex(detail.actual), commit: LogIndex(detail.expected))
        case .snapshotFailed: self = .snapshotFailed(detail.actualText)
        case .unknownGroup: self = .unknownGroup(detail.actual)
        case .changeUnderWay: self = .changePending
        case .logHasNoBase: self = .logHasNoBase
        default:
            guard let error = RaftProposalError(code, detail, leader: leader) else { return nil }
            self = .rejected(error)
        }
    }
}

extension RaftProposalError {
    fileprivate var status: CallStatus {
        var detail: ErrorDetail
        var code = StatusCode.failedPrecondition
        var text = "rejected: \(self)"
        switch self {
        case .notLeader(let leader):
            detail = ErrorDetail(.rejectedNotLeader)
            detail.leader = leader?.rawValue ?? 0
            text = RaftError.text(notLeader: leader)
        case .transferInProgress(let target):
            detail = ErrorDetail(.transferInProgress)
            detail.node = target.rawValue
            code = .unavailable
        case .removed: detail = ErrorDetail(.removed)
        case .tooManyUncommittedBytes(let count):
            detail = ErrorDetail(.tooManyUncommittedBytes)
            detail.actual = UInt64(max(0, count))
            code = .resourceExhausted
        case .changePending(let index):
            detail = ErrorDetail(.changePending)
            detail.actual = index.rawValue
        case .mustLeaveJoint: detail = ErrorDetail(.mustLeaveJoint)
        case .notJoint: detail = ErrorDetail(.notJoint)
        case .invalidChange(let error):
            detail = ErrorDetail(.invalidChange)
            detail.actual = error.number
            code = .invalidArgument
        case .tooManyPendingReads(let count):
            detail = ErrorDetail(.tooManyPendingReads)
            detail.actual = UInt64(max(0, count))
            code = .resourceExhausted
        case .notAVoter(let replica):
            detail = ErrorDetail(.notAVoter)
            detail.node = replica.rawValue
        case .nothingToTransfer: detail = ErrorDetail(.nothingToTransfer)
        }
        return CallStatus(code: code, text: text, detail: detail)
    }

    fileprivate init?(_ code: ErrorDetail.Code, _ detail: ErrorDetail, leader: ReplicaID?) {
        let count = Int(clamping: detail.actual)
        switch code {
        case .rejectedNotLeader: self = .notLeader(leader: leader)
        case .transferInProgress: self = .transferInProgress(to: ReplicaID(detail.node))
        case .removed: self = .removed
        case .tooManyUncommittedBytes: self = .tooManyUncommittedBytes(count)
        case .changePending: self = .changePending(through: LogIndex(detail.actual))
        case .mustLeaveJoint: self = .mustLeaveJoint
        case .notJoint: self = .notJoint
        case .invalidChange:
            guard let error = MembershipError(number: detail.actual) else { return nil }
            self = .invalidChange(error)
        case .tooManyPendingReads: self = .tooManyPendingReads(count)
        case .notAVoter: self = .notAVoter(ReplicaID(detail.node))
        case .nothingToTransfer: self = .nothingToTransfer
        default: return nil
        }
    }
}

extension MembershipError {
    fileprivate var number: UInt64 {
        switch self {
        case .alreadyJoint: 1
        case .notJoint: 2
        case .noVoters: 3
        case .simpleChangeWhileJoint: 4
        case .removesAllVoters: 5
        case .moreThanOneVoterChanged: 6
        }
    }

    fileprivate init?(number: UInt64) {
        switch number {
        case 1: self = .alreadyJoint
        case 2: self = .notJoint
        case 3: self = .noVoters
        case 4: self = .simpleChangeWhileJoint
        case 5: self = .removesAllVoters
        case 6: self = .moreThanOneVoterChanged
        default: return nil
        }
    }
}
