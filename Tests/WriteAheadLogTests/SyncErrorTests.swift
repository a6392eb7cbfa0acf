import Platform
import Testing

@testable import WriteAheadLog

/// After an error of the disk nothing is acknowledged any more, whatever the disk says later: what
/// the kernel then calls clean may never have reached it.
@Suite struct SyncErrorTests {
    enum Path: CaseIterable, Sendable { case worker, inline }

    private func harness(_ path: Path) throws -> LogHarness {
        let harness = LogHarness.roomy()
        harness.configuration.inlineSyncNanoseconds = path == .inline ? .max : 0
        try harness.open()
        // The first is always the worker's, which measures the disk.
        harness.write(2)
        let syncs = harness.files.syncs
        harness.submit(1)
        // Written by whoever submits, or by nobody yet.
        #expect(harness.files.syncs == syncs + (path == .inline ? 1 : 0))
        harness.machine.settle()
        #expect(harness.acknowledged == 3)
        return harness
    }

    /// One operation fails, once; from then on the disk works.
    private func failOnce(_ harness: LogHarness, _ operation: FaultyFileSystem.Operation) {
        nonisolated(unsafe) var hasFailed = false
        harness.files.failure = { found, _ in
            guard found == operation, !hasFailed else { return nil }
            hasFailed = true
            return .inputOutput
        }
    }

    @Test(arguments: Path.allCases, [FaultyFileSystem.Operation.sync, .write])
    func `after one error nothing is acknowledged any more`(
        _ path: Path,
        _ operation: FaultyFileSystem.Operation
    ) throws {
        let harness = try harness(path)
        failOnce(harness, operation)
        harness.submit(1)
        harness.submit(2)
        harness.machine.settle()
        #expect(harness.acknowledged == 3 && harness.failures.count == 2)
        #expect(harness.log?.isPoisoned == true)
        let writes = harness.files.operations
        for _ in 0..<20 { harness.write(1) }
        #expect(harness.acknowledged == 3 && harness.failures.count == 22)
        let arePoisoned = harness.failures.allSatisfy { error in
            if case .poisoned = error { true } else { false }
        }
        #expect(arePoisoned)
        // Nothing is tried again, and nothing vouches for where the log ended.
        #expect(harness.close() != nil)
        #expect(harness.files.operations == writes)
        #expect(!harness.files.exists("/wal/clean-shutdown"))
        // What was acknowledged is there; the next life writes the last batch anew.
        try harness.open()
        #expect(Array(harness.found.prefix(3)) == [0, 1, 2])
        harness.write(1)
        #expect(harness.failures.isEmpty)
    }

    @Test(arguments: Path.allCases)
    func `an error while batches wait fails them all`(_ path: Path) throws {
        let harness = try harness(path)
        failOnce(harness, .sync)
        for _ in 0..<50 { harness.submit(3) }
        harness.machine.settle()
        #expect(harness.acknowledged == 3 && harness.failures.count == 50)
    }
}
