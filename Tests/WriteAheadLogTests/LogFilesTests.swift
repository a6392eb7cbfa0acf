import Platform
import Testing

@testable import WriteAheadLog

@Suite struct LogFilesTests {
    @Test func `the next file is ready before it is needed`() throws {
        let harness = LogHarness()
        try harness.open()
        var sequences: Set<UInt64> = []
        for number in 0..<200 {
            harness.write(1)
            if let position = harness.positions[number] { sequences.insert(position.file) }
        }
        #expect(sequences.count > 3)
        // Full-size files but the first: none had to grow.
        for path in harness.files.paths.dropFirst() where path.hasSuffix(".wal") {
            #expect(harness.files.contents(path).count == 32 << 10)
        }
    }

    @Test func `each file is twice the one before, up to the size of a file`() throws {
        let harness = LogHarness()
        harness.configuration.fileBytes = 128 << 10
        harness.configuration.totalBytes = 1 << 20
        try harness.open()
        while harness.logSizes.count < 6 { harness.write(1) }
        #expect(harness.logSizes == [16, 32, 64, 128, 128, 128].map { $0 << 10 })
        // As after a restart: what there is says how much the log takes.
        let next = harness.logSizes.count + 1
        try harness.open()
        while harness.logSizes.count < next { harness.write(1) }
        #expect(harness.logSizes.last == 128 << 10)
    }

    @Test func `a recycled file keeps what it has, and a small one is brought to size`() throws {
        let harness = LogHarness()
        harness.configuration.fileBytes = 64 << 10
        harness.configuration.totalBytes = 512 << 10
        let log = try harness.open()
        while harness.logSizes.count < 4 { harness.write(1) }
        #expect(harness.logSizes == [16, 32, 64, 64].map { $0 << 10 })
        log.release(before: try #require(harness.positions[harness.acknowledged - 1]).file)
        harness.machine.settle()
        let current = log.inventory.oldestSequence
        while harness.positions[harness.acknowledged - 1]?.file != current + 4 { harness.write(1) }
        #expect(harness.logSizes.allSatisfy { $0 == 64 << 10 })
        #expect(!harness.files.paths.contains { $0.hasSuffix(".free") })
        let all = harness.submitted
        try harness.open()
        #expect(harness.found == all.suffix(harness.found.count))
    }

    @Test func `without a next file the one in use grows`() throws {
        let harness = LogHarness()
        try harness.open()
        harness.files.failure = { operation, path in
            operation == .rename && path.hasSuffix(".new") ? .inputOutput : nil
        }
        for _ in 0..<100 { harness.write(2) }
        #expect(harness.acknowledged == 200)
        #expect(harness.files.paths == ["/wal/" + FileName.log(1)])
        harness.files.failure = { _, _ in nil }
        harness.machine.clock.now += .seconds(1)
        for _ in 0..<100 { harness.write(2) }
        #expect(harness.files.paths.count > 1)
        try harness.open()
        #expect(harness.found == Array(0..<400))
    }

    @Test func `a file that grew is recycled, at the size of the others`() throws {
        let harness = LogHarness()
        harness.configuration.fileBytes = 64 << 10
        harness.configuration.totalBytes = 1 << 20
        let log = try harness.open()
        harness.files.failure = { operation, path in
            operation == .rename && path.hasSuffix(".new") ? .inputOutput : nil
        }
        while harness.logSizes[0] <= 64 << 10 { harness.write(1) }
        harness.files.failure = { _, _ in nil }
        harness.machine.clock.now += .seconds(1)
        let grown = try #require(harness.positions[0]).file
        while harness.positions[harness.acknowledged - 1]?.file == grown { harness.write(1) }
        log.release(before: grown + 1)
        harness.machine.settle()
        #expect(harness.sizes(".free") == [64 << 10])
        while harness.files.paths.contains(where: { $0.hasSuffix(".free") }) { harness.write(1) }
        #expect(harness.logSizes.allSatisfy { $0 <= 64 << 10 })
        let all = harness.submitted
        try harness.open()
        #expect(harness.found == all.suffix(harness.found.count))
    }

    @Test func `what is kept to be recycled leaves room for a file that grew`() throws {
        let harness = LogHarness()
        harness.configuration.fileBytes = 64 << 10
        harness.configuration.totalBytes = 512 << 10
        let log = try harness.open()
        while harness.logSizes.count < 5 { harness.write(1) }
        harness.files.failure = { operation, path in
            operation == .rename && path.hasSuffix(".new") ? .inputOutput : nil
        }
        while (harness.logSizes.last ?? 0) < 400 << 10 { harness.write(1) }
        log.release(before: try #require(harness.positions[harness.acknowledged - 1]).file)
        harness.machine.settle()
        #expect(harness.logSizes.count == 1 && !harness.sizes(".free").isEmpty)
        #expect(harness.files.usedBytes <= harness.configuration.totalBytes)
    }

    @Test func `released files are recycled and what they held is gone`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        for _ in 0..<100 { harness.write(2) }
        let old = try #require(harness.positions[0])
        let current = try #require(harness.positions[199]).file
        log.release(before: current)
        harness.machine.settle()
        #expect(log.oldestFile == current)
        #expect(throws: WALError.released(file: old.file)) { try log.read(old) }
        let free = harness.files.paths.filter { $0.hasSuffix(".free") }
        #expect(!free.isEmpty)
        let total = harness.files.usedBytes
        for _ in 0..<10 { harness.write(2) }
        #expect(harness.files.paths.filter { $0.hasSuffix(".free") }.count < free.count)
        #expect(harness.files.usedBytes <= total + 32 << 10)
        try harness.open()
        #expect(harness.found.last == 219)
        #expect(harness.found == Array((harness.found.first ?? 0)..<220))
        #expect((harness.found.first ?? 0) > 0)
    }

    @Test func `who waits for a file is called as directly after many files as at first`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        nonisolated(unsafe) var depths: [Int] = []
        log.inventory.setAvailabilityHandler {
            let here = 0
            withUnsafePointer(to: here) { depths.append(Int(bitPattern: $0)) }
        }
        for _ in 0..<20 {
            for _ in 0..<20 { harness.write(2) }
            log.release(before: log.inventory.oldestSequence + 1)
            harness.machine.settle()
        }
        // By kind: a file was made, a file was given back.
        #expect(depths.count > 20)
        #expect(Set(depths).count <= 2, "the stack grows: \(depths.map { depths[0] - $0 })")
    }

    @Test func `the file being written is never released`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        harness.write(5)
        log.release(before: .max)
        harness.machine.settle()
        try harness.checkRead(3)
        try harness.open()
        #expect(harness.found == Array(0..<5))
    }

    @Test func `the owner is asked for space at half of it, and told when it is over it`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        nonisolated(unsafe) var asked: [UInt64] = []
        log.onPressure { asked.append($0) }
        harness.machine.settle()
        #expect(asked.isEmpty)
        while asked.isEmpty { harness.write(3) }
        #expect(log.liveBytes > harness.configuration.totalBytes / 2)
        #expect(asked[0] > 1)
        #expect(!log.isOverLimit)
        while !log.isOverLimit { harness.write(3) }
        log.release(before: asked.last ?? 0)
        harness.machine.settle()
        #expect(!log.isOverLimit)
        // Files beyond the limit were removed and not kept.
        #expect(harness.files.usedBytes <= harness.configuration.totalBytes + 64 << 10)
    }

    @Test func `over its limit the log asks again until enough was given back`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        nonisolated(unsafe) var asked: [UInt64] = []
        log.onPressure { asked.append($0) }
        while !log.isOverLimit { harness.write(3) }
        // So far over that giving back half of the files is not enough.
        for _ in 0..<200 { harness.write(3) }
        var asks = 0
        while log.isOverLimit {
            let below = try #require(asked.last)
            asked = []
            log.release(before: below)
            harness.machine.settle()
            asks += 1
            #expect(!asked.isEmpty || !log.isOverLimit)
            guard !asked.isEmpty else { break }
        }
        #expect(asks > 1)
        #expect(!log.isOverLimit)
    }

    @Test func `a full disk loses nothing, says so, and recovers when space returns`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        harness.write(2)
        harness.files.capacity = harness.files.usedBytes
        while !log.isFull {
            harness.submit(2)
            harness.machine.drain()
        }
        let acknowledged = harness.acknowledged
        for _ in 0..<10 { harness.submit(1) }
        harness.machine.drain()
        #expect(harness.acknowledged == acknowledged)
        #expect(harness.failures.isEmpty)
        harness.files.capacity = .max
        harness.machine.settle()
        #expect(harness.acknowledged == harness.submitted.count)
        #expect(!log.isFull)
        let all = harness.submitted
        try harness.open()
        #expect(harness.found == all)
    }

    @Test func `released files let a log on a full disk go on at once`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        for _ in 0..<60 { harness.write(2) }
        harness.files.capacity = harness.files.usedBytes
        while !log.isFull {
            harness.submit(2)
            harness.machine.drain()
        }
        let now = harness.machine.clock.now
        log.release(before: try #require(harness.positions[harness.acknowledged - 1]).file)
        harness.machine.drain()
        #expect(!log.isFull)
        #expect(harness.machine.clock.now == now)
    }

    @Test func `closing on a full disk fails what waits and keeps what was acknowledged`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        harness.write(2)
        harness.files.capacity = harness.files.usedBytes
        while !log.isFull {
            harness.submit(2)
            harness.machine.drain()
        }
        let acknowledged = Array(harness.submitted.prefix(harness.acknowledged))
        #expect(harness.close() != nil)
        #expect(!harness.failures.isEmpty)
        harness.files.capacity = .max
        try harness.open()
        #expect(harness.found == acknowledged)
    }

    @Test(arguments: [FaultyFileSystem.Operation.write, .sync])
    func `after an error on the log nothing is ever written again`(
        _ failing: FaultyFileSystem.Operation
    ) throws {
        let harness = LogHarness()
        let log = try harness.open()
        harness.write(3)
        harness.files.failure = { operation, _ in operation == failing ? .inputOutput : nil }
        harness.submit(2)
        harness.submit(2)
        harness.machine.settle()
        harness.files.failure = { _, _ in nil }
        #expect(log.isPoisoned)
        #expect(harness.acknowledged == 3)
        let operations = harness.files.operations
        let syncs = harness.files.syncs
        harness.write(1)
        #expect(harness.failures.count == 3)
        for case .poisoned(let error) in harness.failures {
            #expect(error.reason == .inputOutput)
        }
        #expect(harness.files.operations == operations && harness.files.syncs == syncs)
        #expect(harness.close() != nil)
        // What was durable is there for the next start.
        try harness.open()
        #expect(harness.found.starts(with: [0, 1, 2]))
    }
}
