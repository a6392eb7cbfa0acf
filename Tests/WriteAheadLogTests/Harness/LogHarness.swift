import Bytes
import Platform
import Testing

@testable import WriteAheadLog

/// A log on a machine that the test moves, with everything it was told and answered.
final class LogHarness: @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    let files: FaultyFileSystem
    var machine = ManualMachine()
    var configuration: WALConfiguration
    private var generator: SeededGenerator
    private(set) var log: GroupCommitWAL?
    /// Records by number, in the order they were handed over or found.
    var submitted: [Int] = []
    /// How many of `submitted`, from the front, were reported durable.
    private(set) var acknowledged = 0
    private(set) var positions: [Int: WALPosition] = [:]
    private(set) var failures: [WALError] = []
    private(set) var found: [Int] = []
    /// Damage that recovery passed over, and how many records were found before it.
    private(set) var damage: [(damage: WALDamage, found: Int)] = []
    /// Whether recovery goes on behind damage.
    var survivesDamage = false
    private var nextRecord = 0

    init(seed: UInt64 = 1, _ files: FaultyFileSystem = FaultyFileSystem()) {
        self.files = files
        generator = SeededGenerator(seed: seed)
        configuration = WALConfiguration(
            directory: "/wal",
            fileBytes: 32 << 10,
            totalBytes: 256 << 10
        )
        configuration.firstFileBytes = 16 << 10
        configuration.growthBytes = 8 << 10
        configuration.maxWriteBytes = 8 << 10
        configuration.inlineSyncNanoseconds = 0
    }

    /// With files that hold all that a test writes.
    static func roomy() -> LogHarness {
        let harness = LogHarness()
        harness.configuration.fileBytes = 1 << 20
        harness.configuration.firstFileBytes = 1 << 20
        harness.configuration.totalBytes = 4 << 20
        return harness
    }

    /// Opens the log as a process does that starts; what ran before has vanished.
    @discardableResult
    func open() throws(WALError) -> GroupCommitWAL {
        machine = ManualMachine()
        log = nil
        found = []
        positions = [:]
        failures = []
        damage = []
        let onDamage: (WALDamage) -> Void = { [unowned self] in damage.append(($0, found.count)) }
        let opened = try GroupCommitWAL.open(
            configuration,
            files: files,
            worker: machine.writing,
            preparer: machine.preparing,
            clock: machine.clock,
            generator: generator.fork(),
            onDamage: survivesDamage ? onDamage : nil
        ) { header, payload, position in
            let number = try TestRecord.number(of: header, payload)
            found.append(number)
            positions[number] = position
        }
        log = opened
        submitted = found
        acknowledged = found.count
        nextRecord = max(nextRecord, (found.max() ?? -1) + 1)
        return opened
    }

    /// Bytes of each file of the log that is in it, oldest first.
    var logSizes: [Int] { sizes(".wal") }

    /// Of the files whose names end so, in the order of their names.
    func sizes(_ suffix: String) -> [Int] {
        files.paths.filter { $0.hasSuffix(suffix) }.sorted().map { files.contents($0).count }
    }

    /// Hands over records that were never handed over before.
    func submit(_ count: Int = 1) {
        let numbers = Array(nextRecord..<nextRecord + count)
        nextRecord += count
        submitted += numbers
        let end = submitted.count
        log?.submit(
            WALBatch(records: numbers.map(TestRecord.record), loop: machine.loop) { [self] in
                switch $0 {
                case .success(let places):
                    #expect(places.count == count)
                    #expect(acknowledged == end - count, "acknowledged out of order")
                    acknowledged = end
                    for (number, place) in zip(numbers, places) { positions[number] = place }
                case .failure(let error): failures.append(error)
                }
            }
        )
    }

    /// Hands over and waits.
    func write(_ count: Int = 1) {
        submit(count)
        machine.settle()
    }

    /// Whether the record at a known place comes back as it was.
    func checkRead(_ number: Int) throws {
        guard let log, let position = positions[number] else { return }
        let payload = try log.read(position)
        #expect(payload == TestRecord.record(number).payload)
    }

    func close() -> WALError? {
        nonisolated(unsafe) var outcome: WALError?
        nonisolated(unsafe) var isDone = false
        log?.close { error in
            outcome = error
            isDone = true
        }
        machine.settle()
        #expect(isDone)
        return outcome
    }
}

/// Records that follow from their number, so that any can be checked wherever it turns up.
enum TestRecord {
    struct Wrong: Error {
        let found: String
    }

    /// The first ones, which the damaged logs hold and are compared with thousands of times.
    private static let first = (0..<1_000).map(make)

    static func record(_ number: Int) -> WALRecord {
        number < first.count ? first[number] : make(number)
    }

    private static func make(_ number: Int) -> WALRecord {
        var generator = SeededGenerator(seed: UInt64(number) &* 7_919)
        let kinds = WALRecord.Kind.allCases
        let kind = kinds[generator.below(kinds.count)]
        let length =
            switch generator.below(20) {
            case 0: 0
            case 1: generator.below(12_000)
            case 2, 3: generator.below(3_000)
            default: generator.below(200)
            }
        var payload = [UInt8](repeating: 0, count: length + 8)
        for index in payload.indices {
            payload[index] = UInt8(truncatingIfNeeded: generator.next())
        }
        for index in 0..<8 { payload[index] = UInt8(truncatingIfNeeded: number >> (8 * index)) }
        return WALRecord(
            group: generator.next(),
            incarnation: UInt32(truncatingIfNeeded: generator.next()),
            kind: kind,
            term: generator.next(),
            index: generator.next(),
            payload: ByteSlice(payload)
        )
    }

    /// The record's number, if every byte of it is as it was written.
    static func number(of header: WALRecordHeader, _ payload: ByteSlice) throws -> Int {
        guard payload.count >= 8 else { throw Wrong(found: "\(payload.count) bytes") }
        let number = Int(payload.loadLittleEndian(at: 0, as: UInt64.self) & 0xFFFF_FFFF)
        let written = record(number)
        guard written.group == header.group, written.incarnation == header.incarnation,
            written.kind == header.kind, written.term == header.term,
            written.index == header.index, written.payload == payload,
            header.payloadLength == payload.count
        else { throw Wrong(found: "something like record \(number)") }
        return number
    }
}
