import Bytes
import Foundation
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// A partition's log in a temporary folder, and what was put into it.
final class LogFixture {
    private static let platform = RealPlatform(loopCount: 1)
    static let realFiles = platform.files

    let directory: String
    /// The directory as the log knows it.
    private(set) var claimed: ClaimedDirectory
    var files: FileSystem
    let cache: TailCache
    var configuration: LogConfiguration
    private(set) var log: PartitionLog
    /// The batches that were appended, oldest first.
    private(set) var batches: [RecordBatch] = []
    private var raftIndex: UInt64 = 0

    init(
        configuration: LogConfiguration = LogConfiguration(),
        cacheBytes: Int = 64 << 20,
        files: FileSystem = realFiles
    ) throws {
        directory = "/var/tmp/chronik-log-\(UUID().uuidString)"
        self.files = files
        self.configuration = configuration
        cache = TailCache(budget: cacheBytes)
        claimed = Self.claimed(directory, files)
        log = try PartitionLog.open(
            directory: claimed,
            configuration: configuration,
            cache: cache
        )
    }

    deinit {
        log.discard()
        try? FileManager.default.removeItem(atPath: directory)
    }

    static func claimed(
        _ directory: String,
        _ files: FileSystem = realFiles,
        topic: String = "one"
    ) -> ClaimedDirectory {
        ClaimedDirectory(PartitionDirectory(path: directory, files: files), topicID: topic)
    }

    // MARK: Writing

    /// A batch without a place in the log yet.
    static func batch(
        records: Int = 1,
        valueBytes: Int = 100,
        timestamp: Int64 = 1_000,
        producerID: Int64 = -1,
        epoch: Int16 = -1,
        sequence: Int32 = -1
    ) -> RecordBatch {
        var builder = RecordBatchBuilder(baseTimestamp: timestamp)
        builder.producerID = producerID
        builder.producerEpoch = epoch
        builder.baseSequence = sequence
        for n in 0..<records {
            builder.append(
                key: ByteSlice("key \(n)"),
                value: ByteSlice(
                    [UInt8](repeating: UInt8(truncatingIfNeeded: n), count: valueBytes)
                ),
                timestamp: timestamp + Int64(n)
            )
        }
        return builder.finish()
    }

    @discardableResult
    func append(_ batch: RecordBatch = batch(), term: Int32 = 1) -> RecordBatch {
        raftIndex += 1
        batch.assign(baseOffset: log.logEndOffset, leaderEpoch: LeaderEpoch(term))
        log.append(batch: batch, raftIndex: raftIndex, term: LeaderEpoch(term))
        batches.append(batch)
        return batch
    }

    /// Appends batches of one record, a second apart.
    func append(count: Int, valueBytes: Int = 100, from timestamp: Int64 = 1_000) {
        for n in 0..<count {
            append(Self.batch(valueBytes: valueBytes, timestamp: timestamp + Int64(n) * 1_000))
        }
    }

    /// Writes what is in memory alone into segments; false when there is nothing to do.
    @discardableResult
    func flush(now: Int64 = 10_000) throws(FileError) -> Bool {
        guard let work = log.beginFlush(now: now, membership: ByteSlice()) else { return false }
        try log.finishFlush(work.perform())
        return true
    }

    /// Starts again from the files, as a process does that was killed.
    ///
    /// Forgets the batches that the checkpoint does not vouch for.
    func reopen(_ files: FileSystem? = nil) throws {
        log.discard()
        self.files = files ?? self.files
        claimed = Self.claimed(directory, self.files)
        log = try PartitionLog.open(
            directory: claimed,
            configuration: configuration,
            cache: cache
        )
        raftIndex = log.appliedRaftIndex
        batches.removeAll { $0.baseOffset >= log.logEndOffset }
    }

    // MARK: Reading

    enum Source { case memory, segments }

    /// The bytes from an offset on, and where they came from; `nil` when it is out of range.
    func read(
        from offset: Int64,
        maxBytes: Int = 1 << 30,
        minOneBatch: Bool = true
    ) throws -> (bytes: ByteSlice, source: Source)? {
        switch log.read(from: Offset(offset), maxBytes: maxBytes, minOneBatch: minOneBatch) {
        case .offsetOutOfRange: nil
        case .bytes(let rope): (try Self.contents(of: rope), .memory)
        case .cold(let read): (try Self.contents(of: read.perform()), .segments)
        }
    }

    /// What a connection would send.
    static func contents(of rope: ByteRope) throws -> ByteSlice {
        var bytes: [UInt8] = []
        for piece in rope.pieces {
            switch piece {
            case .bytes(let slice): bytes += slice.array
            case .file(let region):
                let file = try #require(region.file as? File)
                let storage = ByteStorage(capacity: region.count)
                let n = try file.read(
                    into: UnsafeMutableRawBufferPointer(start: storage.start, count: region.count),
                    at: region.offset
                )
                bytes += storage.slice(0..<n).array
            }
        }
        return ByteSlice(bytes)
    }

    /// The bytes of the batches that hold these offsets.
    func bytes(from: Int64, to: Int64 = .max) -> ByteSlice {
        ByteSlice(
            batches.filter { $0.lastOffset.rawValue >= from && $0.baseOffset.rawValue < to }
                .flatMap(\.bytes.array)
        )
    }

    /// Reads on from where the last read ended, as a consumer does, and compares all of it.
    func checkAll(from start: Int64? = nil, maxBytes: Int = 1 << 30) throws {
        let start = start ?? log.logStartOffset.rawValue
        var next = start
        var found: [UInt8] = []
        while next < log.logEndOffset.rawValue {
            guard let (bytes, _) = try read(from: next, maxBytes: maxBytes) else {
                Issue.record("offset \(next) is out of range")
                return
            }
            var rest = bytes
            guard !rest.isEmpty else {
                Issue.record("nothing at offset \(next)")
                return
            }
            while !rest.isEmpty {
                let batch = try RecordBatch.framed(rest)
                #expect(batch.isIntact && batch.lastOffset.rawValue >= next)
                next = batch.nextOffset.rawValue
                rest = rest.dropFirst(batch.bytes.count)
            }
            found += bytes.array
        }
        #expect(next == log.logEndOffset.rawValue)
        #expect(ByteSlice(found) == bytes(from: start))
    }

    // MARK: Files

    /// The names in the log's folder.
    var names: [String] { (try? Self.realFiles.list(directory)) ?? [] }

    func path(_ name: String) -> String { directory + "/" + name }

    func size(_ name: String) throws -> Int { try Self.realFiles.open(path(name), .read).size() }

    static func name(_ base: Int64, _ ending: String = "log") -> String {
        let digits = String(base)
        return String(repeating: "0", count: 20 - digits.count) + digits + "." + ending
    }

    /// Changes a file behind the log's back.
    func damage(_ name: String, _ change: (inout [UInt8]) -> Void) throws {
        var bytes = try Self.realFiles.readAll(path(name), limit: 1 << 30).array
        change(&bytes)
        let file = try Self.realFiles.open(path(name), .replace)
        try ByteSlice(bytes).withUnsafeBytes { (buffer) throws(FileError) in
            try file.write(buffer, at: 0)
        }
    }
}
