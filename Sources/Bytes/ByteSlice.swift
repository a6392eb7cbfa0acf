import Glibc

/// Immutable bytes shared by reference: a copy is a retain, a slice of a slice costs the same.
///
/// What arrives in one read may be handed on in many slices; the memory lives until the last one
/// is gone. Hold on to a small slice of a large block only when the block is wanted too; otherwise
/// copy it with ``copied()``.
public struct ByteSlice: @unchecked Sendable {
    // Unchecked: the bytes behind `start` are immutable while `owner` is shared.
    public let owner: AnyObject?
    public let start: UnsafeRawPointer?
    public let count: Int

    /// Bytes that `owner` keeps alive and nobody changes any more.
    @inlinable
    public init(owner: AnyObject?, start: UnsafeRawPointer?, count: Int) {
        precondition(count >= 0 && (count == 0 || start != nil), "a slice of \(count) bytes")
        self.owner = owner
        self.start = start
        self.count = count
    }

    @inlinable
    public init() {
        self.init(owner: nil, start: nil, count: 0)
    }

    /// A copy of the bytes, in a block of its own.
    @inlinable
    public init(copying bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, bytes.count > 0 else {
            self.init()
            return
        }
        let storage = ByteStorage(capacity: bytes.count)
        storage.start.copyMemory(from: source, byteCount: bytes.count)
        self.init(owner: storage, start: UnsafeRawPointer(storage.start), count: bytes.count)
    }

    @inlinable
    public init(_ bytes: [UInt8]) {
        self = bytes.withUnsafeBytes { ByteSlice(copying: $0) }
    }

    @inlinable
    public init(_ text: String) {
        self.init(Array(text.utf8))
    }

    @inlinable public var isEmpty: Bool { count == 0 }

    /// Bounds are checked: a range outside the slice stops the program.
    @inlinable
    public subscript(range: Range<Int>) -> ByteSlice {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= count,
            "\(range) of \(count) bytes"
        )
        guard let start, !range.isEmpty else { return ByteSlice() }
        return ByteSlice(owner: owner, start: start + range.lowerBound, count: range.count)
    }

    @inlinable
    public subscript(index: Int) -> UInt8 {
        precondition(index >= 0 && index < count, "byte \(index) of \(count)")
        return start.unsafelyUnwrapped.load(fromByteOffset: index, as: UInt8.self)
    }

    @inlinable
    public func dropFirst(_ n: Int) -> ByteSlice { self[min(n, count)..<count] }

    @inlinable
    public func prefix(_ n: Int) -> ByteSlice { self[0..<min(n, count)] }

    @inlinable
    public func withUnsafeBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: start, count: count))
    }

    /// The same bytes in a block of their own, no larger than they are.
    @inlinable
    public func copied() -> ByteSlice {
        ByteSlice(copying: UnsafeRawBufferPointer(start: start, count: count))
    }

    @inlinable
    public var array: [UInt8] { Array(UnsafeRawBufferPointer(start: start, count: count)) }
}

extension ByteSlice: Equatable {
    public static func == (left: ByteSlice, right: ByteSlice) -> Bool {
        guard left.count == right.count else { return false }
        guard left.start != right.start, let mine = left.start, let other = right.start else {
            return true
        }
        return memcmp(mine, other, left.count) == 0
    }
}
