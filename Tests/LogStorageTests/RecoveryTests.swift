import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// What a log is after its process ended, cleanly or not.
@Suite struct RecoveryTests {
    @Test func `everything the checkpoint vouches for comes back`() throws {
        var configuration = LogConfiguration(segmentBytes: 3_000)
        configuration.indexIntervalBytes = 300
        let fixture = try LogFixture(configuration: configuration)
        for term in Int32(1)...4 {
            for sequence in 0..<5 {
                let batch = LogFixture.batch(
                    timestamp: Int64(term) * 1_000 + Int64(sequence),
                    producerID: Int64(term % 2),
                    epoch: Int16(term),
                    sequence: Int32(sequence)
                )
                fixture.append(batch, term: term)
            }
        }
        fixture.log.advance(raftIndex: 33, term: LeaderEpoch(5))
        fixture.log.deleteRecords(before: Offset(2))
        try fixture.flush()
        let before = fixture.log
        let (segments, epochs) = (before.replay.segments, before.epochs)
        let (producers, newest) = (before.producers, before.maxTimestamp)
        try fixture.reopen()
        let log = fixture.log
        #expect(log.logStartOffset == Offset(2) && log.logEndOffset == Offset(20))
        #expect(log.appliedRaftIndex == 33 && log.flushedRaftIndex == 33)
        #expect(log.appliedTerm == LeaderEpoch(5))
        #expect(log.epochs == epochs && log.producers == producers)
        #expect(log.replay.segments == segments && log.maxTimestamp == newest)
        #expect(try !fixture.flush(), "nothing is due")
        try fixture.checkAll()
    }

    @Test func `what was not flushed is gone, and may be appended again`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 10)
        try fixture.flush()
        fixture.append(count: 5)
        try fixture.reopen()
        #expect(fixture.log.logEndOffset == Offset(10) && fixture.log.appliedRaftIndex == 10)
        fixture.append(count: 7, valueBytes: 33)
        try fixture.flush()
        try fixture.reopen()
        #expect(fixture.log.logEndOffset == Offset(17))
        try fixture.checkAll()
    }

    @Test func `an entry without records moves the checkpoint as well`() throws {
        let fixture = try LogFixture()
        fixture.log.advance(raftIndex: 7, term: LeaderEpoch(3))
        #expect(try fixture.flush())
        try fixture.reopen()
        #expect(fixture.log.appliedRaftIndex == 7 && fixture.log.logEndOffset == .zero)
        fixture.append()
        try fixture.checkAll()
    }

    @Test func `what a crash left beyond the checkpoint is cut`() throws {
        let fixture = try LogFixture(configuration: LogConfiguration(segmentBytes: 2_000))
        fixture.append(count: 15)
        try fixture.flush()
        let names = fixture.names
        let last = try #require(names.last { $0.hasSuffix(".log") })
        try fixture.damage(last) { $0 += [UInt8](repeating: 0xee, count: 10_000) }
        for ending in ["index", "timeindex"] {
            let name = last.replacing("log", with: ending)
            try fixture.damage(name) { $0 += [UInt8](repeating: 0xee, count: 24) }
        }
        for name in [
            LogFixture.name(15), LogFixture.name(15, "index"), LogFixture.name(15, "timeindex"),
            "checkpoint.tmp",
        ] { _ = try LogFixture.realFiles.open(fixture.path(name), .create) }
        try fixture.reopen()
        #expect(fixture.names == names)
        #expect(fixture.log.logEndOffset == Offset(15))
        try fixture.checkAll()
        fixture.append(count: 30)
        try fixture.flush()
        try fixture.reopen()
        try fixture.checkAll()
        #expect(try fixture.log.replay.segments.allSatisfy { try indexIsRight($0) })
    }

    /// Whether every index entry is the beginning of the batch it names.
    private func indexIsRight(_ segment: Segment) throws -> Bool {
        var scan = try BatchScan(segment, from: 0)
        var lastOffsets: [Int: Offset] = [:]
        while let header = try scan.next() { lastOffsets[header.position] = header.lastOffset }
        let entries = try LogFixture.realFiles.readAll(segment.files.indexPath, limit: 1 << 20)
        return (0..<segment.indexEntries).allSatisfy {
            let relative = entries.loadBigEndian(at: $0 * 8, as: UInt32.self)
            let position = entries.loadBigEndian(at: $0 * 8 + 4, as: UInt32.self)
            return lastOffsets[Int(position)] == segment.baseOffset + Int64(relative)
        }
    }

    @Test func `a process may end in any operation of a flush`() throws {
        var ends = 0
        for place in 1...60 {
            let files = InterruptedFileSystem(LogFixture.realFiles)
            let fixture = try LogFixture(
                configuration: LogConfiguration(segmentBytes: 2_000),
                files: files
            )
            fixture.append(count: 6)
            try fixture.flush()
            fixture.append(count: 20)
            files.endsAt = files.operations + place
            let isDone = (try? fixture.flush()) == true
            if !isDone { ends += 1 }
            let kept = fixture.batches
            try fixture.reopen(LogFixture.realFiles)
            let end = fixture.log.logEndOffset.rawValue
            // The checkpoint may be in place already when its flush is not told so.
            #expect(isDone ? end == 26 : end == 6 || end == 26, "after \(place) operations")
            try fixture.checkAll()
            for batch in kept[Int(end)...] { fixture.append(batch) }
            fixture.append(count: 3)
            try fixture.flush()
            try fixture.reopen()
            #expect(fixture.log.logEndOffset == Offset(29))
            try fixture.checkAll()
        }
        #expect(ends > 20 && ends < 60, "the process has ended in every operation once")
    }
}
