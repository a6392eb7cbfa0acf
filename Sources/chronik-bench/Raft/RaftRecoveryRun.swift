import Bytes
import Glibc
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// Writes a log of many groups and measures how long it takes to have all of them back.
///
/// The log is read past the page cache, as the broker reads it.
struct RaftRecoveryRun: Sendable {
    static let entryBytes = 16

    let settings: BenchSettings
    let platform: RealPlatform

    private var groups: Int { settings.groups ?? 1_000 }

    struct Figures: Sendable {
        var entries = 0
        var groups = 0
        var logBytes = 0
        var seconds = 0.0
        var processorSeconds = 0.0
        var residentBefore = 0
        var peakResident = 0
    }

    func measure() async throws(BenchError) -> Figures {
        let directory = settings.directory + "/chronik-bench-recovery.\(getpid())"
        defer { try? platform.files.removeTree(directory) }
        do {
            try await write(to: directory)
            return try recover(from: directory)
        } catch let error as BenchError {
            throw error
        } catch {
            throw .file("\(error)")
        }
    }

    private func open(
        _ directory: String,
        onRecord: (WALRecordHeader, ByteSlice, WALPosition) throws -> Void
    ) throws(WALError) -> GroupCommitWAL {
        try GroupCommitWAL.open(
            WALConfiguration(directory: directory, totalBytes: 4 << 30),
            files: platform.files,
            worker: platform.makeWorker(name: "wal"),
            preparer: platform.makeWorker(name: "files"),
            clock: platform.clock,
            generator: platform.makeGenerator(),
            onRecord: onRecord
        )
    }

    // MARK: Writing

    private func write(to directory: String) async throws {
        let wal = try open(directory) { _, _, _ in }
        let loop = platform.loops[0]
        let membership = Membership(voters: [1, 2, 3].map { ReplicaID($0) })
        let payload = ByteSlice([UInt8](repeating: 7, count: Self.entryBytes))
        var records: [WALRecord] = (0..<groups).flatMap { group in
            let storage = WALRaftStorage(group: UInt64(group), membership: membership)
            storage.setHardState(HardState(term: Term(1), vote: ReplicaID(1)))
            return storage.takeStaged()
        }
        // A turn has an entry of each group, so that no two of a group are neighbours.
        for number in 0..<settings.entries {
            records.append(
                WALRecord(
                    group: UInt64(number % groups),
                    kind: .entry,
                    term: 1,
                    index: UInt64(number / groups + 1),
                    payload: payload
                )
            )
            guard records.count >= groups || number == settings.entries - 1 else {
                continue
            }
            let batch = records
            records = []
            let outcome = await withUnsafeContinuation { continuation in
                wal.submit(
                    WALBatch(records: batch, loop: loop) { continuation.resume(returning: $0) }
                )
            }
            _ = try outcome.get()
        }
        try await wal.close()
    }

    // MARK: Recovery

    private func recover(from directory: String) throws -> Figures {
        var figures = Figures()
        figures.groups = groups
        Self.resetPeak()
        figures.residentBefore = Self.status("VmRSS:")
        let processor = ProcessorTime.now()
        let began = platform.clock.monotonicNanoseconds
        let recovered = RecoveredGroups(replica: ReplicaID(1))
        let wal = try open(directory) { record, payload, position in
            try recovered.take(record, payload, at: position)
        }
        recovered.opened(isNew: wal.isNew)
        for group in recovered.groups {
            let storage = try recovered.storage(
                of: group,
                membership: Membership(),
                isNew: false
            )
            try storage.finishRecovery(applied: .zero, term: .zero)
            figures.entries += storage.firstIndex.distance(to: storage.lastIndex) + 1
        }
        figures.seconds = Double(platform.clock.monotonicNanoseconds - began) / 1e9
        figures.processorSeconds = ProcessorTime.now().since(processor).total
        figures.peakResident = Self.status("VmHWM:")
        figures.logBytes = wal.liveBytes
        guard figures.entries == settings.entries else {
            throw BenchError.file("\(figures.entries) entries came back")
        }
        return figures
    }

    /// The kernel keeps the peak since this was called.
    private static func resetPeak() {
        guard let file = fopen("/proc/self/clear_refs", "w") else { return }
        fputs("5", file)
        fclose(file)
    }

    /// A line of the kernel's account of this process, in bytes.
    private static func status(_ name: String) -> Int {
        guard let file = fopen("/proc/self/status", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
            guard text.hasPrefix(name) else { continue }
            return (Int(text.split(whereSeparator: \.isWhitespace)[1]) ?? 0) * 1024
        }
        return 0
    }
}
