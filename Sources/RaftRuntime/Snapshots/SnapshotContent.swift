public import Bytes
import Platform
public import Raft

/// The content of a snapshot on the side that gives it away, read piece by piece.
///
/// It shows the state as of one entry, whatever is applied meanwhile. Called on the replica's event
/// loop, one read at a time; what blocks runs elsewhere, and completions come back to that loop.
public protocol SnapshotSource: AnyObject {
    /// Index and term of the last entry the content covers.
    var index: LogIndex { get }
    var term: Term { get }
    var byteCount: UInt64 { get }
    /// Equal for equal content alone, on whichever node: two snapshots as of one entry may be written
    /// down in two ways, and pieces of the one do not follow those of the other.
    var contentID: UInt64 { get }

    /// Reads `count` bytes at an offset; both lie within the content.
    func read(
        at offset: UInt64,
        count: Int,
        _ completion: @escaping @Sendable (Result<ByteSlice, any Error>) -> Void
    )
}

/// The content of a snapshot on the side that takes it over.
///
/// Called on the replica's event loop, one call at a time; completions come back to that loop.
public protocol SnapshotSink: AnyObject {
    /// Bytes it has: what follows is wanted next.
    ///
    /// A write may raise it beyond what was written, by what the state machine has in another way.
    var received: UInt64 { get }

    /// Takes the bytes that follow those it has; none at the end of a content that it has already.
    ///
    /// The last of them are refused where the content is not whole then: the replica is still as it
    /// was, and the snapshot is sent again.
    func write(
        _ bytes: ByteSlice,
        isLast: Bool,
        _ completion: @escaping @Sendable (Result<Void, any Error>) -> Void
    )

    /// Makes the content the state of the state machine, durably and all at once: after a crash
    /// there is the state of before, or this one.
    ///
    /// Then the state machine's `lastApplied` is the snapshot's index. What finds no room on the disk
    /// is asked for again.
    func install(_ completion: @escaping @Sendable (Result<Void, any Error>) -> Void)

    /// The content is not needed; no other call follows.
    func discard()
}

extension StateMachine {
    public func openSnapshot(
        lastIndex: LogIndex,
        lastTerm: Term
    ) throws -> any SnapshotSource {
        MemorySnapshotSource(
            index: lastIndex,
            term: lastTerm,
            content: try snapshot(lastIndex: lastIndex, lastTerm: lastTerm)
        )
    }

    public func makeSnapshotSink(_ metadata: SnapshotMetadata) throws -> any SnapshotSink {
        MemorySnapshotSink(self, lastIndex: metadata.index, lastTerm: metadata.term)
    }
}

/// A snapshot that is whole in memory.
public final class MemorySnapshotSource: SnapshotSource {
    public let index: LogIndex
    public let term: Term
    private let content: ByteSlice
    public let contentID: UInt64

    public init(index: LogIndex, term: Term, content: ByteSlice) {
        self.index = index
        self.term = term
        self.content = content
        let checksum = content.withUnsafeBytes { CRC32C.checksum($0) }
        contentID = UInt64(checksum) << 32 | UInt64(content.count) & 0xffff_ffff
    }

    public var byteCount: UInt64 { UInt64(content.count) }

    public func read(
        at offset: UInt64,
        count: Int,
        _ completion: @escaping @Sendable (Result<ByteSlice, any Error>) -> Void
    ) {
        let start = Int(offset)
        precondition(start + count <= content.count, "\(start) + \(count) of \(content.count)")
        completion(.success(content[start..<start + count]))
    }
}

/// Gathers a snapshot in memory and hands it to `restore` as a whole.
final class MemorySnapshotSink: SnapshotSink {
    private let stateMachine: any StateMachine
    private let lastIndex: LogIndex
    private let lastTerm: Term
    private var content: [UInt8] = []

    init(_ stateMachine: any StateMachine, lastIndex: LogIndex, lastTerm: Term) {
        self.stateMachine = stateMachine
        self.lastIndex = lastIndex
        self.lastTerm = lastTerm
    }

    var received: UInt64 { UInt64(content.count) }

    func write(
        _ bytes: ByteSlice,
        isLast: Bool,
        _ completion: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        content.append(contentsOf: bytes.array)
        completion(.success(()))
    }

    func install(_ completion: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        completion(
            Result {
                try stateMachine.restore(
                    ByteSlice(content),
                    lastIndex: lastIndex,
                    lastTerm: lastTerm
                )
            }
        )
    }

    func discard() { content = [] }
}

extension Snapshot {
    /// What is offered, told by the payload: ``SnapshotSource/contentID``, most significant byte
    /// first and 0 if there is none; `nil` for more than 8 bytes.
    public var contentID: UInt64? {
        guard payload.count <= 8 else { return nil }
        return ByteSlice(payload).array.reduce(0) { $0 << 8 | UInt64($1) }
    }

    init(metadata: SnapshotMetadata, contentID: UInt64) {
        let bytes = withUnsafeBytes(of: contentID.bigEndian) { Array($0) }
        self.init(metadata: metadata, payload: RaftPayload(copying: bytes))
    }
}
