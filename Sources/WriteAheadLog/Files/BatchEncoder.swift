internal import Bytes
internal import Platform

/// Turns records into the bytes of one batch and writes them, in one write where they fit.
///
/// Each payload is read once by the CRC and once by the copy into the aligned buffer, which the
/// encoder keeps and uses again.
struct BatchEncoder: ~Copyable {
    private let buffer: ByteStorage
    private var filled = 0
    private var fileOffset = 0

    init(maxWriteBytes: Int) {
        buffer = AlignedBlock.make(max(maxWriteBytes, 2 * WALBlock.size))
    }

    /// Writes the batch at `offset` of `file`; returns where each record of each part came to lie.
    mutating func write(
        _ group: [WALBatch],
        as header: inout BatchHeader,
        to file: WALFile,
        at offset: Int
    ) throws(FileError) -> [[WALPosition]] {
        fileOffset = offset
        header.encode(into: buffer.start, fileChecksum: file.header.checksum)
        filled = BatchHeader.size
        let seed = header.checksum
        var positions: [[WALPosition]] = []
        positions.reserveCapacity(group.count)
        for batch in group {
            var places: [WALPosition] = []
            places.reserveCapacity(batch.records.count)
            for record in batch.records {
                places.append(
                    WALPosition(
                        file: file.sequence,
                        offset: fileOffset + filled,
                        length: record.payload.count,
                        seed: seed
                    )
                )
                try append(record, seed: seed, to: file.file)
            }
            positions.append(places)
        }
        let padded = WALBlock.roundedUp(filled)
        (buffer.start + filled).initializeMemory(
            as: UInt8.self,
            repeating: 0,
            count: padded - filled
        )
        filled = padded
        try flush(to: file.file)
        return positions
    }

    private mutating func append(
        _ record: WALRecord,
        seed: UInt32,
        to file: File
    ) throws(FileError) {
        if record.encodedBytes <= buffer.capacity - filled {
            WALRecordHeader.encode(record, seed: seed, into: buffer.start + filled)
            filled += WALRecordHeader.size
            if let source = record.payload.start {
                (buffer.start + filled).copyMemory(
                    from: source,
                    byteCount: record.payload.count
                )
                filled += record.payload.count
            }
            return
        }
        let scratch = AlignedBlock.make(WALRecordHeader.size)
        WALRecordHeader.encode(record, seed: seed, into: scratch.start)
        let header = UnsafeRawBufferPointer(start: scratch.start, count: WALRecordHeader.size)
        try append(header, to: file)
        let payload = record.payload
        try payload.withUnsafeBytes { (bytes) throws(FileError) in try append(bytes, to: file) }
    }

    /// Copies bytes that do not fit, writing the buffer each time it is full.
    private mutating func append(
        _ bytes: UnsafeRawBufferPointer,
        to file: File
    ) throws(FileError) {
        guard let source = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            if filled == buffer.capacity { try flush(to: file) }
            let count = min(bytes.count - done, buffer.capacity - filled)
            (buffer.start + filled).copyMemory(from: source + done, byteCount: count)
            filled += count
            done += count
        }
    }

    private mutating func flush(to file: File) throws(FileError) {
        guard filled > 0 else { return }
        try file.write(UnsafeRawBufferPointer(start: buffer.start, count: filled), at: fileOffset)
        fileOffset += filled
        filled = 0
    }
}
