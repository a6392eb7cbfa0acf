import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

@Suite struct AppendAndReadTests {
    @Test func `an empty log has nothing and nothing beyond`() throws {
        let fixture = try LogFixture()
        #expect(fixture.log.logStartOffset == .zero && fixture.log.logEndOffset == .zero)
        #expect(try fixture.read(from: 0)?.bytes.isEmpty == true)
        #expect(try fixture.read(from: 1) == nil)
        #expect(try fixture.read(from: -1) == nil)
        #expect(try !fixture.flush())
        #expect(fixture.log.maxTimestamp == nil)
    }

    @Test func `what is appended is read from memory`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 10)
        #expect(fixture.log.logEndOffset == Offset(10))
        for offset in Int64(0)..<10 {
            let found = try #require(try fixture.read(from: offset))
            #expect(found.source == .memory && found.bytes == fixture.bytes(from: offset))
        }
        #expect(try fixture.read(from: 10)?.bytes.isEmpty == true)
        #expect(try fixture.read(from: 11) == nil)
    }

    @Test func `an offset inside a batch gives the whole batch`() throws {
        let fixture = try LogFixture()
        for records in [5, 1, 7] { fixture.append(LogFixture.batch(records: records)) }
        #expect(fixture.log.logEndOffset == Offset(13))
        for round in 0..<2 {
            for offset in Int64(0)..<13 {
                let found = try fixture.read(from: offset)
                #expect(found?.bytes == fixture.bytes(from: offset), "round \(round)")
            }
            // The second round reads segments.
            try fixture.flush()
            try fixture.reopen()
        }
    }

    @Test func `the log behaves the same in memory, in segments and in both`() throws {
        var configuration = LogConfiguration(segmentBytes: 20_000)
        configuration.indexIntervalBytes = 1_000
        let fixture = try LogFixture(configuration: configuration)
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<4 {
            for _ in 0..<40 {
                fixture.append(
                    LogFixture.batch(
                        records: 1 + generator.below(4),
                        valueBytes: generator.below(700)
                    )
                )
            }
            try fixture.checkAll(maxBytes: 5_000)
            try fixture.flush()
            try fixture.checkAll(maxBytes: 5_000)
        }
        try fixture.reopen()
        for maxBytes in [1, 300, 4_096, 70_000, 1 << 30] {
            try fixture.checkAll(maxBytes: maxBytes)
        }
        fixture.append(count: 20)
        try fixture.checkAll(maxBytes: 10_000)
    }

    @Test func `as many whole batches as fit, and one if it must be`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 10, valueBytes: 300)
        let size = fixture.batches[0].bytes.count
        for cold in [false, true] {
            if cold {
                try fixture.flush()
                try fixture.reopen()
            }
            for (maxBytes, count) in [
                (size * 3, 3), (size * 3 + size - 1, 3), (size * 3 - 1, 2), (size, 1),
                (size * 100, 10),
            ] {
                let found = try fixture.read(from: 0, maxBytes: maxBytes, minOneBatch: false)
                #expect(found?.bytes.count == count * size, "\(maxBytes), cold: \(cold)")
            }
            for (minOneBatch, count) in [(false, 0), (true, 1)] {
                for maxBytes in [0, 1, size - 1] {
                    let found = try fixture.read(
                        from: 4,
                        maxBytes: maxBytes,
                        minOneBatch: minOneBatch
                    )
                    #expect(found?.bytes.count == count * size, "\(maxBytes), cold: \(cold)")
                }
            }
        }
    }

    @Test func `large batches go out as they are, small ones gathered`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 5, valueBytes: 50)
        fixture.append(LogFixture.batch(valueBytes: 50_000))
        let result = fixture.log.read(from: .zero, maxBytes: 1 << 20, minOneBatch: true)
        guard case .bytes(let rope) = result else {
            Issue.record("not in memory")
            return
        }
        #expect(rope.pieces.count == 2)
        guard case .bytes(let large) = rope.pieces[1] else { return }
        #expect(large.start == fixture.batches[5].bytes.start, "not a copy")
    }

    // MARK: The tail cache

    @Test func `flushed batches leave memory oldest first when the budget is exceeded`() throws {
        let fixture = try LogFixture(cacheBytes: 20_000)
        for _ in 0..<10 {
            fixture.append(count: 10, valueBytes: 500)
            try fixture.flush()
        }
        #expect(fixture.cache.bytes <= 20_000 && fixture.cache.bytes > 5_000)
        #expect(fixture.cache.unflushedBytes == 0)
        #expect(try fixture.read(from: 0)?.source == .segments)
        #expect(try fixture.read(from: 99)?.source == .memory)
        try fixture.checkAll(maxBytes: 3_000)
    }

    @Test func `what is in no segment stays in memory, whatever the budget`() throws {
        let fixture = try LogFixture(cacheBytes: 2_000)
        fixture.append(count: 20, valueBytes: 500)
        #expect(fixture.cache.isOverBudget)
        #expect(fixture.cache.bytes > 2_000 && fixture.log.unflushedBytes == fixture.cache.bytes)
        #expect(try fixture.read(from: 0)?.source == .memory)
        try fixture.flush()
        #expect(!fixture.cache.isOverBudget && fixture.log.unflushedBytes == 0)
        #expect(try fixture.read(from: 0)?.source == .segments)
        try fixture.checkAll()
    }

    @Test func `two logs share a budget and one that is discarded gives its part back`() throws {
        let first = try LogFixture()
        let cache = first.cache
        let directory = first.directory + "-second"
        defer { try? LogFixture.realFiles.removeTree(directory) }
        let second = try PartitionLog.open(
            directory: LogFixture.claimed(directory),
            configuration: LogConfiguration(),
            cache: cache
        )
        first.append(count: 5)
        let own = cache.bytes
        let batch = LogFixture.batch()
        batch.assign(baseOffset: .zero, leaderEpoch: LeaderEpoch(1))
        second.append(batch: batch, raftIndex: 1, term: LeaderEpoch(1))
        #expect(cache.bytes == own + batch.bytes.count)
        second.discard()
        #expect(cache.bytes == own && cache.unflushedBytes == own)
        try first.flush()
        #expect(cache.unflushedBytes == 0)
        try first.checkAll()
    }

    @Test func `batches appended during a flush are kept for the next`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 5)
        let work = try #require(fixture.log.beginFlush(now: 1, membership: ByteSlice()))
        #expect(fixture.log.beginFlush(now: 1, membership: ByteSlice()) == nil, "one at a time")
        fixture.append(count: 3)
        let result = work.perform()
        try fixture.log.finishFlush(result)
        #expect(fixture.log.flushedRaftIndex == 5 && fixture.log.appliedRaftIndex == 8)
        #expect(fixture.log.unflushedBytes == fixture.bytes(from: 5).count)
        try fixture.flush()
        #expect(fixture.log.flushedRaftIndex == 8)
        try fixture.reopen()
        #expect(fixture.log.logEndOffset == Offset(8))
        try fixture.checkAll()
    }

    // MARK: Cold reads

    @Test func `a cold read is a piece of the segment's file, fit for sendfile`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 20)
        try fixture.flush()
        try fixture.reopen()
        let result = fixture.log.read(from: Offset(3), maxBytes: 1 << 20, minOneBatch: true)
        guard case .cold(let read) = result else {
            Issue.record("not in segments")
            return
        }
        let rope = try read.perform()
        #expect(rope.pieces.count == 1)
        guard case .file(let region) = rope.pieces[0] else {
            Issue.record("no file piece")
            return
        }
        #expect((region.file as? File)?.descriptor != nil)
        #expect(region.offset == fixture.bytes(from: 0, to: 3).count)
        #expect(try LogFixture.contents(of: rope) == fixture.bytes(from: 3))
    }

    @Test func `a cold read ends with its segment, and the next goes on in the next one`() throws {
        let fixture = try LogFixture(configuration: LogConfiguration(segmentBytes: 3_000))
        fixture.append(count: 30)
        try fixture.flush()
        try fixture.reopen()
        let bases = fixture.names.filter { $0.hasSuffix(".log") }
        #expect(bases.count > 1)
        let first = try #require(try fixture.read(from: 0))
        #expect(first.bytes.count < fixture.bytes(from: 0).count)
        try fixture.checkAll()
    }

    @Test func `a reader that goes on is not led astray by remembered places`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 200, valueBytes: 200)
        try fixture.flush()
        try fixture.reopen()
        // More readers than places are remembered, each at its own pace.
        var next = (0..<30).map { Int64($0 * 3) }
        for round in 0..<20 {
            for reader in next.indices {
                let maxBytes = 300 + reader * 40 + round
                let bytes = try #require(try fixture.read(from: next[reader], maxBytes: maxBytes))
                    .bytes
                var rest = bytes
                while !rest.isEmpty {
                    let batch = try RecordBatch.framed(rest)
                    #expect(batch.baseOffset.rawValue == next[reader])
                    next[reader] = batch.nextOffset.rawValue
                    rest = rest.dropFirst(batch.bytes.count)
                }
            }
        }
    }

    @Test func `a cold read sees the segment as it was when it was asked for`() throws {
        let fixture = try LogFixture(cacheBytes: 1_000)
        fixture.append(count: 10)
        try fixture.flush()
        let result = fixture.log.read(from: .zero, maxBytes: 1 << 20, minOneBatch: true)
        guard case .cold(let read) = result else {
            Issue.record("not in segments")
            return
        }
        fixture.append(count: 10)
        try fixture.flush()
        #expect(try LogFixture.contents(of: read.perform()) == fixture.bytes(from: 0, to: 10))
        try fixture.checkAll()
    }

    @Test func `replay gives every batch from the log's start on`() throws {
        let fixture = try LogFixture(configuration: LogConfiguration(segmentBytes: 2_000))
        for _ in 0..<20 { fixture.append(LogFixture.batch(records: 2)) }
        try fixture.flush()
        fixture.log.deleteRecords(before: Offset(7))
        var found: [RecordBatch] = []
        try fixture.log.replay.forEachBatch { found.append($0) }
        #expect(found == Array(fixture.batches[3...]))
    }
}
