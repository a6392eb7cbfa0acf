package import Bytes
internal import Platform

extension WALRecovery {
    /// Reads the bytes of one file as recovery does, whatever they are.
    ///
    /// For fuzzing: never traps, and hands out only records whose CRCs are right.
    package static func scan(_ bytes: ByteSlice, onRecord: RecordHandler) {
        do {
            guard case .scanner(var scanner) = try BatchScanner.open(BytesAsFile(bytes)) else {
                return
            }
            var offset = WALBlock.size
            while let batch = try scanner.intactBatch(at: offset) {
                try scanner.forEachRecord(of: batch, path: "", onRecord)
                offset += batch.paddedLength
            }
            _ = try scanner.nextHeader(from: 0, atOrBehind: offset)
        } catch {
            return
        }
    }
}

/// A file that is memory.
private final class BytesAsFile: File, @unchecked Sendable {
    // Unchecked: immutable.
    private let bytes: ByteSlice

    init(_ bytes: ByteSlice) {
        self.bytes = bytes
        super.init(path: "")
    }

    override func size() throws(FileError) -> Int { bytes.count }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) -> Int {
        let part = bytes.dropFirst(offset).prefix(buffer.count)
        part.withUnsafeBytes { buffer.copyMemory(from: $0) }
        return part.count
    }
}
