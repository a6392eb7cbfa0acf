package import Bytes
import Platform

/// Builds an uncompressed batch: the broker's own records, and those of tools and tests.
package struct RecordBatchBuilder: ~Copyable {
    private var writer = ByteWriter(capacity: 512)
    private let baseTimestamp: Int64
    private var maxTimestamp: Int64
    private(set) package var count: Int32 = 0
    package var producerID: Int64 = -1
    package var producerEpoch: Int16 = -1
    package var baseSequence: Int32 = -1

    package init(baseTimestamp: Int64) {
        self.baseTimestamp = baseTimestamp
        maxTimestamp = baseTimestamp
        for _ in 0..<RecordBatch.headerBytes { writer.write(UInt8(0)) }
    }

    /// Length of the batch so far, in bytes.
    package var byteCount: Int { writer.count }

    package mutating func append(
        key: ByteSlice?,
        value: ByteSlice?,
        headers: [(key: String, value: ByteSlice?)] = [],
        timestamp: Int64? = nil
    ) {
        let timestamp = timestamp ?? baseTimestamp
        maxTimestamp = max(maxTimestamp, timestamp)
        var body = ByteWriter(capacity: 64)
        body.write(Int8(0))
        body.writeVarlong(timestamp - baseTimestamp)
        body.writeVarint(count)
        Self.write(key, to: &body)
        Self.write(value, to: &body)
        body.writeVarint(Int32(headers.count))
        for header in headers {
            body.writeVarint(Int32(header.key.utf8.count))
            body.write(utf8: header.key)
            Self.write(header.value, to: &body)
        }
        let bytes = body.finishContiguous()
        writer.writeVarint(Int32(bytes.count))
        bytes.withUnsafeBytes { writer.write(contentsOf: $0) }
        count += 1
    }

    private static func write(_ bytes: ByteSlice?, to body: inout ByteWriter) {
        guard let bytes else {
            body.writeVarint(-1)
            return
        }
        body.writeVarint(Int32(bytes.count))
        bytes.withUnsafeBytes { body.write(contentsOf: $0) }
    }

    /// The batch, with offset 0 and no leader epoch.
    package consuming func finish() -> RecordBatch {
        precondition(count > 0, "a batch without records")
        let (base, last, producer) = (baseTimestamp, maxTimestamp, producerID)
        let (epoch, sequence, records) = (producerEpoch, baseSequence, count)
        let bytes = writer.finishContiguous()
        bytes.patchBigEndian(Int32(bytes.count - RecordBatch.lengthPrefixBytes), at: 8)
        bytes.patchBigEndian(Int32(-1), at: 12)
        bytes.patchBigEndian(Int8(2), at: 16)
        bytes.patchBigEndian(records - 1, at: 23)
        bytes.patchBigEndian(base, at: 27)
        bytes.patchBigEndian(last, at: 35)
        bytes.patchBigEndian(producer, at: 43)
        bytes.patchBigEndian(epoch, at: 51)
        bytes.patchBigEndian(sequence, at: 53)
        bytes.patchBigEndian(records, at: 57)
        let crc = bytes.withUnsafeBytes {
            CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...]))
        }
        bytes.patchBigEndian(crc, at: 17)
        return RecordBatch(committed: bytes)
    }
}

/// One record of an uncompressed batch.
package struct Record: Sendable, Equatable {
    package var offset: Offset
    package var timestamp: Int64
    package var key: ByteSlice?
    package var value: ByteSlice?
    package var headers: [Header]

    package struct Header: Sendable, Equatable {
        package var key: String
        package var value: ByteSlice?
    }
}

extension RecordBatch {
    /// The records of an uncompressed batch; their bytes are shared, not copied.
    ///
    /// - Throws: `MalformedBytes` when the records are not what their lengths say.
    package func records() throws(MalformedBytes) -> [Record] {
        guard codec == 0 else { throw .invalidLength(Int64(codec)) }
        var reader = ByteReader(bytes.dropFirst(Self.headerBytes))
        var records: [Record] = []
        for _ in 0..<max(0, recordCount) {
            let length = Int(try reader.readVarint())
            var body = ByteReader(try reader.readSlice(length))
            records.append(try record(from: &body))
        }
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
        return records
    }

    private func record(from reader: inout ByteReader) throws(MalformedBytes) -> Record {
        _ = try reader.readInt8()
        let timestamp = baseTimestamp &+ (try reader.readVarlong())
        let delta = try reader.readVarint()
        var record = Record(
            offset: Offset(baseOffset.rawValue &+ Int64(delta)),
            timestamp: usesLogAppendTime ? maxTimestamp : timestamp,
            key: try Self.readBytes(&reader),
            value: try Self.readBytes(&reader),
            headers: []
        )
        let count = try reader.readVarint()
        guard count >= 0, Int(count) <= reader.remaining / 2 else {
            throw .invalidLength(Int64(count))
        }
        for _ in 0..<count {
            let length = Int(try reader.readVarint())
            let key = try reader.readUTF8(length)
            record.headers.append(Record.Header(key: key, value: try Self.readBytes(&reader)))
        }
        return record
    }

    private static func readBytes(_ reader: inout ByteReader) throws(MalformedBytes) -> ByteSlice? {
        let length = Int(try reader.readVarint())
        return length < 0 ? nil : try reader.readSlice(length)
    }
}
