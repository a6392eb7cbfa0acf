import Bytes
import KafkaProtocol
import Platform
import Simulator
import Testing

@testable import LogStorage

/// A partition's directory, which is made with the first file that goes into it.
@Suite struct DirectoryTests {
    private static let path = "/data/topics/orders-0"
    private static let identity = path + "/partition.metadata"

    private static func claimed(_ files: FileSystem, topic: String = "one") -> ClaimedDirectory {
        LogFixture.claimed(path, files, topic: topic)
    }

    private static func open(_ files: FileSystem, topic: String = "one") throws -> PartitionLog {
        try PartitionLog.open(
            directory: claimed(files, topic: topic),
            configuration: LogConfiguration(segmentBytes: 2_000),
            cache: TailCache(budget: 64 << 20)
        )
    }

    /// Commits batches as far as the log does not have them yet.
    private static func append(to log: PartitionLog, until end: Int64 = 20) {
        while log.logEndOffset < Offset(end) {
            let batch = LogFixture.batch()
            batch.assign(baseOffset: log.logEndOffset, leaderEpoch: LeaderEpoch(1))
            let next = log.appliedRaftIndex + 1
            log.append(batch: batch, raftIndex: next, term: LeaderEpoch(1))
        }
    }

    @discardableResult
    private static func flush(_ log: PartitionLog) throws(FileError) -> Bool {
        guard let work = log.beginFlush(now: 10_000, membership: ByteSlice()) else { return false }
        try log.finishFlush(work.perform())
        return true
    }

    /// A disk on which directories above the partition's are durable, as a node leaves them.
    private static func disk(seed: UInt64) throws -> SimulatedFileSystem {
        let files = SimulatedFileSystem(Simulation(seed: seed))
        try files.createDirectory("/data/topics")
        try files.syncDirectory("/")
        try files.syncDirectory("/data")
        return files
    }

    @Test func `a log is used without a directory until it is flushed`() throws {
        let files = try Self.disk(seed: 1)
        let log = try Self.open(files)
        Self.append(to: log)
        #expect(log.applyRetention(now: 10_000) == nil)
        log.deleteRecords(before: Offset(5))
        guard case .bytes = log.read(from: Offset(7), maxBytes: 100, minOneBatch: true) else {
            Issue.record("what was appended cannot be read")
            return
        }
        log.trim()
        #expect(log.snapshot.byteCount > 0 && log.replay.isEmpty)
        #expect(!files.exists(Self.path))
        try Self.flush(log)
        let names = try files.list(Self.path)
        #expect(names.contains("partition.metadata") && names.contains("checkpoint"))
        let again = try Self.open(files)
        #expect(again.logStartOffset == Offset(5) && again.logEndOffset == Offset(20))
    }

    @Test func `a removal of what is not there yet makes the directory as a flush does`() throws {
        let files = try Self.disk(seed: 1)
        let log = try Self.open(files)
        Self.append(to: log)
        let work = try #require(log.beginRemoval(now: 10_000))
        try log.finishFlush(work.perform())
        #expect(try Self.open(files).logEndOffset == .zero)
        try Self.flush(log)
        #expect(try Self.open(files).logEndOffset == Offset(20))
    }

    @Test func `the power may fail at any moment of the first flush`() throws {
        var cuts = 0
        for place in 1...60 {
            for seed in 1...5 as ClosedRange<UInt64> {
                let files = try Self.disk(seed: seed)
                let log = try Self.open(files)
                Self.append(to: log)
                files.changesUntilPowerCut = place
                let isDone = (try? Self.flush(log)) == true
                if !isDone { cuts += 1 }
                files.powerOn()
                #expect(
                    !files.exists(Self.path + "/checkpoint") || files.exists(Self.identity),
                    "a log of nobody after \(place) changes, seed \(seed)"
                )
                let after = try Self.open(files)
                let end = after.logEndOffset.rawValue
                #expect(isDone ? end == 20 : end == 0 || end == 20, "\(place), seed \(seed)")
                Self.append(to: after, until: 23)
                try Self.flush(after)
                files.powerOn()
                #expect(try Self.open(files).logEndOffset == Offset(23), "\(place), \(seed)")
            }
        }
        #expect(cuts > 100 && cuts < 300, "the power has failed in every change once")
    }

    @Test func `what failed once in the first flush is durable after the second`() throws {
        var failures = 0
        for place in 1...60 {
            for seed in 1...3 as ClosedRange<UInt64> {
                let files = try Self.disk(seed: seed)
                let log = try Self.open(files)
                Self.append(to: log)
                var left = place
                files.failure = { operation, _ in
                    guard operation != .read else { return nil }
                    left -= 1
                    return left == 0 ? .noSpace : nil
                }
                do { try Self.flush(log) } catch {
                    #expect(error.reason == .noSpace)
                    failures += 1
                    #expect(log.flushedRaftIndex == 0, "vouched for without a checkpoint")
                    try Self.flush(log)
                }
                files.failure = nil
                files.powerOn()
                #expect(try Self.open(files).logEndOffset == Offset(20), "\(place), seed \(seed)")
                #expect(files.exists(Self.identity))
            }
        }
        #expect(failures > 60 && failures < 180, "each operation has failed once")
    }

    @Test func `what another topic of the name left goes, with its files`() throws {
        let files = try Self.disk(seed: 1)
        let old = try Self.open(files, topic: "old")
        Self.append(to: old)
        try Self.flush(old)
        let log = try Self.open(files, topic: "new")
        #expect(log.logEndOffset == .zero && !files.exists(Self.path))
        Self.append(to: log, until: 3)
        try Self.flush(log)
        #expect(try Self.open(files, topic: "new").logEndOffset == Offset(3))
        #expect(try Self.open(files, topic: "old").logEndOffset == .zero)
    }

    @Test func `a log that is deleted writes nothing any more`() throws {
        let files = try Self.disk(seed: 1)
        let log = try Self.open(files)
        Self.append(to: log)
        let work = try #require(log.beginFlush(now: 10_000, membership: ByteSlice()))
        log.discard()
        try log.finishFlush(work.perform())
        try PartitionDirectory(path: Self.path, files: files).remove()
        log.deleteRecords(before: Offset(3))
        #expect(
            log.beginFlush(now: 10_000, membership: ByteSlice()) == nil
                && log.beginRemoval(now: 10_000) == nil
        )
        #expect(!files.exists(Self.path))
        // One that never had a directory is removed as well.
        try PartitionDirectory(path: Self.path, files: files).remove()
    }

    @Test(arguments: [true, false])
    func `a directory that was made with the topic is taken over`(hasIdentity: Bool) throws {
        let files = try Self.disk(seed: 1)
        try files.createDirectory(Self.path)
        if hasIdentity {
            try files.replaceAtomically(
                Self.identity,
                with: ByteSlice("version: 0\ntopic_id: one\n")
            )
        }
        for end in [0, 20] as [Int64] {
            let log = try Self.open(files)
            #expect(log.logEndOffset == .zero && files.exists(Self.identity))
            Self.append(to: log, until: end)
            try Self.flush(log)
        }
        files.powerOn()
        #expect(try Self.open(files).logEndOffset == Offset(20))
    }
}
