import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// How batches become segments.
@Suite struct FlushTests {
    private func bases(_ fixture: LogFixture) -> [Int64] {
        fixture.log.replay.segments.map(\.baseOffset.rawValue)
    }

    @Test func `a segment is the batches one after the other, padded until it is closed`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 30)
        try fixture.flush()
        let bytes = fixture.bytes(from: 0)
        let name = LogFixture.name(0)
        let padded = try LogFixture.realFiles.readAll(fixture.path(name), limit: 1 << 20)
        #expect(padded.count % FileSystem.directAlignment == 0)
        #expect(padded.prefix(bytes.count) == bytes)
        #expect(padded.dropFirst(bytes.count).array.allSatisfy { $0 == 0 })
        fixture.log.trim()
        #expect(try LogFixture.realFiles.readAll(fixture.path(name), limit: 1 << 20) == bytes)
        fixture.append(count: 5)
        try fixture.flush()
        try fixture.reopen()
        try fixture.checkAll()
    }

    @Test func `many small flushes write what one large would`() throws {
        let one = try LogFixture()
        let many = try LogFixture()
        for n in 0..<60 {
            for fixture in [one, many] {
                fixture.append(LogFixture.batch(valueBytes: 150 * (n % 7)))
            }
            try many.flush()
        }
        try one.flush()
        for fixture in [one, many] { fixture.log.trim() }
        for ending in ["log", "index", "timeindex"] {
            let name = LogFixture.name(0, ending)
            let whole = try LogFixture.realFiles.readAll(one.path(name), limit: 1 << 20)
            #expect(try LogFixture.realFiles.readAll(many.path(name), limit: 1 << 20) == whole)
        }
    }

    @Test func `batches larger than the write buffer arrive whole`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 3)
        fixture.append(LogFixture.batch(valueBytes: 2_500_000))
        fixture.append(count: 3)
        try fixture.flush()
        fixture.append(LogFixture.batch(valueBytes: 1 << 20))
        try fixture.flush()
        try fixture.reopen()
        try fixture.checkAll(maxBytes: 100_000)
    }

    @Test func `a new segment begins when a batch does not fit`() throws {
        let size = LogFixture.batch().bytes.count
        let fixture = try LogFixture(configuration: LogConfiguration(segmentBytes: size * 4))
        fixture.append(count: 10)
        try fixture.flush()
        #expect(bases(fixture) == [0, 4, 8])
        // The closed ones hold nothing but batches.
        #expect(try fixture.size(LogFixture.name(0)) == size * 4)
        #expect(try fixture.size(LogFixture.name(4)) == size * 4)
        fixture.append(count: 3)
        try fixture.flush()
        #expect(bases(fixture) == [0, 4, 8, 12])
        #expect(fixture.log.byteCount == size * 13)
        fixture.append(LogFixture.batch(valueBytes: 5_000))
        try fixture.flush()
        #expect(bases(fixture).last == 13, "larger than a segment may be: one of its own")
        try fixture.reopen()
        try fixture.checkAll()
    }

    @Test func `a new segment begins when the last is old`() throws {
        var configuration = LogConfiguration()
        configuration.segmentMilliseconds = 1_000
        let fixture = try LogFixture(configuration: configuration)
        for (now, expected) in [(5_000, [0]), (6_000, [0]), (6_001, [0, 2])] as [(Int64, [Int64])] {
            fixture.append()
            try fixture.flush(now: now)
            #expect(bases(fixture) == expected, "at \(now)")
        }
    }

    @Test func `offsets too far apart for an index do not share a segment`() throws {
        let fixture = try LogFixture()
        let far = Int32.max - 1
        // Compressed, so that nobody but the producer knows how many records there are.
        for _ in 0..<4 {
            let batch = LogFixture.batch()
            batch.bytes.patchBigEndian(Int16(1), at: 21)
            batch.bytes.patchBigEndian(far, at: 23)
            batch.bytes.patchBigEndian(far + 1, at: 57)
            fixture.append(batch)
        }
        try fixture.flush()
        for segment in fixture.log.replay.segments {
            let reach = segment.nextOffset - segment.baseOffset.rawValue - 1
            #expect(reach.rawValue <= Int64(Int32.max))
        }
        #expect(bases(fixture).count == 4)
    }

    @Test func `index and time index are in Kafka's format`() throws {
        var configuration = LogConfiguration()
        configuration.indexIntervalBytes = 500
        let fixture = try LogFixture(configuration: configuration)
        for n in 0..<20 {
            fixture.append(LogFixture.batch(records: 2, timestamp: Int64(n) * 10))
        }
        try fixture.flush()
        let size = fixture.batches[0].bytes.count
        let step = (500 + size - 1) / size
        let index = try LogFixture.realFiles.readAll(
            fixture.path(LogFixture.name(0, "index")),
            limit: 1 << 20
        )
        let times = try LogFixture.realFiles.readAll(
            fixture.path(LogFixture.name(0, "timeindex")),
            limit: 1 << 20
        )
        let marked = stride(from: 0, to: 20, by: step)
        #expect(index.count == marked.underestimatedCount * 8)
        #expect(times.count == marked.underestimatedCount * 12)
        for (entry, batch) in marked.enumerated() {
            let last = UInt32(batch * 2 + 1)
            #expect(index.loadBigEndian(at: entry * 8, as: UInt32.self) == last)
            #expect(index.loadBigEndian(at: entry * 8 + 4, as: UInt32.self) == UInt32(batch * size))
            #expect(times.loadBigEndian(at: entry * 12, as: Int64.self) == Int64(batch) * 10 + 1)
            #expect(times.loadBigEndian(at: entry * 12 + 8, as: UInt32.self) == last)
        }
    }

    @Test func `a flush that fails changes nothing, wherever it fails, and the next succeeds`()
        throws
    {
        var failures = 0
        for place in 1...40 {
            let files = InterruptedFileSystem(LogFixture.realFiles)
            let fixture = try LogFixture(
                configuration: LogConfiguration(segmentBytes: 2_000),
                files: files
            )
            fixture.append(count: 6)
            try fixture.flush()
            fixture.append(count: 20)
            files.failsAt = files.operations + place
            do {
                try fixture.flush()
            } catch {
                failures += 1
                #expect(fixture.log.flushedRaftIndex == 6)
                // Nothing is in the segments, or all of it and only the checkpoint is missing.
                #expect([fixture.bytes(from: 6).count, 0].contains(fixture.log.unflushedBytes))
                try fixture.checkAll()
                #expect(try fixture.flush(), "another flush is due")
            }
            #expect(fixture.log.flushedRaftIndex == 26)
            try fixture.checkAll()
            files.failsAt = .max
            try fixture.reopen()
            #expect(fixture.log.logEndOffset == Offset(26))
            try fixture.checkAll()
        }
        #expect(failures > 20 && failures < 40, "every operation of the flush has failed once")
    }

    @Test func `a start that could not be written down is due again`() throws {
        let files = InterruptedFileSystem(LogFixture.realFiles)
        let fixture = try LogFixture(files: files)
        fixture.append(count: 5)
        try fixture.flush()
        fixture.log.deleteRecords(before: Offset(2))
        files.failsAt = files.operations + 1
        #expect(throws: FileError.self) { try fixture.flush() }
        #expect(try fixture.flush())
        try fixture.reopen()
        #expect(fixture.log.logStartOffset == Offset(2))
    }
}
