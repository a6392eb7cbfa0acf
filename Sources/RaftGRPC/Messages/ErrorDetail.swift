/// Why a call failed, so that the other side knows the case again; a binary trailer.
struct ErrorDetail: ProtobufMessage, Equatable, Sendable {
    /// The trailer's name.
    static let key = "chronik-error-bin"

    enum Code: UInt64, Sendable, CaseIterable {
        case none = 0
        case notLeader
        case overloaded
        case outcomeUnknown
        case storageFailed
        case stopped
        case transferInProgress
        case removed
        case tooManyUncommittedBytes
        case changePending
        case mustLeaveJoint
        case notJoint
        case invalidChange
        case tooManyPendingReads
        case notAVoter
        case nothingToTransfer
        case rejectedNotLeader
        case wrongCluster
        case wrongNode
        case unknownNode
        case duplicateNode
        case oldIncarnation
        case unknownPartition
        case staleGroup
        case malformed
        case tooLarge
        case tooManyCalls
        case noAnswer
        case notSupported
        case timedOut
        case logConflict
        case snapshotFailed
        case unknownGroup
        case changeUnderWay
        case logHasNoBase
    }

    /// A number of a later version stands as it came.
    var code: UInt64 = 0
    var leader: UInt64 = 0
    var node: UInt64 = 0
    var actual: UInt64 = 0
    var expected: UInt64 = 0
    var actualText = ""
    var expectedText = ""
    var status: Int32 = 0

    init() {}

    init(_ code: Code) { self.code = code.rawValue }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, code)
        sink.field(2, leader)
        sink.field(3, node)
        sink.field(4, actual)
        sink.field(5, expected)
        sink.field(6, actualText)
        sink.field(7, expectedText)
        sink.field(8, status)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&code)
        case 2: field.read(&leader)
        case 3: field.read(&node)
        case 4: field.read(&actual)
        case 5: field.read(&expected)
        case 6: try field.read(&actualText)
        case 7: try field.read(&expectedText)
        case 8: field.read(&status)
        default: break
        }
    }
}
