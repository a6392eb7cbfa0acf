import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import Testing

@testable import chronik_bench

@Suite struct `A produce request that is patched` {
    private static let shapes: [(version: Int16, records: Int, recordBytes: Int)] = [
        (3, 1, 0), (7, 1, 15), (8, 3, 16), (9, 1, 100), (9, 600, 100), (11, 2, 5000),
        (11, 1, 70_000),
    ]

    private func variables(_ n: Int32) -> ProduceTemplate.Variables {
        ProduceTemplate.Variables(
            correlationID: n,
            partition: n &* 3,
            wallMilliseconds: 1_700_000_000_000 + Int64(n),
            departure: Int64(n) &* 1_000_003,
            producerID: 77,
            producerEpoch: 2,
            baseSequence: n
        )
    }

    /// The request as a broker reads it.
    private func decode(
        _ template: ProduceTemplate,
        version: Int16
    ) throws -> (RequestHeader, ProduceRequest) {
        let frame = try #require(template.rope.joined())
        var reader = ByteReader(frame)
        #expect(Int(try reader.readInt32()) == frame.count - 4)
        let header = try RequestHeader(
            from: &reader,
            version: APIKey.produce.requestHeaderVersion(for: version)
        )
        let request = try ProduceRequest(from: &reader, version: version)
        try reader.expectEnd()
        return (header, request)
    }

    @Test(arguments: shapes)
    func `says what it was told, with a right checksum, every time`(
        _ version: Int16,
        _ records: Int,
        _ recordBytes: Int
    ) throws {
        let template = try ProduceTemplate(
            topic: "a.topic",
            acks: 1,
            version: version,
            records: records,
            recordBytes: recordBytes,
            seed: 9
        )
        for n: Int32 in [0, 1, 500, Int32.max] {
            template.prepare(variables(n))
            let (header, request) = try decode(template, version: version)
            #expect(header.correlationId == n)
            #expect(header.requestApiVersion == version)
            #expect(request.acks == 1)
            let topic = try #require(request.topicData.first)
            #expect(topic.name == "a.topic")
            #expect(topic.partitionData.first?.index == n &* 3)
            let bytes = try #require(topic.partitionData.first?.records?.joined())
            let batch = try RecordBatch.validated(bytes)
            #expect(batch.recordCount == records)
            #expect(batch.producerID == 77 && batch.producerEpoch == 2 && batch.baseSequence == n)
            #expect(batch.baseTimestamp == 1_700_000_000_000 + Int64(n))
            #expect(batch.maxTimestamp == batch.baseTimestamp)
            let marker = recordBytes >= ProduceTemplate.markerBytes ? Int64(n) &* 1_000_003 : nil
            #expect(ProduceTemplate.departure(of: batch) == marker)
            #expect(ProduceTemplate.firstValueBytes(of: batch) == recordBytes)
            let read = try batch.records()
            #expect(read.count == records)
            #expect(read.allSatisfy { $0.value?.count == recordBytes && $0.key == nil })
        }
    }

    @Test func `a batch of others has no departure`() throws {
        var builder = RecordBatchBuilder(baseTimestamp: 5)
        builder.append(key: ByteSlice("k"), value: ByteSlice("v"))
        let small = builder.finish()
        #expect(ProduceTemplate.departure(of: small) == nil)
        #expect(ProduceTemplate.firstValueBytes(of: small) == nil)
        var larger = RecordBatchBuilder(baseTimestamp: 5)
        larger.append(key: nil, value: ByteSlice([UInt8](repeating: 1, count: 100)))
        #expect(ProduceTemplate.departure(of: larger.finish()) == nil)
    }
}

@Suite struct `A spliced checksum` {
    @Test(arguments: [0, 1, 2, 3, 4, 7, 8, 61, 100, 1023, 65_536, 1_000_003])
    func `is that of the whole`(_ endBytes: Int) {
        var generator = SeededGenerator(seed: UInt64(endBytes))
        let end = (0..<endBytes).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        let splice = ChecksumSplice(
            endChecksum: end.withUnsafeBytes { CRC32C.checksum($0) },
            count: end.count
        )
        for count in [0, 1, 40, 200] {
            let beginning = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            let whole = (beginning + end).withUnsafeBytes { CRC32C.checksum($0) }
            let checksum = beginning.withUnsafeBytes { CRC32C.checksum($0) }
            #expect(splice.checksum(ofBeginning: checksum) == whole)
        }
    }
}
