import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// Idempotent producers (KIP-98): nothing twice, nothing out of order, nothing from the fenced.
@Suite struct ProducerTableTests {
    private func batch(
        _ sequence: Int32,
        records: Int = 1,
        epoch: Int16 = 0,
        producer: Int64 = 7,
        at offset: Int64 = 0,
        timestamp: Int64 = 1_000
    ) -> RecordBatch {
        let batch = LogFixture.batch(
            records: records,
            valueBytes: 4,
            timestamp: timestamp,
            producerID: producer,
            epoch: epoch,
            sequence: sequence
        )
        batch.assign(baseOffset: Offset(offset), leaderEpoch: LeaderEpoch(1))
        return batch
    }

    /// A table with batches of one record, sequences and offsets from 0.
    private func table(committed count: Int32) -> ProducerTable {
        var table = ProducerTable()
        for n in 0..<count { table.commit(batch(n, at: Int64(n))) }
        return table
    }

    private func check(_ table: ProducerTable, _ batch: RecordBatch) -> ProducerTable.Verdict {
        table.check(batch, now: 0)
    }

    @Test func `a batch without a producer is always new and leaves no trace`() {
        var table = ProducerTable()
        let plain = LogFixture.batch()
        #expect(check(table, plain) == .new)
        table.stage(plain, now: 0)
        table.commit(plain)
        #expect(check(table, plain) == .new && table == ProducerTable())
    }

    @Test func `the next in order is new, a gap is not`() {
        let table = table(committed: 3)
        #expect(check(table, batch(3)) == .new)
        for sequence in [4, 100, .max] as [Int32] {
            #expect(check(table, batch(sequence)) == .rejected(.outOfOrderSequenceNumber))
        }
        #expect(check(table, batch(0, producer: 8)) == .new, "of another producer")
    }

    @Test func `a producer nobody knows begins at 0`() {
        var table = ProducerTable()
        #expect(check(table, batch(42)) == .rejected(.outOfOrderSequenceNumber))
        #expect(check(table, batch(42, epoch: 3)) == .rejected(.outOfOrderSequenceNumber))
        #expect(check(table, batch(0, epoch: 3)) == .new)
        table.commit(batch(0, epoch: 3))
        #expect(check(table, batch(1, epoch: 3)) == .new)
    }

    @Test func `a first batch that is lost with its leader is not overtaken by what follows it`() {
        var table = ProducerTable()
        for n in Int32(0)..<3 { table.stage(batch(n, at: Int64(n)), now: 0) }
        table.dropStaged()
        #expect(check(table, batch(3)) == .rejected(.outOfOrderSequenceNumber))
        #expect(check(table, batch(0)) == .new)
    }

    @Test func `one that may have been forgotten begins anywhere, a newer one does not`() throws {
        let fixture = try LogFixture()
        fixture.append(LogFixture.batch(timestamp: 1_000, producerID: 7, epoch: 0, sequence: 0))
        fixture.append(LogFixture.batch(timestamp: 5_000, producerID: 9, epoch: 0, sequence: 0))
        fixture.log.producers.expire(before: 3_000)
        try fixture.flush()
        for _ in 0..<2 {
            let table = fixture.log.producers
            #expect(check(table, batch(42, producer: 7)) == .new)
            #expect(check(table, batch(42, producer: 3)) == .new)
            #expect(check(table, batch(1, producer: 9)) == .new)
            #expect(
                check(table, batch(42, producer: 8)) == .rejected(.outOfOrderSequenceNumber)
            )
            try fixture.reopen()
        }
    }

    @Test func `a checkpoint that does not say who was forgotten may have forgotten anybody`()
        throws
    {
        let fixture = try LogFixture()
        let whole = Checkpoint().encoded()
        var bytes = whole.withUnsafeBytes { Array($0.dropLast(12)) }
        bytes[5] = 2
        let sum = bytes.withUnsafeBytes { CRC32C.checksum($0) }
        for shift in [24, 16, 8, 0] as [UInt32] { bytes.append(UInt8(sum >> shift & 0xFF)) }
        let old = try Checkpoint(
            decoding: ByteSlice(bytes),
            directory: fixture.directory,
            fixture.files
        )
        #expect(old.forgottenThrough == .max)
    }

    @Test func `a first batch that was refused is not overtaken by what follows it`() {
        var table = ProducerTable(producers: [:], forgottenThrough: 7)
        table.refuse(batch(0))
        #expect(check(table, batch(1)) == .rejected(.outOfOrderSequenceNumber))
        table.refuse(batch(1))
        #expect(check(table, batch(0)) == .new)
        table.stage(batch(0), now: 0)
        #expect(check(table, batch(1)) == .new)
        table.dropStaged()
        #expect(check(table, batch(1)) == .new)
    }

    @Test func `a producer is idle from its last append on, whatever its own clock says`() {
        var table = ProducerTable()
        table.stage(batch(0, timestamp: 1_000), now: 50_000)
        table.commit(batch(0, timestamp: 1_000))
        table.expire(before: 50_000)
        #expect(check(table, batch(5)) == .rejected(.outOfOrderSequenceNumber))
        table.expire(before: 50_001)
        #expect(check(table, batch(5)) == .new)
    }

    @Test func `each of the last five batches is a duplicate with its own offset`() {
        let table = table(committed: 8)
        for sequence in Int32(3)..<8 {
            #expect(check(table, batch(sequence)) == .duplicate(Offset(Int64(sequence))))
        }
        for sequence in Int32(0)..<3 {
            #expect(check(table, batch(sequence)) == .rejected(.outOfOrderSequenceNumber))
        }
    }

    @Test func `a batch that begins like another and ends elsewhere is no duplicate`() {
        var table = ProducerTable()
        table.commit(batch(0, records: 5))
        #expect(check(table, batch(0, records: 5)) == .duplicate(.zero))
        #expect(check(table, batch(0, records: 4)) == .rejected(.outOfOrderSequenceNumber))
        #expect(check(table, batch(1, records: 4)) == .rejected(.outOfOrderSequenceNumber))
        #expect(check(table, batch(5, records: 2)) == .new)
    }

    @Test func `an older epoch is fenced, a newer one begins at 0`() {
        var table = ProducerTable()
        table.commit(batch(0, epoch: 3))
        #expect(check(table, batch(1, epoch: 2)) == .rejected(.invalidProducerEpoch))
        #expect(check(table, batch(0, epoch: 2)) == .rejected(.invalidProducerEpoch))
        #expect(check(table, batch(1, epoch: 4)) == .rejected(.outOfOrderSequenceNumber))
        #expect(check(table, batch(0, epoch: 4)) == .new)
        table.commit(batch(0, epoch: 4, at: 1))
        #expect(check(table, batch(1, epoch: 3)) == .rejected(.invalidProducerEpoch))
        #expect(check(table, batch(0, epoch: 4)) == .duplicate(Offset(1)))
        #expect(table.producers[7]?.recent.count == 1, "batches of the old epoch are forgotten")
    }

    @Test func `sequences go on at 0 after the largest`() {
        var table = ProducerTable()
        table.commit(batch(.max - 2, records: 2, at: 0))
        #expect(check(table, batch(0)) == .rejected(.outOfOrderSequenceNumber))
        table.commit(batch(.max, at: 2))
        #expect(check(table, batch(0)) == .new)
        table.commit(batch(.max, records: 3, at: 3))
        #expect(table.producers[7]?.recent.last?.lastSequence == 1)
        #expect(check(table, batch(2)) == .new)
    }

    // MARK: Appended and not yet committed

    @Test func `what is appended counts before it is committed`() {
        var table = table(committed: 2)
        table.stage(batch(2, at: 2), now: 0)
        #expect(check(table, batch(2)) == .duplicatePending(Offset(2)))
        #expect(check(table, batch(3)) == .new)
        #expect(check(table, batch(1)) == .duplicate(Offset(1)))
        #expect(check(table, batch(4)) == .rejected(.outOfOrderSequenceNumber))
        table.commit(batch(2, at: 2))
        #expect(check(table, batch(2)) == .duplicate(Offset(2)))
    }

    @Test func `what was appended and never committed is forgotten with the leadership`() {
        var table = table(committed: 2)
        for n in Int32(2)..<5 { table.stage(batch(n, at: Int64(n)), now: 0) }
        #expect(check(table, batch(5)) == .new)
        table.dropStaged()
        #expect(check(table, batch(5)) == .rejected(.outOfOrderSequenceNumber))
        #expect(check(table, batch(2)) == .new)
    }

    @Test func `a newer epoch that is only appended fences already`() {
        var table = table(committed: 2)
        table.stage(batch(0, epoch: 1, at: 2), now: 0)
        #expect(check(table, batch(2)) == .rejected(.invalidProducerEpoch))
        #expect(check(table, batch(0, epoch: 1)) == .duplicatePending(Offset(2)))
        #expect(check(table, batch(1, epoch: 1)) == .new)
    }

    @Test func `batches are committed one by one while others wait`() {
        var table = ProducerTable()
        for n in Int32(0)..<10 { table.stage(batch(n, at: Int64(n)), now: 0) }
        for n in Int32(0)..<10 {
            table.commit(batch(n, at: Int64(n)))
            #expect(check(table, batch(n)) == .duplicate(Offset(Int64(n))))
            if n < 9 { #expect(check(table, batch(9)) == .duplicatePending(Offset(9))) }
            #expect(check(table, batch(10)) == .new)
        }
    }

    // MARK: Forgetting

    @Test func `producers not heard of are forgotten, but not while something is under way`() {
        var table = ProducerTable()
        table.commit(batch(0, producer: 1, timestamp: 1_000))
        table.commit(batch(0, producer: 2, timestamp: 5_000))
        table.commit(batch(0, producer: 3, timestamp: 1_000))
        table.stage(batch(1, producer: 3, at: 9), now: 0)
        table.expire(before: 3_000)
        #expect(table.producers.keys.sorted() == [2, 3])
        #expect(check(table, batch(5, producer: 1)) == .new)
    }

    @Test func `the number of producers has a limit; the least active go`() {
        var table = ProducerTable()
        let one = batch(0)
        for producer in Int64(0)...100_000 {
            one.bytes.patchBigEndian(producer, at: 43)
            one.bytes.patchBigEndian(producer, at: 35)
            table.commit(one)
        }
        #expect(table.producers.count == 90_001)
        #expect(table.producers[0] == nil && table.producers[9_999] == nil)
        #expect(table.producers[10_000] != nil && table.producers[100_000] != nil)
    }

    @Test func `the table comes back with the log, and a duplicate is still one`() throws {
        let fixture = try LogFixture()
        for n in Int32(0)..<7 {
            fixture.append(LogFixture.batch(records: 2, producerID: 7, epoch: 1, sequence: n * 2))
        }
        try fixture.flush()
        let before = fixture.log.producers
        try fixture.reopen()
        #expect(fixture.log.producers == before)
        let again = LogFixture.batch(records: 2, producerID: 7, epoch: 1, sequence: 10)
        #expect(fixture.log.producers.check(again, now: 0) == .duplicate(Offset(10)))
    }

    @Test func `a follower remembers a producer from when it heard of it`() {
        var table = ProducerTable()
        let batch = LogFixture.batch(timestamp: 1_000, producerID: 4, epoch: 0, sequence: 0)
        table.commit(batch, now: 500_000)
        table.expire(before: 400_000)
        #expect(table.check(batch, now: 500_000) == .duplicate(batch.baseOffset))
        table.expire(before: 600_000)
        #expect(table.check(batch, now: 600_000) == .new)
    }
}
