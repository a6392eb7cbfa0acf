internal import Bytes
internal import Platform

/// Says where the log ended when it was closed; gone while it is open.
///
/// With it, whatever is missing at the end of the log is damage and not a torn tail. On disk, least
/// significant byte first: magic (8 bytes), sequence of the last file (8), end of the last batch in
/// it (8), number of the next batch (8), the highest term of any record (8), CRC-32C of the 40 bytes
/// before (4).
struct CleanShutdownMarker: Equatable {
    private static let magic: UInt64 = 0x4C43_574E_4F52_4843  // "CHRONWCL"
    private static let size = 44

    let sequence: UInt64
    let offset: UInt64
    let nextNumber: UInt64
    let highestTerm: UInt64

    func encoded() -> ByteSlice {
        let bytes = ByteStorage(capacity: Self.size)
        bytes.start.storeLittleEndian(Self.magic, at: 0)
        bytes.start.storeLittleEndian(sequence, at: 8)
        bytes.start.storeLittleEndian(offset, at: 16)
        bytes.start.storeLittleEndian(nextNumber, at: 24)
        bytes.start.storeLittleEndian(highestTerm, at: 32)
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(start: bytes.start, count: 40))
        bytes.start.storeLittleEndian(checksum, at: 40)
        return bytes.slice(0..<Self.size)
    }

    init(sequence: UInt64, offset: UInt64, nextNumber: UInt64, highestTerm: UInt64) {
        self.sequence = sequence
        self.offset = offset
        self.nextNumber = nextNumber
        self.highestTerm = highestTerm
    }

    init?(decoding slice: ByteSlice) {
        guard slice.count == Self.size, let bytes = slice.start,
            bytes.loadLittleEndian(at: 0, as: UInt64.self) == Self.magic,
            bytes.loadLittleEndian(at: 40, as: UInt32.self)
                == CRC32C.checksum(UnsafeRawBufferPointer(start: bytes, count: 40))
        else { return nil }
        sequence = bytes.loadLittleEndian(at: 8, as: UInt64.self)
        offset = bytes.loadLittleEndian(at: 16, as: UInt64.self)
        nextNumber = bytes.loadLittleEndian(at: 24, as: UInt64.self)
        highestTerm = bytes.loadLittleEndian(at: 32, as: UInt64.self)
    }

    /// The marker in `directory`; `nil` when the log was not closed.
    ///
    /// - Throws: ``WALError/damaged(file:offset:remedy:)`` when it cannot be made out.
    static func read(_ files: FileSystem, _ directory: String) throws(WALError) -> Self? {
        let path = directory + "/" + FileName.cleanShutdown
        guard files.exists(path) else { return nil }
        do {
            let bytes = try files.readAll(path, limit: WALBlock.size)
            if let marker = Self(decoding: bytes) { return marker }
        } catch {
            guard error.reason == .tooLarge else { throw .file(error) }
        }
        throw .damaged(
            file: path,
            offset: 0,
            remedy: """
                it tells where the log ended when the node was stopped; without it the end of \
                the log cannot be checked. If no file of the log was touched, remove this one
                """
        )
    }
}
