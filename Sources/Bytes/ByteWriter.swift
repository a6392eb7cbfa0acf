/// Builds a message: integers most significant byte first, small bytes copied, large ones spliced in.
public struct ByteWriter: ~Copyable {
    /// Below this length copying a slice is cheaper than a piece of its own.
    @usableFromInline static let spliceThreshold = 2048

    @usableFromInline var storage: ByteStorage
    /// First byte of `storage` not yet part of a finished piece.
    @usableFromInline var pieceStart = 0
    @usableFromInline var end = 0
    @usableFromInline var finished = ByteRope()

    public init(capacity: Int = 256) {
        storage = ByteStorage(capacity: max(capacity, 64))
    }

    /// Bytes written so far.
    @inlinable public var count: Int { finished.count + (end - pieceStart) }

    @inlinable
    public mutating func write<T: FixedWidthInteger>(_ value: T) {
        let size = MemoryLayout<T>.size
        if end + size > storage.capacity { grow(by: size) }
        (storage.start + end).storeBytes(of: value.bigEndian, as: T.self)
        end += size
    }

    @inlinable
    public mutating func write(_ value: Double) { write(value.bitPattern) }

    public mutating func write(contentsOf bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        if end + bytes.count > storage.capacity { grow(by: bytes.count) }
        (storage.start + end).copyMemory(from: source, byteCount: bytes.count)
        end += bytes.count
    }

    public mutating func write(utf8 text: String) {
        var text = text
        text.withUTF8 { write(contentsOf: UnsafeRawBufferPointer($0)) }
    }

    public mutating func write(_ slice: ByteSlice) {
        if slice.count < Self.spliceThreshold {
            slice.withUnsafeBytes { write(contentsOf: $0) }
        } else {
            sealPiece()
            finished.append(slice)
        }
    }

    public mutating func write(_ rope: ByteRope) {
        for piece in rope.pieces {
            switch piece {
            case .bytes(let slice): write(slice)
            case .file(let region):
                sealPiece()
                finished.append(region)
            }
        }
    }

    /// Base-128 with the low groups first: Kafka's unsigned varint.
    @inlinable
    public mutating func writeUnsignedVarint(_ value: UInt32) {
        writeUnsignedVarlong(UInt64(value))
    }

    @inlinable
    public mutating func writeUnsignedVarlong(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            write(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        write(UInt8(truncatingIfNeeded: rest))
    }

    /// Zigzag, then base-128: the integers inside a record.
    @inlinable
    public mutating func writeVarint(_ value: Int32) {
        writeUnsignedVarint(UInt32(bitPattern: (value << 1) ^ (value >> 31)))
    }

    @inlinable
    public mutating func writeVarlong(_ value: Int64) {
        writeUnsignedVarlong(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    /// Everything written, in order.
    public consuming func finish() -> ByteRope {
        sealPiece()
        return finished
    }

    /// Everything written, the first four bytes replaced by the length of what follows them.
    ///
    /// A precondition: the first thing written was an `Int32` to take its place.
    public consuming func finishLengthPrefixed() -> ByteRope {
        sealPiece()
        guard case .bytes(let first) = finished.pieces.first, first.count >= 4 else {
            preconditionFailure("no place for a length in \(finished.count) bytes")
        }
        // The piece is the writer's own until it is handed out below.
        UnsafeMutableRawPointer(mutating: first.start.unsafelyUnwrapped).storeBytes(
            of: Int32(finished.count - 4).bigEndian,
            as: Int32.self
        )
        return finished
    }

    /// Everything written as one slice; a copy only when something was spliced in.
    ///
    /// A precondition: no file piece was written.
    public consuming func finishContiguous() -> ByteSlice {
        sealPiece()
        guard let slice = finished.joined() else {
            preconditionFailure("a file piece in memory bytes")
        }
        return slice
    }

    @usableFromInline
    mutating func sealPiece() {
        guard end > pieceStart else { return }
        finished.append(storage.slice(pieceStart..<end))
        pieceStart = end
    }

    @usableFromInline
    mutating func grow(by extra: Int) {
        let pending = end - pieceStart
        let larger = ByteStorage(capacity: max(storage.capacity * 2, pending + extra, 256))
        larger.start.copyMemory(from: storage.start + pieceStart, byteCount: pending)
        storage = larger
        pieceStart = 0
        end = pending
    }
}
