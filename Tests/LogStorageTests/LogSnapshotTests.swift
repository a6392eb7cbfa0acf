import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// A log's segments on their way to a node that has a part of them.
@Suite struct LogSnapshotTests {
    private static func fixture(segmentBytes: Int) throws -> LogFixture {
        var configuration = LogConfiguration(segmentBytes: segmentBytes)
        configuration.indexIntervalBytes = 300
        return try LogFixture(configuration: configuration)
    }

    /// Three epochs, of batches of several sizes.
    private static func makeLeader(_ count: Int = 40) throws -> LogFixture {
        let leader = try fixture(segmentBytes: 2_000)
        for n in 0..<count {
            leader.append(
                LogFixture.batch(
                    records: 1 + n % 3,
                    valueBytes: 40 + 37 * (n % 5),
                    timestamp: 1_000 + Int64(n) * 1_000
                ),
                term: Int32(1 + n * 3 / count)
            )
            if n % 7 == 0 { try leader.flush() }
        }
        try leader.flush()
        return leader
    }

    /// A node with other segments that has the leader's first batches.
    private static func makeFollower(of leader: LogFixture, having count: Int) throws -> LogFixture
    {
        let follower = try fixture(segmentBytes: 3_100)
        for (n, batch) in leader.batches.prefix(count).enumerated() {
            let copy = RecordBatch(committed: ByteSlice(batch.bytes.array))
            follower.append(copy, term: batch.bytes.loadBigEndian(at: 12))
            if n % 5 == 0 { try follower.flush() }
        }
        try follower.flush()
        return follower
    }

    private static func intake(
        of snapshot: LogSnapshot,
        at follower: LogFixture
    ) -> LogSnapshotIntake {
        LogSnapshotIntake(
            directory: follower.claimed,
            raftIndex: snapshot.raftIndex,
            membership: ByteSlice(),
            configuration: follower.configuration,
            own: follower.log.prefix
        )
    }

    /// Brings the leader's segments over, and the number of bytes that took.
    @discardableResult
    private static func send(
        _ leader: LogFixture,
        to follower: LogFixture,
        chunkBytes: UInt64 = 700
    ) throws -> UInt64 {
        let snapshot = leader.log.snapshot
        defer { try? snapshot.release() }
        let intake = intake(of: snapshot, at: follower)
        var sent: UInt64 = 0
        repeat {
            let count = min(chunkBytes, snapshot.byteCount - intake.next)
            try intake.write(try snapshot.read(at: intake.next, count: Int(count)))
            sent += count
        } while intake.next < snapshot.byteCount
        follower.log.beginReplacing()
        follower.log.finishReplacing(with: try intake.install())
        return sent
    }

    private static func content(_ fixture: LogFixture) throws -> [UInt8] {
        var next = fixture.log.logStartOffset.rawValue
        var found: [UInt8] = []
        while next < fixture.log.logEndOffset.rawValue {
            let (bytes, _) = try #require(try fixture.read(from: next))
            var rest = bytes
            try #require(!rest.isEmpty)
            while !rest.isEmpty {
                let batch = try RecordBatch.framed(rest)
                #expect(batch.isIntact && batch.lastOffset.rawValue >= next)
                next = batch.nextOffset.rawValue
                rest = rest.dropFirst(batch.bytes.count)
            }
            found += bytes.array
        }
        return found
    }

    private static func expectEqual(_ follower: LogFixture, _ leader: LogFixture) throws {
        #expect(try content(follower) == content(leader))
        #expect(follower.log.epochs == leader.log.epochs)
        #expect(follower.log.logStartOffset == leader.log.logStartOffset)
        #expect(follower.log.maxTimestamp == leader.log.maxTimestamp)
    }

    @Test(arguments: 0...40)
    func `only what the log lacks is sent`(having count: Int) throws {
        let leader = try Self.makeLeader()
        let follower = try Self.makeFollower(of: leader, having: count)
        let own = leader.batches.prefix(count).reduce(0) { $0 + $1.bytes.count }
        let whole = leader.log.snapshot.byteCount
        let sent = try Self.send(leader, to: follower)
        // The header, what follows it in its piece, and what is lacking.
        #expect(Int(sent) <= max(2_100, Int(whole) - own + 700), "\(sent) of \(whole)")
        try Self.expectEqual(follower, leader)
        try follower.reopen()
        try Self.expectEqual(follower, leader)
        // Each offset is found where the index of a kept or a new segment leads.
        for batch in leader.batches {
            let (bytes, _) = try #require(
                try follower.read(from: batch.lastOffset.rawValue, maxBytes: 1)
            )
            #expect(bytes == batch.bytes)
        }
    }

    @Test(arguments: [1, 61, 1_000, 1 << 20] as [UInt64])
    func `pieces of any size will do`(chunkBytes: UInt64) throws {
        let leader = try Self.makeLeader()
        let follower = try Self.makeFollower(of: leader, having: 23)
        try Self.send(leader, to: follower, chunkBytes: chunkBytes)
        try Self.expectEqual(follower, leader)
    }

    @Test(arguments: [5, 30, 55])
    func `what the leader has deleted is not kept`(start: Int64) throws {
        let leader = try Self.makeLeader()
        let follower = try Self.makeFollower(of: leader, having: 30)
        leader.log.deleteRecords(before: Offset(start))
        if let removal = leader.log.applyRetention(now: 1) {
            try leader.flush()
            try removal.perform()
        }
        try leader.flush()
        try Self.send(leader, to: follower)
        try Self.expectEqual(follower, leader)
        #expect(follower.log.replay.segments.first?.nextOffset ?? .zero > Offset(start))
    }

    /// Cannot be while segments hold committed batches alone; then the whole would come.
    @Test(arguments: [11, 20, 29])
    func `nothing is kept beyond where the leaders' epochs part`(count: Int) throws {
        let leader = try Self.makeLeader()
        let follower = try Self.makeFollower(of: leader, having: count)
        for _ in 0..<8 { follower.append(LogFixture.batch(valueBytes: 77), term: 9) }
        try follower.flush()
        try Self.send(leader, to: follower)
        try Self.expectEqual(follower, leader)
    }

    @Test func `a log that does not fit behind what was kept is found damaged`() throws {
        let leader = try Self.makeLeader()
        let follower = try Self.makeFollower(of: leader, having: 5)
        for n in 5..<20 {
            follower.append(
                LogFixture.batch(records: 1 + n % 3, valueBytes: 41),
                term: leader.batches[n].bytes.loadBigEndian(at: 12)
            )
        }
        try follower.flush()
        let before = try Self.content(follower)
        #expect(throws: LogDamage.self) { try Self.send(leader, to: follower) }
        try follower.reopen()
        #expect(try Self.content(follower) == before)
    }

    @Test(arguments: [0, 3, 500, 2_500])
    func `a content that is not whole is found so before it takes the log's place`(
        missing: UInt64
    ) throws {
        let leader = try Self.makeLeader()
        let follower = try Self.fixture(segmentBytes: 3_100)
        let snapshot = leader.log.snapshot
        defer { try? snapshot.release() }
        let intake = Self.intake(of: snapshot, at: follower)
        #expect(throws: LogDamage.self) { try intake.checkWhole() }
        try intake.write(try snapshot.read(at: 0, count: Int(snapshot.byteCount - missing)))
        if missing == 0 {
            try intake.checkWhole()
        } else {
            let damage = #expect(throws: LogDamage.self) { try intake.checkWhole() }
            #expect(damage?.problem.contains("its end is missing") == true)
        }
    }

    @Test func `a content is named by how its segments are divided`() throws {
        let one = try Self.makeLeader()
        let follower = try Self.makeFollower(of: one, having: 40)
        let snapshots = [one, one, follower].map(\.log.snapshot)
        defer { for snapshot in snapshots { try? snapshot.release() } }
        #expect(snapshots[0].contentID == snapshots[1].contentID)
        #expect(snapshots[0].raftIndex == snapshots[2].raftIndex)
        #expect(snapshots[0].contentID != snapshots[2].contentID)
    }

    @Test func `wherever the process ends, there is the old log or the new`() throws {
        let leader = try Self.makeLeader()
        var endsAt = 1
        var outcomes: [Offset: Int] = [:]
        var isDone = false
        while !isDone {
            let follower = try Self.makeFollower(of: leader, having: 23)
            let before = try Self.content(follower)
            let files = InterruptedFileSystem(LogFixture.realFiles)
            files.endsAt = endsAt
            do {
                try follower.reopen(files)
                try Self.send(leader, to: follower)
                isDone = true
            } catch {}
            try follower.reopen(LogFixture.realFiles)
            outcomes[follower.log.logEndOffset, default: 0] += 1
            if follower.log.logEndOffset == leader.log.logEndOffset {
                try Self.expectEqual(follower, leader)
            } else {
                #expect(try Self.content(follower) == before)
            }
            // Either way it is a log that goes on, and a later transfer ends well.
            try Self.send(leader, to: follower)
            try Self.expectEqual(follower, leader)
            endsAt += 1
        }
        #expect(outcomes.count == 2 && endsAt > 30, "\(outcomes)")
    }

    @Test func `without second names the whole is taken`() throws {
        let leader = try Self.makeLeader()
        let follower = try Self.makeFollower(of: leader, having: 23)
        let files = InterruptedFileSystem(LogFixture.realFiles)
        files.hasLinks = false
        try follower.reopen(files)
        #expect(try Self.send(leader, to: follower) == leader.log.snapshot.byteCount)
        try Self.expectEqual(follower, leader)
    }
}
