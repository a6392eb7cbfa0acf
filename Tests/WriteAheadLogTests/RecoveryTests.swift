import Bytes
import Platform
import Testing

@testable import WriteAheadLog

@Suite struct RecoveryTests {
    private func file(_ sequence: UInt64) -> String { "/wal/" + FileName.log(sequence) }

    /// A log of some files, not closed.
    private func someLog(_ batches: Int = 60) throws -> LogHarness {
        let harness = LogHarness()
        try harness.open()
        for _ in 0..<batches { harness.write(2) }
        return harness
    }

    private func lastPosition(_ harness: LogHarness) throws -> WALPosition {
        try #require(harness.positions[harness.acknowledged - 1])
    }

    @Test func `an empty directory becomes an empty log`() throws {
        let harness = LogHarness()
        try harness.open()
        #expect(harness.found.isEmpty)
        try harness.open()
        #expect(harness.found.isEmpty)
        #expect(harness.files.paths == [file(1)])
    }

    @Test func `a torn tail is cut, and the log goes on there`() throws {
        let harness = try someLog()
        let torn = try lastPosition(harness)
        harness.files.change(file(torn.file)) { $0[torn.offset + 20] ^= 0x40 }
        try harness.open()
        #expect(harness.found == Array(0..<118))
        for _ in 0..<20 { harness.write(1) }
        let all = harness.submitted
        try harness.open()
        #expect(harness.found == all)
    }

    @Test func `damage before a valid batch is refused`() throws {
        let harness = try someLog()
        for number in [0, 16, 60, 116] {
            let copy = LogHarness(harness.files.duplicate())
            let position = try #require(harness.positions[number])
            copy.files.change(file(position.file)) { $0[position.offset + 41] ^= 1 }
            #expect {
                try copy.open()
            } throws: { error in
                guard case .damaged(let path, let offset, let remedy) = error as? WALError else {
                    return false
                }
                return path == file(position.file)
                    && offset == WALBlock.roundedDown(position.offset) && !remedy.isEmpty
            }
            // Nothing was touched.
            copy.files.change(file(position.file)) { $0[position.offset + 41] ^= 1 }
            try copy.open()
            #expect(copy.found == Array(0..<120))
        }
    }

    @Test func `after a clean shutdown damage to the last batch is refused`() throws {
        let harness = try someLog()
        let last = try lastPosition(harness)
        #expect(harness.close() == nil)
        let intact = harness.files.duplicate()
        harness.files.change(file(last.file)) { $0[last.offset + 1] ^= 1 }
        #expect(throws: WALError.self) { try harness.open() }
        harness.files.change(file(last.file)) { $0.removeLast($0.count - last.offset) }
        #expect(throws: WALError.self) { try harness.open() }
        let again = LogHarness(intact)
        try again.open()
        #expect(again.found == Array(0..<120))
    }

    @Test func `the marker of a clean shutdown is gone before anything is written`() throws {
        let harness = try someLog()
        #expect(harness.close() == nil)
        #expect(harness.files.exists("/wal/clean-shutdown"))
        try harness.open()
        #expect(!harness.files.exists("/wal/clean-shutdown"))
        harness.write(3)
        try harness.open()
        #expect(harness.found == Array(0..<123))
    }

    @Test func `a damaged marker is refused with its name`() throws {
        let harness = try someLog(3)
        #expect(harness.close() == nil)
        harness.files.change("/wal/clean-shutdown") { $0[20] ^= 1 }
        #expect {
            try harness.open()
        } throws: { error in
            guard case .damaged("/wal/clean-shutdown", _, _) = error as? WALError else {
                return false
            }
            return true
        }
        try harness.files.remove("/wal/clean-shutdown")
        try harness.open()
        #expect(harness.found == Array(0..<6))
    }

    @Test func `a missing file in the middle is refused`() throws {
        let harness = try someLog(120)
        let middle = try lastPosition(harness).file - 2
        try harness.files.remove(file(middle))
        #expect(throws: WALError.self) { try harness.open() }
    }

    @Test func `a file whose name is another's is refused`() throws {
        let harness = try someLog(120)
        let last = try lastPosition(harness).file
        try harness.files.rename(file(last - 1), to: file(last + 7))
        #expect(throws: WALError.self) { try harness.open() }
    }

    @Test func `a damaged file header is refused`() throws {
        let harness = try someLog()
        harness.files.change(file(2)) { $0[17] ^= 1 }
        #expect(throws: WALError.self) { try harness.open() }
    }

    @Test func `a later format is refused as such`() throws {
        let harness = try someLog()
        harness.files.change(file(1)) { bytes in
            bytes[8] = 9
            bytes.withUnsafeMutableBytes { all in
                let checksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: all[0..<32]))
                all.storeBytes(of: checksum.littleEndian, toByteOffset: 32, as: UInt32.self)
            }
        }
        #expect(throws: WALError.unsupportedFormat(file: file(1), version: 9)) {
            try harness.open()
        }
    }

    @Test func `a file shorter than it was made is used as far as it goes`() throws {
        let harness = LogHarness.roomy()
        try harness.open()
        for _ in 0..<4 { harness.write(2) }
        let end = try lastPosition(harness).end
        harness.files.change(file(1)) { $0.removeLast($0.count - end) }
        try harness.open()
        #expect(harness.found == Array(0..<8))
        for _ in 0..<40 { harness.write(1) }
        try harness.open()
        #expect(harness.found == Array(0..<48))
    }

    @Test func `leftovers of making and recycling files are cleared away or used`() throws {
        let harness = try someLog(3)
        _ = try harness.files.open("/wal/" + FileName.new(77), .create)
        let free = "/wal/" + FileName.free(0)
        let file = try harness.files.open(free, .create)
        let rubbish = ByteSlice([UInt8](repeating: 0xAB, count: 20_000))
        try rubbish.withUnsafeBytes { (bytes) throws(FileError) in try file.write(bytes, at: 0) }
        try harness.open()
        #expect(!harness.files.exists("/wal/" + FileName.new(77)))
        for _ in 0..<60 { harness.write(2) }
        #expect(!harness.files.exists(free))
        let all = harness.submitted
        try harness.open()
        #expect(harness.found == all)
    }

    @Test func `batches of an earlier life of a file are never taken for its own`() throws {
        let harness = try someLog(120)
        guard let log = harness.log else { return }
        log.release(before: try lastPosition(harness).file)
        harness.machine.settle()
        for round in 0..<30 {
            harness.write(3)
            let copy = LogHarness(seed: UInt64(round), harness.files.duplicate())
            try copy.open()
            #expect(copy.found.suffix(3) == harness.submitted.suffix(3))
        }
    }

    @Test func `a batch torn and replaced leaves nothing that could be mistaken`() throws {
        let harness = LogHarness()
        try harness.open()
        harness.write(5)
        harness.write(300)
        // The header survives and the rest does not: the batch is cut, its header stays.
        let torn = try #require(harness.positions[250])
        harness.files.change(file(torn.file)) { $0[torn.offset + 2] ^= 1 }
        try harness.open()
        #expect(harness.found == Array(0..<5))
        harness.files.cutAt = harness.files.operations + 1
        harness.submit(300)
        harness.machine.drain()
        var generator = SeededGenerator(seed: 5)
        harness.files.restart(&generator)
        try harness.open()
        #expect(harness.found == Array(0..<5))
    }

    @Test func `an owner that cannot take a record ends recovery with its place`() throws {
        let harness = try someLog(3)
        #expect {
            try GroupCommitWAL.open(
                harness.configuration,
                files: harness.files,
                worker: harness.machine.writing,
                preparer: harness.machine.preparing,
                clock: harness.machine.clock,
                generator: SeededGenerator(seed: 1)
            ) { _, _, _ in throw TestRecord.Wrong(found: "nothing") }
        } throws: { error in
            guard case .rejected(let path, 4152, _) = error as? WALError else { return false }
            return path == file(1)
        }
    }

    @Test func `scanning arbitrary bytes finds what is intact and never traps`() throws {
        let harness = try someLog(10)
        let bytes = harness.files.contents(file(1))
        var count = 0
        WALRecovery.scan(ByteSlice(bytes)) { header, payload, _ in
            let number = try TestRecord.number(of: header, payload)
            #expect(number == count)
            count += 1
        }
        #expect(count > 0)
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<300 {
            var copy = bytes
            for _ in 0...generator.below(20) {
                copy[generator.below(copy.count)] = UInt8(truncatingIfNeeded: generator.next())
            }
            copy.removeLast(generator.below(copy.count))
            WALRecovery.scan(ByteSlice(copy)) { header, payload, _ in
                _ = try TestRecord.number(of: header, payload)
            }
        }
    }

    @Test(arguments: 1...10)
    func `a file whose name a killed process left unsynced keeps what is written to it`(
        _ seed: UInt64
    ) throws {
        var generator = SeededGenerator(seed: seed)
        let harness = LogHarness(seed: seed)
        let noDirectorySync: (FaultyFileSystem.Operation, String) -> FileError.Reason? = {
            operation,
            _ in operation == .syncDirectory ? .inputOutput : nil
        }
        try harness.open()
        harness.files.failure = noDirectorySync
        for _ in 0..<200 where !harness.files.paths.contains("/wal/0000000000000002.wal") {
            harness.write()
        }
        try #require(harness.files.paths.contains("/wal/0000000000000002.wal"))
        harness.files.failure = { _, _ in nil }
        harness.files.comeBack()

        try harness.open()
        harness.files.failure = noDirectorySync
        for _ in 0..<400 where harness.positions.values.allSatisfy({ $0.file < 2 }) {
            harness.write()
        }
        try #require(harness.positions.values.contains { $0.file == 2 })
        harness.files.failure = { _, _ in nil }
        harness.files.restart(&generator)
        let (kept, durable) = (harness.submitted, harness.acknowledged)
        try harness.open()
        #expect(harness.found == Array(kept.prefix(harness.found.count)))
        #expect(harness.found.count >= durable)
    }
}
