extension ByteSlice {
    /// The integer at `offset`, most significant byte first; bounds are checked.
    @inlinable
    public func loadBigEndian<T: FixedWidthInteger>(at offset: Int, as type: T.Type = T.self) -> T {
        T(bigEndian: loadNative(at: offset, as: T.self))
    }

    /// The integer at `offset`, least significant byte first; bounds are checked.
    @inlinable
    public func loadLittleEndian<T: FixedWidthInteger>(
        at offset: Int,
        as type: T.Type = T.self
    ) -> T {
        T(littleEndian: loadNative(at: offset, as: T.self))
    }

    @inlinable
    func loadNative<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T {
        precondition(
            offset >= 0 && offset <= count - MemoryLayout<T>.size,
            "\(MemoryLayout<T>.size) bytes at \(offset) of \(count)"
        )
        return UnsafeRawPointer(start.unsafelyUnwrapped + offset).loadUnaligned(as: T.self)
    }

    /// Overwrites bytes of a slice that nobody else holds yet.
    ///
    /// The one exception to immutability: the broker patches base offset and leader epoch into a
    /// batch it has just received, before the batch is shared with anyone.
    @inlinable
    public func patchBigEndian<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        precondition(
            offset >= 0 && offset <= count - MemoryLayout<T>.size,
            "\(MemoryLayout<T>.size) bytes at \(offset) of \(count)"
        )
        UnsafeMutableRawPointer(mutating: start.unsafelyUnwrapped + offset)
            .storeBytes(of: value.bigEndian, as: T.self)
    }
}
