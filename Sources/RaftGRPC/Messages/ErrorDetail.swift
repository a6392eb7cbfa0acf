/// Why a call failed, so that the other side knows the case again; a binary trailer.
struct ErrorDetail: ProtobufMessage, Equatable, Sendable {
    /// The trailer's name.
    static let key = "chronik-error-bin"

    /// The numbers of raft_rpc.proto: none ever changes its meaning.
    enum Code: UInt64, Sendable, CaseIterable {
        case none = 0
        case notLeader = 1
        case overloaded = 2
        case outcomeUnknown = 3
        case storageFailed = 4
        case stopped = 5
        case transferInProgress = 6
        case removed = 7
        case tooManyUncommittedBytes = 8
        case changePending = 9
        case mustLeaveJoint = 10
        case notJoint = 11
        case invalidChange = 12
        case tooManyPendingReads = 13
        case notAVoter = 14
        case nothingToTransfer = 15
        case rejectedNotLeader = 16
        case wrongCluster = 17
        case wrongNode = 18
        case unknownNode = 19
        case duplicateNode = 20
        case oldIncarnation = 21
        case unknownPartition = 22
        case staleGroup = 23
        case malformed = 24
        case tooLarge = 25
        case tooManyCalls = 26
        case noAnswer = 27
        case notSupported = 28
        case timedOut = 29
        case logConflict = 30
        case snapshotFailed = 31
        case unknownGroup = 32
        case changeUnderWay = 33
        case logHasNoBase = 34
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
