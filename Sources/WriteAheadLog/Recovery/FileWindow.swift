internal import Bytes
internal import Platform

/// A part of a file in memory that moves towards its end.
///
/// As large as a read or the largest batch, whichever is more. Memory that somebody still holds a
/// slice of is left to them and replaced, never written over.
struct FileWindow: ~Copyable {
    private static let readBytes = 1 << 20

    let file: File
    let size: Int
    private var block: ByteStorage
    private var start = 0
    private var count = 0

    init(_ file: File) throws(FileError) {
        self.file = file
        size = try file.size()
        block = AlignedBlock.make(min(Self.readBytes, max(size, WALBlock.size)))
    }

    /// `length` bytes at `offset`; `nil` when the file ends before.
    mutating func bytes(at offset: Int, _ length: Int) throws(FileError) -> UnsafeRawPointer? {
        guard try load(offset, length) else { return nil }
        return UnsafeRawPointer(block.start + (offset - start))
    }

    /// Bytes that ``bytes(at:_:)`` has just given, as a slice that keeps them.
    func slice(at offset: Int, _ length: Int) -> ByteSlice {
        block.slice(offset - start..<offset - start + length)
    }

    private mutating func load(_ offset: Int, _ length: Int) throws(FileError) -> Bool {
        guard offset <= size - length else { return false }
        if offset >= start && offset + length <= start + count { return true }
        let from = WALBlock.roundedDown(offset)
        let wanted = WALBlock.roundedUp(offset + length - from)
        if wanted > block.capacity || !isKnownUniquelyReferenced(&block) {
            block = AlignedBlock.make(max(wanted, min(Self.readBytes, max(size, WALBlock.size))))
        }
        start = from
        // Never past the end of the file by more than a block: direct reads come in blocks.
        let upTo = min(block.capacity, WALBlock.roundedUp(size - from))
        count = 0
        count = try file.read(
            into: UnsafeMutableRawBufferPointer(start: block.start, count: upTo),
            at: from
        )
        return offset + length <= start + count
    }
}
