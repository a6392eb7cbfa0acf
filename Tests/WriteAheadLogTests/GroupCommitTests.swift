import Bytes
import Platform
import Testing

@testable import WriteAheadLog

@Suite struct GroupCommitTests {
    @Test func `what was acknowledged is there after a restart`() throws {
        let harness = LogHarness()
        try harness.open()
        for _ in 0..<20 { harness.write(3) }
        #expect(harness.acknowledged == 60)
        try harness.open()
        #expect(harness.found == Array(0..<60))
    }

    @Test func `whatever was submitted together shares one fdatasync and one wake of its loop`()
        throws
    {
        let harness = LogHarness.roomy()
        let log = try harness.open()
        let syncs = harness.files.syncs
        for _ in 0..<10 { harness.submit(2) }
        harness.machine.settle()
        #expect(harness.acknowledged == 20)
        #expect(harness.files.syncs - syncs == 1)
        #expect(harness.machine.loop.wakes == 1)
        #expect(log.metrics.fdatasyncs.current == 1)
        #expect(log.metrics.batches.current == 10)
        #expect(log.metrics.records.current == 20)
        #expect(log.metrics.lastGroupRecords.current == 20)
    }

    @Test func `nothing is acknowledged before the fdatasync has returned`() throws {
        let harness = LogHarness.roomy()
        try harness.open()
        harness.files.failure = { [unowned harness] operation, _ in
            if operation == .sync { #expect(harness.acknowledged == 0) }
            return nil
        }
        harness.write(4)
        #expect(harness.acknowledged == 4)
    }

    @Test func `a log that was told not to sync writes all and syncs no batch`() throws {
        let harness = LogHarness.roomy()
        harness.configuration.syncs = false
        let log = try harness.open()
        let syncs = harness.files.syncs
        for _ in 0..<10 { harness.write(2) }
        #expect(harness.acknowledged == 20)
        #expect(harness.files.syncs == syncs)
        #expect(log.metrics.fdatasyncs.current == 0)
        #expect(log.metrics.batches.current == 10)
        try harness.open()
        #expect(harness.found == Array(0..<20))
    }

    @Test func `a batch without records is answered in its turn`() throws {
        let harness = LogHarness()
        try harness.open()
        harness.submit(2)
        harness.submit(0)
        harness.submit(1)
        harness.machine.settle()
        #expect(harness.acknowledged == 3)
        harness.write(0)
        #expect(harness.failures.isEmpty)
    }

    @Test func `a lone producer never waits`() throws {
        let harness = LogHarness()
        try harness.open()
        for _ in 0..<50 { harness.write(1) }
        #expect(harness.machine.clock.now == 0)
        #expect(harness.acknowledged == 50)
    }

    /// Producers that wait for each answer and come back after a time of their own.
    private final class Producers: @unchecked Sendable {
        // Unchecked: a test runs on one thread.
        private let harness: LogHarness
        private var generator = SeededGenerator(seed: 3)
        private var due: [Int64]
        private var inFlight = 0
        private(set) var requests = 0

        init(_ count: Int, _ harness: LogHarness) {
            self.harness = harness
            due = [Int64](repeating: 0, count: count)
        }

        var nextArrival: Int64 { due.min() ?? .max }

        /// Sends the requests that are due and sets those off again that were answered.
        func arrive() {
            let now = harness.machine.clock.now
            let answered = inFlight - (harness.submitted.count - harness.acknowledged)
            inFlight -= answered
            for _ in 0..<answered { due.append(now + 20_000 + Int64(generator.below(300_000))) }
            let ready = due.filter { $0 <= now }.count
            due.removeAll { $0 <= now }
            for _ in 0..<ready { harness.submit(1) }
            inFlight += ready
            requests += ready
        }
    }

    @Test(arguments: [(64, 40), (1, 1_000)])
    func `producers that wait for their answers share fdatasyncs`(
        _ count: Int,
        _ limit: UInt64
    ) throws {
        let harness = LogHarness.roomy()
        let log = try harness.open()
        let machine = harness.machine
        let producers = Producers(count, harness)
        harness.files.failure = { operation, _ in
            guard operation == .sync else { return nil }
            // While it runs, the others go on.
            machine.clock.now += 90_000
            producers.arrive()
            return nil
        }
        while producers.requests < 5_000 {
            producers.arrive()
            if machine.writing.step() || machine.preparing.step() || machine.loop.step() {
                continue
            }
            machine.clock.now = min(
                producers.nextArrival,
                machine.writing.nextDeadline ?? .max
            )
        }
        let perThousand = log.metrics.fdatasyncs.current * 1_000 / UInt64(producers.requests)
        #expect(perThousand <= limit)
    }

    @Test func `batches larger than a write, and larger than a file, come back whole`() throws {
        let harness = LogHarness()
        try harness.open()
        harness.write(1)
        harness.write(400)
        harness.write(1)
        harness.write(900)
        harness.write(5)
        #expect(harness.acknowledged == 1_307)
        for number in stride(from: 0, to: 1_307, by: 13) { try harness.checkRead(number) }
        try harness.open()
        #expect(harness.found == Array(0..<1_307))
    }

    @Test func `a batch no file could hold is refused and disturbs nobody`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        let byte = [UInt8](repeating: 0, count: 1)
        nonisolated(unsafe) var refused: WALError?
        byte.withUnsafeBytes { bytes in
            // Never read: its length alone decides.
            let huge = ByteSlice(owner: nil, start: bytes.baseAddress, count: 1 << 30)
            let record = WALRecord(group: 1, kind: .entry, term: 1, index: 1, payload: huge)
            log.submit(
                WALBatch(records: [record], loop: harness.machine.loop) {
                    if case .failure(let error) = $0 { refused = error }
                }
            )
            harness.machine.settle()
        }
        #expect(refused == .tooLarge(bytes: (1 << 30) + 40))
        harness.write(1)
        #expect(harness.acknowledged == 1)
    }

    @Test func `records are read back alone, in runs and while writing goes on`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        for _ in 0..<30 { harness.write(4) }
        for number in 0..<120 { try harness.checkRead(number) }
        let positions = (0..<120).compactMap { harness.positions[$0] }
        let reads = harness.files.reads
        let payloads = try log.read(positions)
        #expect(payloads.map(\.array) == (0..<120).map { TestRecord.record($0).payload.array })
        #expect(harness.files.reads - reads < 20)
        // Without order, too.
        let backwards = try log.read(positions.reversed())
        #expect(backwards.last?.array == payloads.first?.array)
    }

    @Test func `reading bytes that have rotted is an error, never wrong bytes`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        harness.write(10)
        let position = try #require(harness.positions[4])
        let path = "/wal/" + FileName.log(position.file)
        harness.files.change(path) { $0[position.offset + 40] ^= 1 }
        #expect(throws: WALError.self) { try log.read(position) }
        try harness.checkRead(5)
    }

    @Test func `a closed log answers what it has taken and refuses the rest`() throws {
        let harness = LogHarness()
        let log = try harness.open()
        harness.submit(3)
        #expect(harness.close() == nil)
        #expect(harness.acknowledged == 3)
        #expect(log.state == .closed)
        harness.write(1)
        #expect(harness.failures == [.closed])
        try harness.open()
        #expect(harness.found == [0, 1, 2])
    }
}
