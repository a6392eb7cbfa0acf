import Bytes
import Platform
import Testing

@testable import KafkaProtocol

/// What is let into a partition, and what the broker changes in it.
@Suite struct RecordBatchTests {
    private func problem(_ bytes: ByteSlice) -> InvalidBatch? {
        do throws(InvalidBatch) {
            _ = try RecordBatch.validated(bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test func `a batch that is right is let in as it is`() throws {
        let made = BatchFixture.batch(records: 5)
        let batch = try RecordBatch.validated(made.bytes)
        #expect(batch.bytes.start == made.bytes.start)
        #expect(batch.recordCount == 5 && batch.lastOffsetDelta == 4)
        #expect(batch.baseTimestamp == 1_000 && batch.maxTimestamp == 1_004)
        #expect(batch.checksum == BatchFixture.checksum(of: made.bytes))
        #expect(!batch.hasProducer && !batch.isControl && !batch.isTransactional)
        #expect(batch.codec == 0 && !batch.usesLogAppendTime)
    }

    @Test func `every length that is cut short is refused`() {
        let bytes = BatchFixture.batch().bytes
        for count in 0..<bytes.count {
            let found = problem(bytes.prefix(count))
            switch found {
            case .truncated(count): #expect(count < RecordBatch.headerBytes)
            case .length(let stated):
                #expect(Int(stated) == bytes.count - 12 && count >= RecordBatch.headerBytes)
            default: Issue.record("\(count) bytes: \(String(describing: found))")
            }
        }
    }

    @Test(arguments: [Int32.min, -1, 0, 48, Int32.max])
    func `a length that cannot be is refused`(length: Int32) {
        let bytes = BatchFixture.altered { $0.patchBigEndian(length, at: 8) }
        #expect(problem(bytes) == .length(length))
        #expect(problem(bytes)?.errorCode == .corruptMessage)
    }

    @Test func `a length one byte off is refused`() {
        let bytes = BatchFixture.batch().bytes
        let right: Int32 = bytes.loadBigEndian(at: 8)
        #expect(problem(BatchFixture.altered { $0.patchBigEndian(right + 1, at: 8) }) != nil)
        #expect(problem(BatchFixture.altered { $0.patchBigEndian(right - 1, at: 8) }) != nil)
    }

    @Test(arguments: [0, 1, 3, -1] as [Int8])
    func `message formats other than 2 are refused`(magic: Int8) {
        let bytes = BatchFixture.altered { $0.patchBigEndian(magic, at: 16) }
        #expect(problem(bytes) == .magic(magic))
        #expect(problem(bytes)?.errorCode == .unsupportedForMessageFormat)
    }

    @Test func `an old message set shorter than a header is told by its magic`() {
        #expect(
            problem(BatchFixture.altered { $0.patchBigEndian(Int8(1), at: 16) }.prefix(34))
                == .magic(1)
        )
    }

    @Test func `any bit changed behind the CRC is noticed`() {
        let made = BatchFixture.batch().bytes
        for place in 17..<made.count {
            for bit in 0..<8 {
                let bytes = made.copied()
                bytes.patchBigEndian(bytes[place] ^ 1 << UInt8(bit), at: place)
                guard case .checksum = problem(bytes) else {
                    Issue.record("bit \(bit) of byte \(place) may change unnoticed")
                    return
                }
            }
        }
    }

    @Test(
        arguments: [
            (0, -1), (-1, -2), (Int32.min, Int32.max), (3, 3), (3, 1), (4, 2), (3, -1),
            (Int32.max, 2),
        ] as [(Int32, Int32)]
    )
    func `counts that contradict each other are refused`(records: Int32, delta: Int32) {
        let bytes = BatchFixture.altered {
            $0.patchBigEndian(records, at: 57)
            $0.patchBigEndian(delta, at: 23)
        }
        #expect(problem(bytes) == .counts(records: records, lastOffsetDelta: delta))
        #expect(problem(bytes)?.errorCode == .invalidRecord)
    }

    @Test func `more records than the bytes could hold are refused`() {
        let bytes = BatchFixture.altered {
            $0.patchBigEndian(Int32.max, at: 57)
            $0.patchBigEndian(Int32.max - 1, at: 23)
        }
        #expect(problem(bytes) == .counts(records: .max, lastOffsetDelta: .max - 1))
    }

    @Test func `codecs up to zstd pass, others do not`() {
        for codec in Int16(1)...4 {
            let bytes = BatchFixture.altered { $0.patchBigEndian(codec, at: 21) }
            #expect(problem(bytes) == nil)
        }
        for codec in Int16(5)...7 {
            let bytes = BatchFixture.altered { $0.patchBigEndian(codec, at: 21) }
            #expect(problem(bytes) == .codec(Int(codec)))
            #expect(problem(bytes)?.errorCode == .unsupportedCompressionType)
        }
    }

    @Test func `control and transactional batches are refused`() {
        let control = BatchFixture.altered { $0.patchBigEndian(Int16(0x20), at: 21) }
        #expect(problem(control) == .control)
        let transactional = BatchFixture.altered { $0.patchBigEndian(Int16(0x10), at: 21) }
        #expect(problem(transactional) == .transactional)
        #expect(problem(transactional)?.errorCode == .invalidTxnState)
    }

    @Test func `two batches in one are refused`() {
        let one = BatchFixture.batch().bytes
        #expect(problem(ByteSlice(one.array + one.array)) == .severalBatches)
        #expect(problem(ByteSlice(one.array + [0])) == .severalBatches)
    }

    @Test func `a producer without epoch or sequence is refused`() {
        let whole = BatchFixture.batch(producerID: 7, producerEpoch: 0, baseSequence: 0)
        #expect(problem(whole.bytes) == nil)
        let noEpoch = BatchFixture.batch(producerID: 7, producerEpoch: -1, baseSequence: 0)
        #expect(problem(noEpoch.bytes) == .producer(epoch: -1, sequence: 0))
        let noSequence = BatchFixture.batch(producerID: 7, producerEpoch: 0, baseSequence: -1)
        #expect(problem(noSequence.bytes) == .producer(epoch: 0, sequence: -1))
    }

    @Test func `a changed byte is told or harmless, and never stops the program`() {
        let made = BatchFixture.batch(records: 20).bytes
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<5000 {
            let bytes = made.copied()
            for _ in 0...generator.below(4) {
                let byte = UInt8(truncatingIfNeeded: generator.next())
                bytes.patchBigEndian(byte, at: generator.below(bytes.count))
            }
            if generator.chance(1, in: 2) { BatchFixture.sign(bytes) }
            let cut =
                generator.chance(1, in: 4) ? bytes.prefix(generator.below(bytes.count)) : bytes
            guard let batch = try? RecordBatch.validated(cut) else { continue }
            _ = try? batch.records()
        }
    }

    // MARK: What the broker changes

    @Test func `offset and epoch are assigned and the CRC stays right`() throws {
        let made = BatchFixture.batch(records: 4)
        let before = made.checksum
        made.assign(baseOffset: Offset(1 << 40), leaderEpoch: LeaderEpoch(77))
        let batch = try RecordBatch.validated(made.bytes)
        #expect(batch.baseOffset == Offset(1 << 40) && batch.partitionLeaderEpoch.rawValue == 77)
        #expect(batch.lastOffset == Offset(1 << 40 + 3) && batch.nextOffset == Offset(1 << 40 + 4))
        #expect(batch.checksum == before && batch.isIntact)
        #expect(try batch.records().map(\.offset.rawValue) == (0..<4).map { 1 << 40 + $0 })
    }

    @Test func `log append time stamps every record and makes the CRC right again`() throws {
        let made = BatchFixture.batch(records: 3)
        made.setLogAppendTime(99_000)
        let batch = try RecordBatch.validated(made.bytes)
        #expect(batch.usesLogAppendTime && batch.maxTimestamp == 99_000)
        #expect(batch.checksum == BatchFixture.checksum(of: made.bytes))
        #expect(try batch.records().map(\.timestamp) == [99_000, 99_000, 99_000])
    }

    @Test func `damage on a disk is seen`() {
        let made = BatchFixture.batch()
        #expect(made.isIntact)
        made.bytes.patchBigEndian(made.bytes[70] ^ 1, at: 70)
        #expect(!made.isIntact)
    }

    @Test func `sequences go on at 0 after the largest`() {
        let batch = BatchFixture.batch(
            records: 4,
            producerID: 1,
            producerEpoch: 0,
            baseSequence: .max - 1
        )
        #expect(batch.lastSequence == 1)
        #expect(RecordBatch.sequence(.max, plus: 1) == 0)
        #expect(RecordBatch.sequence(.max, plus: .max) == Int32.max - 1)
        #expect(RecordBatch.sequence(5, plus: 3) == 8)
    }

    @Test func `a batch at the front of others is framed by its own length`() throws {
        let one = BatchFixture.batch(records: 1).bytes
        let two = BatchFixture.batch(records: 2).bytes
        let both = ByteSlice(one.array + two.array)
        let first = try RecordBatch.framed(both)
        #expect(first.bytes == one)
        #expect(try RecordBatch.framed(both.dropFirst(first.bytes.count)).bytes == two)
    }

    @Test func `numbers as large as they can be do not stop the program`() throws {
        let bytes = BatchFixture.altered {
            $0.patchBigEndian(Int64.max, at: 0)
            $0.patchBigEndian(Int64.max, at: 27)
            $0.patchBigEndian(Int64.min, at: 35)
        }
        let batch = try RecordBatch.validated(bytes)
        #expect(batch.lastOffset < batch.baseOffset && batch.nextOffset < batch.baseOffset)
        #expect(try batch.records().count == 3)
    }
}
