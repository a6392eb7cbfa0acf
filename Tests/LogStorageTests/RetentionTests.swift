import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// What goes: what is deleted, too much or too old.
@Suite struct RetentionTests {
    private static let batchBytes = LogFixture.batch().bytes.count

    /// Segments of four batches; batch n is of second n + 1.
    private func fixture(
        batches: Int = 20,
        retentionBytes: Int64 = -1,
        retentionMilliseconds: Int64 = -1
    ) throws -> LogFixture {
        let fixture = try LogFixture(
            configuration: LogConfiguration(
                segmentBytes: Self.batchBytes * 4,
                retentionBytes: retentionBytes,
                retentionMilliseconds: retentionMilliseconds
            )
        )
        fixture.append(count: batches)
        try fixture.flush()
        return fixture
    }

    /// As the broker does it: the checkpoint first, then the files.
    private func retain(_ fixture: LogFixture, now: Int64) throws -> Bool {
        guard let removal = fixture.log.applyRetention(now: now) else { return false }
        try fixture.flush()
        try removal.perform()
        return true
    }

    private func logNames(_ fixture: LogFixture) -> [String] {
        fixture.names.filter { $0.hasSuffix(".log") }
    }

    @Test func `without limits everything stays`() throws {
        let fixture = try fixture()
        #expect(try !retain(fixture, now: .max))
        #expect(logNames(fixture).count == 5 && fixture.log.logStartOffset == .zero)
    }

    @Test func `segments whose newest record is too old go`() throws {
        let fixture = try fixture(retentionMilliseconds: 5_000)
        // The newest record of the second segment is of 8,000.
        #expect(try retain(fixture, now: 9_000 + 0) == false)
        #expect(try retain(fixture, now: 9_001))
        #expect(fixture.log.logStartOffset == Offset(4))
        #expect(logNames(fixture).first == LogFixture.name(4))
        #expect(try retain(fixture, now: 13_001))
        #expect(fixture.log.logStartOffset == Offset(8))
        #expect(try fixture.read(from: 7) == nil)
        try fixture.checkAll()
        try fixture.reopen()
        #expect(fixture.log.logStartOffset == Offset(8))
        try fixture.checkAll()
    }

    @Test func `the newest segment stays, however old`() throws {
        let fixture = try fixture(retentionBytes: 0, retentionMilliseconds: 0)
        #expect(try retain(fixture, now: 1 << 50))
        #expect(fixture.log.logStartOffset == Offset(16))
        #expect(logNames(fixture) == [LogFixture.name(16)])
        try fixture.checkAll()
    }

    @Test func `the log is kept at least as large as its limit`() throws {
        let size = Int64(Self.batchBytes)
        for (limit, start) in [(20, 0), (17, 0), (16, 4), (13, 4), (12, 8), (4, 16), (0, 16)]
            as [(Int64, Int64)]
        {
            let fixture = try fixture(retentionBytes: limit * size)
            _ = try retain(fixture, now: 0)
            #expect(fixture.log.logStartOffset == Offset(start), "\(limit) batches")
            #expect(fixture.log.byteCount >= min(limit, 4) * size)
            try fixture.checkAll()
        }
    }

    @Test func `batches in memory count towards the limit`() throws {
        let fixture = try fixture(retentionBytes: Int64(Self.batchBytes) * 20)
        fixture.append(count: 4)
        #expect(try retain(fixture, now: 0))
        #expect(fixture.log.logStartOffset == Offset(4))
        try fixture.checkAll()
    }

    @Test func `records without a timestamp age from when their segment was begun`() throws {
        let fixture = try LogFixture(
            configuration: LogConfiguration(
                segmentBytes: Self.batchBytes * 2,
                retentionMilliseconds: 1_000
            )
        )
        for _ in 0..<6 { fixture.append(LogFixture.batch(timestamp: -1)) }
        try fixture.flush(now: 50_000)
        #expect(try !retain(fixture, now: 51_000))
        #expect(try retain(fixture, now: 51_001))
        #expect(fixture.log.logStartOffset == Offset(4))
    }

    // MARK: DeleteRecords

    @Test func `deleting records moves the start at once and frees whole segments later`() throws {
        let fixture = try fixture()
        fixture.log.deleteRecords(before: Offset(9))
        #expect(fixture.log.logStartOffset == Offset(9))
        #expect(try fixture.read(from: 8) == nil)
        #expect(try fixture.read(from: 9)?.bytes.isEmpty == false)
        #expect(logNames(fixture).count == 5)
        #expect(try retain(fixture, now: 0))
        #expect(logNames(fixture).first == LogFixture.name(8))
        #expect(fixture.log.logStartOffset == Offset(9))
        try fixture.reopen()
        #expect(fixture.log.logStartOffset == Offset(9))
        try fixture.checkAll()
    }

    @Test func `a start moved and flushed survives, one moved and not flushed does not`() throws {
        let fixture = try fixture()
        fixture.log.deleteRecords(before: Offset(3))
        #expect(try fixture.flush(), "a checkpoint is due")
        fixture.log.deleteRecords(before: Offset(5))
        try fixture.reopen()
        #expect(fixture.log.logStartOffset == Offset(3))
    }

    @Test func `the start moves forward only, and not beyond the end`() throws {
        let fixture = try fixture()
        fixture.log.deleteRecords(before: Offset(10))
        for offset in [-1, 0, 9, 10, 21, .max] as [Int64] {
            fixture.log.deleteRecords(before: Offset(offset))
            #expect(fixture.log.logStartOffset == Offset(10))
        }
        fixture.log.deleteRecords(before: Offset(20))
        #expect(fixture.log.logStartOffset == Offset(20))
        #expect(try fixture.read(from: 20)?.bytes.isEmpty == true)
        #expect(try fixture.read(from: 19) == nil)
        fixture.append(count: 2)
        try fixture.checkAll()
    }

    @Test func `records in memory can be deleted`() throws {
        let fixture = try LogFixture()
        fixture.append(count: 5)
        fixture.log.deleteRecords(before: Offset(3))
        #expect(try fixture.read(from: 2) == nil)
        try fixture.checkAll()
        try fixture.flush()
        try fixture.reopen()
        #expect(fixture.log.logStartOffset == Offset(3))
        try fixture.checkAll()
    }

    // MARK: While other things go on

    @Test func `nothing goes while a flush is under way`() throws {
        let fixture = try fixture(retentionMilliseconds: 0)
        fixture.append()
        let work = try #require(fixture.log.beginFlush(now: 1, membership: ByteSlice()))
        #expect(fixture.log.applyRetention(now: 1 << 40) == nil)
        try fixture.log.finishFlush(work.perform())
        #expect(fixture.log.applyRetention(now: 1 << 40) != nil)
    }

    @Test func `a process that ends before the files are removed removes them next time`() throws {
        let fixture = try fixture(retentionMilliseconds: 5_000)
        #expect(fixture.log.applyRetention(now: 1 << 40) != nil)
        try fixture.flush()
        #expect(logNames(fixture).count == 5)
        try fixture.reopen()
        #expect(logNames(fixture) == [LogFixture.name(16)])
        try fixture.checkAll()
    }

    @Test func `a process that ends before the checkpoint has all as it was`() throws {
        let fixture = try fixture(retentionMilliseconds: 5_000)
        #expect(fixture.log.applyRetention(now: 1 << 40) != nil)
        #expect(fixture.log.logStartOffset == Offset(16))
        try fixture.reopen()
        #expect(fixture.log.logStartOffset == .zero && logNames(fixture).count == 5)
        try fixture.checkAll()
    }

    @Test func `leader epochs below the start are forgotten, but for the one it lies in`() throws {
        let fixture = try LogFixture(
            configuration: LogConfiguration(
                segmentBytes: Self.batchBytes * 4,
                retentionMilliseconds: 0
            )
        )
        for n in 0..<20 { fixture.append(LogFixture.batch(), term: Int32(n / 3)) }
        try fixture.flush()
        #expect(try retain(fixture, now: 1 << 40))
        #expect(fixture.log.logStartOffset == Offset(16))
        #expect(fixture.log.epochs.entries.map(\.epoch.rawValue) == [5, 6])
    }

    @Test func `a snapshot does not bring back what retention took`() throws {
        let sender = try LogFixture()
        sender.append(count: 20)
        try sender.flush()
        let snapshot = sender.log.snapshot
        let receiver = try LogFixture()
        receiver.append(count: 10)
        receiver.log.deleteRecords(before: Offset(6))
        let intake = LogSnapshotIntake(
            directory: receiver.claimed,
            raftIndex: snapshot.raftIndex,
            membership: ByteSlice(),
            configuration: receiver.configuration
        )
        try intake.write(snapshot.read(at: 0, count: Int(snapshot.byteCount)))
        receiver.log.beginReplacing()
        receiver.log.finishReplacing(with: try intake.install())
        #expect(receiver.log.logStartOffset == Offset(6))
        #expect(receiver.log.logEndOffset == Offset(20))
        // The checkpoint that came does not say so yet.
        #expect(try receiver.flush())
        try receiver.reopen()
        #expect(receiver.log.logStartOffset == Offset(6))
    }
}
