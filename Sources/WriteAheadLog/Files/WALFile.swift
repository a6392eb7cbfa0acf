internal import Bytes
internal import Platform
internal import Synchronization

/// A file of the log, open for as long as anybody reads or writes it.
final class WALFile: Sendable {
    let file: File
    let header: FileHeader
    private let size: Atomic<Int>

    init(_ file: File, header: FileHeader, capacity: Int) {
        self.file = file
        self.header = header
        size = Atomic(capacity)
    }

    var sequence: UInt64 { header.sequence }

    /// Up to here, writing needs no space that the disk might not have.
    var capacity: Int { size.load(ordering: .relaxed) }

    /// Makes room at the end, merely allocated: slower to sync than blocks written before.
    ///
    /// - Throws: the disk's refusal, with the file as it was.
    func grow(by bytes: Int) throws(FileError) {
        let end = capacity
        do {
            try file.allocate(bytes, at: end)
        } catch {
            guard error.reason != .noSpace else { throw error }
            // No allocation on this file system: write it out.
            try ZeroFill.run(file, from: end, to: end + bytes)
        }
        size.store(end + bytes, ordering: .relaxed)
    }
}

/// Writes zeros in large pieces, so that later writes overwrite blocks that exist.
enum ZeroFill {
    /// Small, because a commit waits for the piece that is under way.
    private static let pieceBytes = 256 << 10

    static func run(_ file: File, from start: Int, to end: Int) throws(FileError) {
        guard start < end else { return }
        let piece = AlignedBlock.zeroed(min(pieceBytes, end - start))
        var at = start
        while at < end {
            let count = min(piece.capacity, end - at)
            try file.write(UnsafeRawBufferPointer(start: piece.start, count: count), at: at)
            at += count
        }
    }
}
