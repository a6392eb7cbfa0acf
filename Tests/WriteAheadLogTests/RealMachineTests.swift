import Bytes
import Foundation
import Platform
import Synchronization
import Testing

@testable import WriteAheadLog

/// The log on real threads and a real disk.
@Suite struct RealMachineTests {
    private static let platform = RealPlatform(loopCount: 2)

    private func withDirectory(_ body: (String) throws -> Void) throws {
        let directory = "/var/tmp/chronik-wal-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(directory)
    }

    private func open(
        _ directory: String,
        _ workers: (Worker, Worker),
        onRecord: (WALRecordHeader, ByteSlice, WALPosition) throws -> Void = { _, _, _ in }
    ) throws -> GroupCommitWAL {
        var configuration = WALConfiguration(
            directory: directory,
            fileBytes: 1 << 20,
            totalBytes: 8 << 20
        )
        configuration.firstFileBytes = 256 << 10
        return try GroupCommitWAL.open(
            configuration,
            files: Self.platform.files,
            worker: workers.0,
            preparer: workers.1,
            clock: Self.platform.clock,
            generator: Self.platform.makeGenerator(),
            onRecord: onRecord
        )
    }

    private func makeWorkers() -> (Worker, Worker) {
        (
            Self.platform.makeWorker(name: "wal"),
            Self.platform.makeWorker(name: "wal-files")
        )
    }

    @Test func `many producers on two loops, read back while they write`() async throws {
        let directory = "/var/tmp/chronik-wal-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let workers = makeWorkers()
        let log = try open(directory, workers)
        log.onPressure { log.release(before: $0) }
        let producers = 32
        let requests = 60
        await withTaskGroup(of: Int.self) { group in
            for producer in 0..<producers {
                group.addTask {
                    await Self.produce(log, producer, requests)
                }
            }
            var total = 0
            for await answered in group { total += answered }
            #expect(total == producers * requests)
        }
        try await log.close()
        nonisolated(unsafe) var last = [UInt64](repeating: 0, count: producers)
        let again = try open(directory, workers) { header, _, _ in
            let producer = Int(header.group)
            #expect(last[producer] == 0 || header.index == last[producer] + 1)
            last[producer] = header.index
        }
        #expect(last == [UInt64](repeating: UInt64(requests), count: producers))
        try await again.close()
        workers.0.stop()
        workers.1.stop()
    }

    /// Writes one request after the other and reads each back; returns how many were answered.
    private static func produce(
        _ log: GroupCommitWAL,
        _ producer: Int,
        _ requests: Int
    ) async -> Int {
        let loop = platform.loops[producer % platform.loops.count]
        var answered = 0
        for request in 1...requests {
            let payload = ByteSlice([UInt8](repeating: UInt8(request), count: 100 + producer * 97))
            let record = WALRecord(
                group: UInt64(producer),
                kind: .entry,
                term: 1,
                index: UInt64(request),
                payload: payload
            )
            let result: Result<[WALPosition], WALError> = await withUnsafeContinuation { waiting in
                log.submit(
                    WALBatch(records: [record], loop: loop) { waiting.resume(returning: $0) }
                )
            }
            guard case .success(let places) = result else { return answered }
            do throws(WALError) {
                let back = try log.read(places[0])
                if back.array == payload.array { answered += 1 }
            } catch {
                if case .released = error { answered += 1 }
            }
        }
        return answered
    }

    @Test func `opening an empty directory takes a moment`() throws {
        try withDirectory { directory in
            let workers = makeWorkers()
            let began = Self.platform.clock.monotonicNanoseconds
            _ = try GroupCommitWAL.open(
                WALConfiguration(directory: directory),
                files: Self.platform.files,
                worker: workers.0,
                preparer: workers.1,
                clock: Self.platform.clock,
                generator: SeededGenerator(seed: 1)
            ) { _, _, _ in }
            let took = Self.platform.clock.monotonicNanoseconds - began
            // Generous for a busy machine; it is a few milliseconds.
            #expect(took < .seconds(2))
            workers.0.stop()
            workers.1.stop()
        }
    }
}
