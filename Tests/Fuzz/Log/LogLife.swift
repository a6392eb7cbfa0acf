import Bytes
import FuzzDriver
import Platform

@testable import WriteAheadLog

/// A record as it was written, or as recovery hands it out.
struct FoundRecord: Equatable, Sendable {
    let group: UInt64
    let incarnation: UInt32
    let kind: WALRecord.Kind
    let term: UInt64
    let index: UInt64
    let payload: [UInt8]

    init(_ header: WALRecordHeader, _ payload: ByteSlice) {
        (group, incarnation, kind) = (header.group, header.incarnation, header.kind)
        (term, index) = (header.term, header.index)
        self.payload = payload.array
    }

    init(_ record: WALRecord) {
        (group, incarnation, kind) = (record.group, record.incarnation, record.kind)
        (term, index) = (record.term, record.index)
        payload = record.payload.array
    }
}

/// A log from its opening to its end, on a machine that moves when it is told to.
final class LogLife {
    let machine = ManualMachine()
    let log: GroupCommitWAL
    private(set) var found: [FoundRecord] = []

    static var configuration: WALConfiguration {
        var configuration = WALConfiguration(
            directory: "/wal",
            fileBytes: 32 << 10,
            totalBytes: 256 << 10
        )
        configuration.firstFileBytes = 16 << 10
        configuration.growthBytes = 8 << 10
        configuration.maxWriteBytes = 8 << 10
        configuration.inlineSyncNanoseconds = 0
        return configuration
    }

    init(_ files: FaultyFileSystem, seed: UInt64 = 1) throws(WALError) {
        var found: [FoundRecord] = []
        log = try GroupCommitWAL.open(
            Self.configuration,
            files: files,
            worker: machine.writing,
            preparer: machine.preparing,
            clock: machine.clock,
            generator: SeededGenerator(seed: seed)
        ) { header, payload, _ in
            require(payload.count == header.payloadLength, "\(payload.count) bytes of \(header)")
            found.append(FoundRecord(header, payload))
        }
        self.found = found
    }

    /// Hands records over and waits until they are durable.
    func write(_ records: [WALRecord]) -> [WALPosition] {
        nonisolated(unsafe) var outcome: Result<[WALPosition], WALError>?
        log.submit(WALBatch(records: records, loop: machine.loop) { outcome = $0 })
        machine.settle()
        guard case .success(let places) = outcome, places.count == records.count else {
            finding("\(records.count) records were not written: \(String(describing: outcome))")
        }
        return places
    }

    func close() {
        nonisolated(unsafe) var isDone = false
        log.close { error in
            require(error == nil, "the log does not close: \(String(describing: error))")
            isDone = true
        }
        machine.settle()
        require(isDone, "the log does not close")
    }

    /// What was recovered can be gone on with: one more record, and all are there the next time.
    func checkGoesOn(_ files: FaultyFileSystem, closing: Bool) {
        let record = WALRecord(group: 1, kind: .entry, term: 1, index: 1, payload: ByteSlice("on"))
        let place = write([record])[0]
        guard let read = try? log.read(place), read == record.payload else {
            finding("what was written cannot be read at \(place)")
        }
        if closing { close() }
        do throws(WALError) {
            let again = try LogLife(files, seed: 2)
            require(
                again.found == found + [FoundRecord(record)],
                "\(found.count) records and one more became \(again.found.count)"
            )
        } catch {
            finding("a log that was recovered and written is refused: \(error)")
        }
    }
}
