import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// The first record of at least a timestamp.
@Suite struct TimeLookupTests {
    private func lookUp(_ fixture: LogFixture, _ timestamp: Int64) throws -> TimeLookup.Found? {
        switch fixture.log.lookUp(timestamp: timestamp) {
        case .found(let found): found
        case .cold(let lookup, let otherwise): try lookup.perform() ?? otherwise
        }
    }

    /// The answer by looking at every record.
    private func expected(_ fixture: LogFixture, _ timestamp: Int64) throws -> TimeLookup.Found? {
        for batch in fixture.batches {
            for record in try batch.records()
            where record.timestamp >= timestamp && record.offset >= fixture.log.logStartOffset {
                return TimeLookup.Found(offset: record.offset, timestamp: record.timestamp)
            }
        }
        return nil
    }

    private func fixture() throws -> LogFixture {
        var configuration = LogConfiguration(segmentBytes: 3_000)
        configuration.indexIntervalBytes = 300
        return try LogFixture(configuration: configuration)
    }

    @Test func `an empty log has no record of any time`() throws {
        #expect(try lookUp(try fixture(), 0) == nil)
    }

    @Test func `the record itself is found in memory, in segments and across both`() throws {
        let fixture = try fixture()
        for n in 0..<40 {
            fixture.append(LogFixture.batch(records: 3, timestamp: Int64(n) * 10))
            if n == 25 { try fixture.flush() }
        }
        for round in 0..<3 {
            for timestamp in stride(from: Int64(-5), to: 410, by: 1) {
                let found = try lookUp(fixture, timestamp)
                #expect(try found == expected(fixture, timestamp), "\(timestamp), \(round)")
            }
            try fixture.flush()
            if round == 1 { try fixture.reopen() }
        }
    }

    @Test func `timestamps in no order give the first in the log`() throws {
        let fixture = try fixture()
        var generator = SeededGenerator(seed: 9)
        for n in 0..<120 {
            let timestamp = Int64(1_000 + generator.below(1_000))
            fixture.append(LogFixture.batch(records: 1 + n % 3, timestamp: timestamp))
            if n % 50 == 49 { try fixture.flush() }
        }
        for reopened in [false, true] {
            for timestamp in stride(from: Int64(990), to: 2_010, by: 3) {
                let found = try lookUp(fixture, timestamp)
                #expect(try found == expected(fixture, timestamp), "\(timestamp)")
            }
            guard !reopened else { break }
            try fixture.flush()
            try fixture.reopen()
        }
    }

    @Test func `records below the log's start are not found`() throws {
        let fixture = try fixture()
        for n in 0..<40 { fixture.append(LogFixture.batch(records: 3, timestamp: Int64(n) * 10)) }
        for flushed in [false, true] {
            for start in [1, 7, 60, 119] as [Int64] {
                fixture.log.deleteRecords(before: Offset(start))
                for timestamp in stride(from: Int64(0), to: 410, by: 7) {
                    let found = try lookUp(fixture, timestamp)
                    #expect(try found == expected(fixture, timestamp), "\(timestamp) from \(start)")
                }
            }
            guard !flushed else { break }
            try fixture.flush()
            try fixture.reopen()
        }
    }

    @Test func `a batch whose only fitting record is deleted is passed over`() throws {
        for flushed in [false, true] {
            let fixture = try fixture()
            var builder = RecordBatchBuilder(baseTimestamp: 100)
            builder.append(key: nil, value: ByteSlice("late"), timestamp: 900)
            builder.append(key: nil, value: ByteSlice("early"), timestamp: 100)
            fixture.append(builder.finish())
            fixture.append(LogFixture.batch(timestamp: 950))
            fixture.log.deleteRecords(before: Offset(1))
            if flushed {
                try fixture.flush()
                try fixture.reopen()
            }
            #expect(try lookUp(fixture, 500) == expected(fixture, 500), "flushed: \(flushed)")
        }
    }

    @Test func `a record that lies about its offset is not led to`() throws {
        let fixture = try fixture()
        fixture.append(LogFixture.batch(timestamp: 100))
        let batch = fixture.append(LogFixture.batch(records: 2, timestamp: 200))
        // The first record's offset delta is its fourth byte, behind two of length: 0 becomes 40.
        let place = try #require(
            (61..<70).first { batch.bytes[$0] == 0 && batch.bytes[$0 + 1] == 0 }
        )
        batch.bytes.patchBigEndian(UInt8(80), at: place + 2)
        #expect(try batch.records()[0].offset == Offset(41))
        for _ in 0..<2 {
            #expect(try lookUp(fixture, 150) == .init(offset: Offset(2), timestamp: 201))
            try fixture.flush()
            try fixture.reopen()
        }
    }

    @Test func `of a compressed batch its first offset is the answer`() throws {
        let fixture = try fixture()
        fixture.append(LogFixture.batch(timestamp: 100))
        let batch = LogFixture.batch(records: 5, timestamp: 200)
        batch.bytes.patchBigEndian(Int16(4), at: 21)
        fixture.append(batch)
        for flushed in [false, true] {
            let found = try lookUp(fixture, 203)
            #expect(found == TimeLookup.Found(offset: Offset(1), timestamp: 204))
            fixture.log.deleteRecords(before: Offset(flushed ? 1 : 0))
            try fixture.flush()
        }
        fixture.log.deleteRecords(before: Offset(3))
        #expect(try lookUp(fixture, 203)?.offset == Offset(3))
    }

    @Test func `the largest timestamp is known wherever it is`() throws {
        let fixture = try fixture()
        for timestamp in [500, 9_000, 700, 800] as [Int64] {
            fixture.append(LogFixture.batch(records: 2, timestamp: timestamp))
        }
        let newest = TimeLookup.Found(offset: Offset(3), timestamp: 9_001)
        #expect(fixture.log.maxTimestamp == newest)
        try fixture.flush()
        try fixture.reopen()
        #expect(fixture.log.maxTimestamp == newest)
        fixture.append(LogFixture.batch(timestamp: 9_500))
        #expect(fixture.log.maxTimestamp == .init(offset: Offset(8), timestamp: 9_500))
    }
}
