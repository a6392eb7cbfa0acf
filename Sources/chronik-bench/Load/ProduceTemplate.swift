import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// A produce request encoded once, of which each send changes only a few header fields.
///
/// The records never change but for a marker at the start of the first value, so the CRC is spliced
/// from that of the header and the marker: the cost of a request does not depend on its size.
///
///     frame: length i32 | api key i16 | version i16 | correlation id i32 | … | partition i32
///            | length of the batch | batch | …
///     value: "chronikb" | moment of departure, monotonic nanoseconds i64 | noise
///
/// One owner at a time: a request must be written before the next is prepared.
struct ProduceTemplate: @unchecked Sendable {
    // Unchecked: patched and read by the one producer that made it.
    static let magic = Array("chronikb".utf8)
    static let markerBytes = magic.count + 8
    private static let correlationOffset = 8

    let rope: ByteRope
    let records: Int
    let recordBytes: Int
    private let frame: ByteSlice
    private let partitionOffset: Int
    private let batchOffset: Int
    /// Where the moment of departure lies, if the values are large enough to have one.
    private let markerOffset: Int?
    /// End of what changes and is covered by the CRC.
    private let variableEnd: Int
    private let splice: ChecksumSplice

    /// What one request differs from the next in.
    struct Variables {
        var correlationID: Int32
        var partition: Int32
        var wallMilliseconds: Int64
        var departure: Int64
        var producerID: Int64 = -1
        var producerEpoch: Int16 = -1
        var baseSequence: Int32 = -1
    }

    init(
        topic: String,
        acks: Int16,
        version: Int16,
        records: Int,
        recordBytes: Int,
        seed: UInt64
    ) throws(EncodingProblem) {
        precondition(records > 0, "a request of \(records) records")
        let batch = Self.batch(records: records, recordBytes: recordBytes, seed: seed)
        frame = try Self.frame(batch, topic: topic, acks: acks, version: version)
        rope = ByteRope(frame)
        self.records = records
        self.recordBytes = recordBytes

        let flexible = ProduceRequest.isFlexible(version: version)
        // Three sections of tagged fields, all empty, follow the records of a flexible version.
        batchOffset = frame.count - batch.count - (flexible ? 3 : 0)
        let lengthBytes = flexible ? Self.varintBytes(batch.count + 1) : 4
        partitionOffset = batchOffset - lengthBytes - 4
        precondition(frame[batchOffset..<batchOffset + batch.count] == batch, "a misplaced batch")

        let firstRecord = batchOffset + RecordBatch.headerBytes
        if recordBytes >= Self.markerBytes {
            let value = Self.valueOffset(in: frame, at: firstRecord)
            markerOffset = value + Self.magic.count
            variableEnd = value + Self.markerBytes
        } else {
            markerOffset = nil
            variableEnd = firstRecord
        }
        let fixed = frame[variableEnd..<batchOffset + batch.count]
        splice = ChecksumSplice(
            endChecksum: fixed.withUnsafeBytes { CRC32C.checksum($0) },
            count: fixed.count
        )
    }

    /// Makes the frame say this; what was written to a socket before is not affected.
    func prepare(_ variables: Variables) {
        frame.patchBigEndian(variables.correlationID, at: Self.correlationOffset)
        frame.patchBigEndian(variables.partition, at: partitionOffset)
        frame.patchBigEndian(variables.wallMilliseconds, at: batchOffset + 27)
        frame.patchBigEndian(variables.wallMilliseconds, at: batchOffset + 35)
        frame.patchBigEndian(variables.producerID, at: batchOffset + 43)
        frame.patchBigEndian(variables.producerEpoch, at: batchOffset + 51)
        frame.patchBigEndian(variables.baseSequence, at: batchOffset + 53)
        if let markerOffset { frame.patchBigEndian(variables.departure, at: markerOffset) }
        let variable = frame[batchOffset + 21..<variableEnd]
        let checksum = variable.withUnsafeBytes { CRC32C.checksum($0) }
        frame.patchBigEndian(splice.checksum(ofBeginning: checksum), at: batchOffset + 17)
    }

    /// The batch as it stands in the frame.
    var batch: ByteSlice {
        let length: Int32 = frame.loadBigEndian(at: batchOffset + 8)
        return frame[batchOffset..<batchOffset + RecordBatch.lengthPrefixBytes + Int(length)]
    }

    /// When the batch left, if this program made it.
    static func departure(of batch: RecordBatch) -> Int64? {
        guard batch.codec == 0, batch.bytes.count >= RecordBatch.headerBytes + 6 + markerBytes
        else {
            return nil
        }
        let value = valueOffset(in: batch.bytes, at: RecordBatch.headerBytes)
        guard value + markerBytes <= batch.bytes.count else { return nil }
        for (index, byte) in magic.enumerated() where batch.bytes[value + index] != byte {
            return nil
        }
        return batch.bytes.loadBigEndian(at: value + magic.count)
    }

    /// Length of the first record's value, if the record has no key.
    static func firstValueBytes(of batch: RecordBatch) -> Int? {
        var reader = ByteReader(batch.bytes.dropFirst(RecordBatch.headerBytes))
        do {
            _ = try reader.readVarint()
            _ = try reader.readInt8()
            _ = try reader.readVarlong()
            _ = try reader.readVarint()
            guard try reader.readVarint() < 0 else { return nil }
            return max(0, Int(try reader.readVarint()))
        } catch {
            return nil
        }
    }

    /// Where the value of a record without a key begins: after its length, three single bytes
    /// (attributes and two deltas of 0), the key's length in one, and the value's length.
    private static func valueOffset(in bytes: ByteSlice, at record: Int) -> Int {
        var offset = record
        let skipVarint = {
            while offset < bytes.count && bytes[offset] & 0x80 != 0 { offset += 1 }
            offset += 1
        }
        skipVarint()
        offset += 4
        skipVarint()
        return offset
    }

    private static func varintBytes(_ value: Int) -> Int {
        max(1, (Int.bitWidth - value.leadingZeroBitCount + 6) / 7)
    }

    private static func batch(records: Int, recordBytes: Int, seed: UInt64) -> ByteSlice {
        var generator = SeededGenerator(seed: seed)
        var value = [UInt8](repeating: 0, count: recordBytes)
        for index in value.indices { value[index] = UInt8(truncatingIfNeeded: generator.next()) }
        if recordBytes >= markerBytes { value.replaceSubrange(0..<magic.count, with: magic) }
        let slice = ByteSlice(value)
        var builder = RecordBatchBuilder(baseTimestamp: 0)
        for _ in 0..<records { builder.append(key: nil, value: slice) }
        return builder.finish().bytes
    }

    private static func frame(
        _ batch: ByteSlice,
        topic: String,
        acks: Int16,
        version: Int16
    ) throws(EncodingProblem) -> ByteSlice {
        var partition = ProduceRequest.PartitionProduceData()
        partition.records = ByteRope(batch)
        var data = ProduceRequest.TopicProduceData()
        data.name = topic
        data.partitionData = [partition]
        var request = ProduceRequest()
        request.acks = acks
        request.timeoutMs = 30_000
        request.topicData = [data]
        return try BrokerConnection.frame(request, version: version, correlationID: 0)
    }
}
