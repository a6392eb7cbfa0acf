package import RaftRuntime

/// Why a call of the `RaftService` did not do what it was for.
package enum RaftCallError: Error, Equatable, Sendable {
    /// What the replica or the node says.
    case raft(RaftError)
    case wrongCluster(theirs: String, ours: String)
    case wrongNode(asked: UInt64, this: UInt64)
    /// The caller says it is a node that is none of the cluster's, or none at all where only nodes
    /// have anything to say.
    case unknownNode(UInt64)
    /// The caller bears the id of the node it calls.
    case duplicateNode(UInt64)
    /// The caller is an earlier life of a node that has been heard of since.
    case oldIncarnation(node: UInt64, theirs: UInt64, latest: UInt64)
    case unknownPartition(String)
    /// The partition is replicated by another group now: it was deleted and made again.
    case staleGroup(asked: UInt64, current: UInt64)
    case malformed(String)
    case tooLarge(String)
    case tooManyCalls(limit: UInt64)
    /// The replica passed over what it was asked, as Raft often demands; or was too slow.
    case noAnswer(String)
    case notSupported(String)
    /// The time given for the call is over; on the server it may go on.
    case deadlineExceeded
    case cancelled
    /// Nobody there, or the connection broke; what was asked may or may not have been done.
    case unreachable(String)
    /// A status that says nothing we know; never success.
    case status(code: Int32, text: String)
}

extension RaftCallError {
    /// Why bytes from a caller were refused.
    init(_ error: ProtobufError) {
        if case .tooManyElements(let limit) = error {
            self = .tooLarge("more than \(limit) elements in one message")
        } else {
            self = .malformed("not the message of this call: \(error)")
        }
    }
}

/// How a call ends in gRPC's terms.
struct CallStatus: Equatable, Sendable {
    var code: StatusCode
    var text: String
    var detail: ErrorDetail?
}

/// The status codes of gRPC, by their numbers on the wire.
enum StatusCode: Int32, Sendable, CaseIterable {
    case ok = 0
    case cancelled = 1
    case unknown = 2
    case invalidArgument = 3
    case deadlineExceeded = 4
    case notFound = 5
    case alreadyExists = 6
    case permissionDenied = 7
    case resourceExhausted = 8
    case failedPrecondition = 9
    case aborted = 10
    case outOfRange = 11
    case unimplemented = 12
    case `internal` = 13
    case unavailable = 14
    case dataLoss = 15
    case unauthenticated = 16
}
