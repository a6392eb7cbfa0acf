import Bytes
import Testing

@testable import KafkaProtocol

/// Records written by the builder and read back.
@Suite struct RecordsTests {
    @Test func `records come back as they were put in`() throws {
        var builder = RecordBatchBuilder(baseTimestamp: 5_000)
        builder.append(key: ByteSlice("k"), value: ByteSlice("v"))
        builder.append(key: nil, value: nil, timestamp: 4_000)
        builder.append(
            key: ByteSlice(),
            value: ByteSlice([UInt8](repeating: 9, count: 5_000)),
            headers: [(key: "h", value: ByteSlice([1, 2])), (key: "", value: nil)],
            timestamp: 9_000
        )
        #expect(builder.count == 3)
        let size = builder.byteCount
        let batch = builder.finish()
        #expect(batch.bytes.count == size)
        let checked = try RecordBatch.validated(batch.bytes)
        #expect(checked.baseTimestamp == 5_000 && checked.maxTimestamp == 9_000)
        #expect(checked.baseOffset == .zero && checked.partitionLeaderEpoch == .none)
        let records = try checked.records()
        #expect(records.map(\.offset.rawValue) == [0, 1, 2])
        #expect(records.map(\.timestamp) == [5_000, 4_000, 9_000])
        #expect(records.map(\.key) == [ByteSlice("k"), nil, ByteSlice()])
        #expect(records[1].value == nil && records[2].value?.count == 5_000)
        #expect(
            records[2].headers == [
                Record.Header(key: "h", value: ByteSlice([1, 2])),
                Record.Header(key: "", value: nil),
            ]
        )
    }

    @Test func `the bytes of a batch are those of the format's definition`() throws {
        var builder = RecordBatchBuilder(baseTimestamp: 0x0102_0304_0506)
        builder.producerID = 0x11
        builder.producerEpoch = 0x22
        builder.baseSequence = 0x33
        builder.append(key: nil, value: ByteSlice("ab"))
        let bytes = builder.finish().bytes
        var expected: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0]
        expected += [0, 0, 0, 58, 0xff, 0xff, 0xff, 0xff, 2]
        expected += bytes[17..<21].array
        expected += [0, 0, 0, 0, 0, 0]
        expected += [0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 1, 2, 3, 4, 5, 6]
        expected += [0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0x22, 0, 0, 0, 0x33, 0, 0, 0, 1]
        expected += [16, 0, 0, 0, 1, 4, 0x61, 0x62, 0]
        #expect(bytes.array == expected)
        #expect(bytes.loadBigEndian(at: 17, as: UInt32.self) == BatchFixture.checksum(of: bytes))
    }

    @Test func `the shortest record takes seven bytes`() throws {
        // Length 6: attributes, timestamp, offset, null key, null value, no headers.
        let shortest: [UInt8] = [12, 0, 0, 0, 1, 1, 0]
        let batch = try RecordBatch.validated(BatchFixture.batch(records: shortest, count: 1))
        #expect(try batch.records().count == 1)
        let three = BatchFixture.batch(records: shortest + shortest + shortest, count: 3)
        #expect(try RecordBatch.validated(three).records().count == 3)
    }

    @Test func `keys and values share the memory of the batch`() throws {
        let batch = BatchFixture.batch()
        for record in try batch.records() {
            #expect(record.key?.owner === batch.bytes.owner)
            #expect(record.value?.owner === batch.bytes.owner)
        }
    }

    @Test(arguments: [1, 2, 3, 4] as [Int16])
    func `records of a compressed batch are not read as if they were plain`(codec: Int16) throws {
        let bytes = BatchFixture.altered { $0.patchBigEndian(codec, at: 21) }
        let batch = try RecordBatch.validated(bytes)
        #expect(batch.codec == Int(codec))
        #expect(throws: MalformedBytes.invalidLength(Int64(codec))) { try batch.records() }
    }

    @Test(
        arguments: [
            // A length beyond the end, a negative one, and one that leaves bytes over.
            [100, 0, 0, 0, 1, 1, 0], [1, 0, 0, 0, 1, 1, 0], [10, 0, 0, 0, 1, 1, 0],
            // A key and a value longer than the record.
            [12, 0, 0, 0, 40, 1, 0], [12, 0, 0, 0, 1, 40, 0],
            // More headers than bytes, a negative number of them, a negative key of one.
            [12, 0, 0, 0, 1, 1, 126], [12, 0, 0, 0, 1, 1, 1], [16, 0, 0, 0, 1, 1, 2, 1, 0],
            // A header key that is no text.
            [18, 0, 0, 0, 1, 1, 2, 2, 0xff, 0],
            // A varint without end.
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] as [[UInt8]]
    )
    func `records whose lengths lie throw`(record: [UInt8]) throws {
        let batch = try RecordBatch.validated(BatchFixture.batch(records: record, count: 1))
        #expect(throws: MalformedBytes.self) { try batch.records() }
    }

    @Test func `every cut through the records throws`() throws {
        let whole = BatchFixture.batch(records: 3).bytes
        for count in RecordBatch.headerBytes..<whole.count {
            let bytes = whole.prefix(count).copied()
            bytes.patchBigEndian(Int32(count - RecordBatch.lengthPrefixBytes), at: 8)
            BatchFixture.sign(bytes)
            guard let batch = try? RecordBatch.validated(bytes) else { continue }
            #expect(throws: MalformedBytes.self) { try batch.records() }
        }
    }

    @Test func `bytes after the last record throw`() throws {
        let record: [UInt8] = [12, 0, 0, 0, 1, 1, 0]
        let bytes = BatchFixture.batch(records: record + [0, 0], count: 1)
        let batch = try RecordBatch.validated(bytes)
        #expect(throws: MalformedBytes.trailingBytes(2)) { try batch.records() }
    }
}
