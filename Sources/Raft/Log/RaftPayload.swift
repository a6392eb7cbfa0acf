/// The bytes of an entry or a snapshot: shared, immutable, and never looked into by Raft.
///
/// Whoever makes one from memory of its own passes an owner that keeps that memory alive and
/// unchanged; Raft hands the same bytes to the network, the disk and the state machine.
@frozen
public struct RaftPayload: @unchecked Sendable {
    // Unchecked: the memory is immutable from the moment a payload refers to it, and the owner is
    // only ever retained and released.
    public let owner: AnyObject?
    public let start: UnsafeRawPointer?
    public let count: Int

    public static let empty = RaftPayload(owner: nil, start: nil, count: 0)

    /// Refers to bytes that the owner keeps alive and unchanged.
    @inlinable
    public init(owner: AnyObject?, start: UnsafeRawPointer?, count: Int) {
        precondition(count >= 0 && (count == 0 || start != nil), "a payload of \(count) bytes")
        self.owner = owner
        self.start = start
        self.count = count
    }

    /// Copies the bytes into memory of its own.
    public init(copying bytes: [UInt8]) {
        guard !bytes.isEmpty else {
            self = .empty
            return
        }
        let storage = PayloadStorage(copying: bytes)
        self.init(owner: storage, start: UnsafeRawPointer(storage.start), count: bytes.count)
    }

    @inlinable
    public var isEmpty: Bool { count == 0 }

    /// The bytes, for as long as the closure runs.
    @inlinable
    public func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(start: start, count: count))
    }

    /// A copy of the bytes.
    public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }
}

extension RaftPayload: Equatable {
    public static func == (left: RaftPayload, right: RaftPayload) -> Bool {
        guard left.count == right.count else { return false }
        if left.start == right.start { return true }
        return left.withUnsafeBytes { mine in right.withUnsafeBytes { mine.elementsEqual($0) } }
    }
}

extension RaftPayload: CustomStringConvertible {
    /// How much it is; not where, which would be another address in every process.
    public var description: String { "\(count) bytes" }
}

/// The memory behind a payload that was copied.
final class PayloadStorage {
    let start: UnsafeMutableRawPointer

    init(copying bytes: [UInt8]) {
        start = .allocate(byteCount: bytes.count, alignment: 8)
        bytes.withUnsafeBytes {
            start.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(start), byteCount: $0.count)
        }
    }

    deinit { start.deallocate() }
}
