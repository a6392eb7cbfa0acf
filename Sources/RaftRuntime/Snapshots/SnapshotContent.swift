public import Bytes
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
    /// More than 0 at first if an earlier transfer of the same snapshot broke off. A write may raise
    /// it beyond what was written, by what the state machine has in another way.
    var received: UInt64 { get }

    /// Takes the bytes that follow those it has; none at the end of a content that it has already.
    func write(
        _ bytes: ByteSlice,
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

    public init(index: LogIndex, term: Term, content: ByteSlice) {
        self.index = index
        self.term = term
        self.content = content
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
