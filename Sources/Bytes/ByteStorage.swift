/// A block of memory that slices share and the last of them frees.
///
/// Uninitialised when made: whoever fills it slices only what was written.
public final class ByteStorage: @unchecked Sendable {
    // Unchecked: the bytes are written by one owner before a slice of them is shared, and are
    // immutable from then on.
    public let start: UnsafeMutableRawPointer
    public let capacity: Int

    @inlinable
    public init(capacity: Int) {
        precondition(capacity >= 0, "a block of \(capacity) bytes")
        self.capacity = capacity
        start = .allocate(byteCount: max(capacity, 1), alignment: 16)
    }

    /// A block aligned for direct I/O.
    @inlinable
    public init(capacity: Int, alignment: Int) {
        precondition(capacity >= 0, "a block of \(capacity) bytes")
        self.capacity = capacity
        start = .allocate(byteCount: max(capacity, 1), alignment: alignment)
    }

    @inlinable
    deinit { start.deallocate() }

    /// The whole block or a part of it, as a slice that keeps it alive.
    @inlinable
    public func slice(_ range: Range<Int>) -> ByteSlice {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= capacity,
            "\(range) of \(capacity)"
        )
        return ByteSlice(
            owner: self,
            start: UnsafeRawPointer(start + range.lowerBound),
            count: range.count
        )
    }
}
