internal import Bytes
internal import Platform

/// Reads the batches of one file and believes nothing that its CRC does not confirm.
struct BatchScanner: ~Copyable {
    typealias RecordHandler = (WALRecordHeader, ByteSlice, WALPosition) throws -> Void

    enum Opened: ~Copyable {
        case scanner(BatchScanner)
        case unknownVersion(UInt32)
        /// No intact header.
        case damaged
    }

    let header: FileHeader
    private var window: FileWindow

    static func open(_ file: File) throws(FileError) -> Opened {
        var window = try FileWindow(file)
        guard let bytes = try window.bytes(at: 0, FileHeader.encodedSize) else { return .damaged }
        switch FileHeader.decode(bytes) {
        case .header(let header):
            return .scanner(BatchScanner(header: header, window: window))
        case .unknownVersion(let version): return .unknownVersion(version)
        case .damaged: return .damaged
        }
    }

    private init(header: FileHeader, window: consuming FileWindow) {
        self.header = header
        self.window = window
    }

    var size: Int { window.size }

    /// The header at `offset` if it is intact, whatever follows it.
    mutating func batchHeader(at offset: Int) throws(FileError) -> BatchHeader? {
        guard let bytes = try window.bytes(at: offset, BatchHeader.size) else { return nil }
        return BatchHeader(decoding: bytes, of: header, at: offset)
    }

    /// The batch at `offset` if all of it is intact.
    mutating func intactBatch(at offset: Int) throws(FileError) -> BatchHeader? {
        guard let batch = try batchHeader(at: offset),
            let bytes = try window.bytes(at: offset, batch.length)
        else { return nil }
        var at = BatchHeader.size
        for _ in 0..<batch.count {
            guard at <= batch.length - WALRecordHeader.size else { return nil }
            let record = bytes + at
            let payloadLength = Int(record.loadLittleEndian(at: 4, as: UInt32.self))
            guard payloadLength <= batch.length - at - WALRecordHeader.size else { return nil }
            let payload = UnsafeRawBufferPointer(
                start: record + WALRecordHeader.size,
                count: payloadLength
            )
            let checksum = WALRecordHeader.checksum(
                of: record,
                payload: payload,
                seed: batch.checksum
            )
            guard record.loadLittleEndian(at: 0, as: UInt32.self) == checksum else { return nil }
            at += WALRecordHeader.size + payloadLength
        }
        return at == batch.length ? batch : nil
    }

    /// Hands out the records of a batch that ``intactBatch(at:)`` has just confirmed.
    mutating func forEachRecord(
        of batch: BatchHeader,
        path: String,
        _ body: RecordHandler
    ) throws(WALError) {
        var at = batch.offset + BatchHeader.size
        for _ in 0..<batch.count {
            let bytes: UnsafeRawPointer?
            do {
                bytes = try window.bytes(at: at, WALRecordHeader.size)
            } catch {
                throw .file(error)
            }
            guard let bytes, let record = WALRecordHeader(decoding: bytes) else {
                // Intact, so of a kind that a later version writes.
                throw .unsupportedFormat(file: path, version: FileHeader.version + 1)
            }
            let position = WALPosition(
                file: header.sequence,
                offset: at,
                length: record.payloadLength,
                seed: batch.checksum
            )
            let payload = window.slice(at: at + WALRecordHeader.size, record.payloadLength)
            do {
                try body(record, payload, position)
            } catch {
                throw .rejected(file: path, offset: at, reason: "\(error)")
            }
            at += WALRecordHeader.size + record.payloadLength
        }
    }

    /// The first intact header of a batch not before `number` at or behind `offset`.
    mutating func nextHeader(
        from number: UInt64,
        atOrBehind offset: Int
    ) throws(FileError) -> BatchHeader? {
        var at = offset
        while at <= size - BatchHeader.size {
            if let found = try batchHeader(at: at), found.number >= number { return found }
            at += WALBlock.size
        }
        return nil
    }
}
