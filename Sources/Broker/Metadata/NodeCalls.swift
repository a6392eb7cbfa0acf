import Bytes
import ClusterMetadata
import KafkaProtocol
import RaftRuntime

/// What nodes ask one another; the numbers are on the wire.
enum NodeOperation: UInt8, Sendable {
    /// Decide and commit a metadata command: a ``MetadataCommand``, answered by an attempt.
    case forwardWrite = 1
    /// How far an image must be to hold all that was acknowledged; nothing, answered by an attempt.
    case queryMetadata = 2
    /// Which data directory the cluster knows of the asking node: nothing, answered by 16 bytes,
    /// all 0 if it knows none.
    case introduce = 3
    /// How the node is; nothing, answered by a ``NodeStatus``.
    case nodeStatus = 8
    /// Hand a leadership over: a ``TransferRequest``, answered by what became of it.
    case transferLeadership = 9
    /// Append batches to partitions that the asked node leads: a ``ForwardedProduce``, answered by
    /// what became of them.
    case forwardProduce = 10
}

/// Asks other nodes of the cluster.
protocol NodeCalls: Sendable {
    func call(
        _ node: Int32,
        _ operation: NodeOperation,
        _ payload: ByteRope,
        within nanoseconds: Int64
    ) async throws(PeerCallError) -> ByteSlice
}

extension NodeCalls {
    func call(
        _ node: Int32,
        _ operation: NodeOperation,
        _ payload: ByteSlice,
        within nanoseconds: Int64
    ) async throws(PeerCallError) -> ByteSlice {
        try await call(node, operation, ByteRope(payload), within: nanoseconds)
    }
}

/// What came of asking the metadata's leader once.
///
/// Layout: kind u8, then
///
///     1 answered    position i64, the answer
///     2 refused     code i16, message as u16 length and bytes
///     3 not leading as refused
///     4 unknown     as refused
enum MetadataAttempt: Sendable {
    /// Done, and part of every image that reaches `position`, an offset of the metadata's log.
    case answered(MetadataAnswer, position: Int64)
    /// Not done, and not to be tried again.
    case refused(MetadataProblem)
    /// Not done: to be tried with another node.
    case notLeading(MetadataProblem)
    /// Perhaps done: to be sent again as a retry.
    case unknown(MetadataProblem)

    func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 64)
        switch self {
        case .answered(let answer, let position):
            writer.write(UInt8(1))
            writer.write(position)
            writer.write(answer.encoded())
        case .refused(let problem): Self.write(2, problem, &writer)
        case .notLeading(let problem): Self.write(3, problem, &writer)
        case .unknown(let problem): Self.write(4, problem, &writer)
        }
        return writer.finishContiguous()
    }

    private static func write(_ kind: UInt8, _ problem: MetadataProblem, _ writer: inout ByteWriter)
    {
        writer.write(kind)
        writer.write(problem.code.rawValue)
        let message = problem.message.utf8.prefix(Int(UInt16.max))
        writer.write(UInt16(message.count))
        writer.write(ByteSlice(Array(message)))
    }

    init(decoding slice: ByteSlice) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let kind: UInt8 = try reader.read()
        if kind == 1 {
            let position: Int64 = try reader.read()
            let rest = try reader.readSlice(reader.remaining)
            self = .answered(try MetadataAnswer(decoding: rest), position: position)
            return
        }
        let code = ErrorCode(rawValue: try reader.read()) ?? .unknownServerError
        let length: UInt16 = try reader.read()
        let problem = MetadataProblem(
            code == .none ? .unknownServerError : code,
            try reader.readUTF8(Int(length))
        )
        switch kind {
        case 2: self = .refused(problem)
        case 3: self = .notLeading(problem)
        case 4: self = .unknown(problem)
        default: throw .unsupportedVersion(Int16(kind))
        }
    }
}
