import Bytes
import Glibc
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// Groups of one voter over a WAL on the disk, moved by hand.
final class Replicas: @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    let directory: String
    let files = BreakableFiles()
    private(set) var machine = ManualMachine()
    private(set) var metrics = WALMetrics()
    private(set) var wal: GroupCommitWAL
    private(set) var manager: RaftReplicaManager
    private var recovered: [UInt64: WALRaftStorage] = [:]
    private var generator = SeededGenerator(seed: 1)

    init() throws {
        directory = "/var/tmp/chronik-replicas-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        (wal, manager) = try Self.open(directory, files, machine, metrics) { _ in }
    }

    deinit { try? files.removeTree(directory) }

    private static func open(
        _ directory: String,
        _ files: FileSystem,
        _ machine: ManualMachine,
        _ metrics: WALMetrics,
        _ take: ([UInt64: WALRaftStorage]) -> Void
    ) throws -> (GroupCommitWAL, RaftReplicaManager) {
        var configuration = WALConfiguration(
            directory: directory,
            fileBytes: 64 << 10,
            totalBytes: 512 << 10
        )
        configuration.firstFileBytes = 64 << 10
        configuration.inlineSyncNanoseconds = 0
        var groups: [UInt64: WALRaftStorage] = [:]
        let wal = try GroupCommitWAL.open(
            configuration,
            files: files,
            worker: machine.writing,
            preparer: machine.preparing,
            clock: machine.clock,
            generator: SeededGenerator(seed: 7),
            metrics: metrics
        ) { record, payload, position in
            let storage = groups[record.group] ?? emptyStorage(record.group)
            groups[record.group] = storage
            try storage.recover(
                kind: record.kind,
                term: record.term,
                index: record.index,
                payload: payload,
                at: position
            )
        }
        take(groups)
        let manager = RaftReplicaManager(
            loop: machine.loop,
            wal: wal,
            reader: machine.reading,
            replicaID: ReplicaID(1),
            generator: SeededGenerator(seed: 3)
        )
        return (wal, manager)
    }

    private static func emptyStorage(_ group: UInt64) -> WALRaftStorage {
        WALRaftStorage(group: group, membership: Membership(voters: [ReplicaID(1)]))
    }

    /// The process dies and starts again; what was not yet handed to the disk is gone.
    func restart() throws {
        machine = ManualMachine()
        metrics = WALMetrics()
        (wal, manager) = try Self.open(directory, files, machine, metrics) { recovered = $0 }
    }

    func start(
        _ group: UInt64,
        _ stateMachine: MemoryStateMachine = MemoryStateMachine(),
        appliedTerm: UInt64 = 0,
        leads: Bool = true
    ) throws -> PartitionReplica {
        let storage = recovered.removeValue(forKey: group) ?? Self.emptyStorage(group)
        try storage.finishRecovery(applied: stateMachine.lastApplied, term: Term(appliedTerm))
        let replica = try manager.start(group: group, storage: storage, stateMachine: stateMachine)
        if leads {
            replica.campaign()
            machine.settle()
        }
        return replica
    }
}

/// The real files, until one is told to fail.
final class BreakableFiles: FileSystem, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private static let real = RealPlatform(loopCount: 1).files
    var syncFails = false

    override func open(_ path: String, _ mode: Mode, direct: Bool) throws(FileError) -> File {
        BreakableFile(try Self.real.open(path, mode, direct: direct), of: self)
    }
    override func list(_ directory: String) throws(FileError) -> [String] {
        try Self.real.list(directory)
    }
    override func exists(_ path: String) -> Bool { Self.real.exists(path) }
    override func createDirectory(_ path: String) throws(FileError) {
        try Self.real.createDirectory(path)
    }
    override func remove(_ path: String) throws(FileError) { try Self.real.remove(path) }
    override func rename(_ from: String, to: String) throws(FileError) {
        try Self.real.rename(from, to: to)
    }
    override func syncDirectory(_ path: String) throws(FileError) {
        try Self.real.syncDirectory(path)
    }
    override func availableBytes(_ path: String) throws(FileError) -> Int {
        try Self.real.availableBytes(path)
    }
    override func lock(_ path: String) throws(FileError) -> AnyObject { try Self.real.lock(path) }
}

private final class BreakableFile: File, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private let file: File
    private unowned let files: BreakableFiles

    init(_ file: File, of files: BreakableFiles) {
        self.file = file
        self.files = files
        super.init(path: file.path)
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) -> Int { try file.read(into: buffer, at: offset) }
    override func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        try file.write(bytes, at: offset)
    }
    override func sync() throws(FileError) {
        if files.syncFails { throw FileError(.inputOutput, operation: "fdatasync", path: path) }
        try file.sync()
    }
    override func size() throws(FileError) -> Int { try file.size() }
    override func truncate(to size: Int) throws(FileError) { try file.truncate(to: size) }
    override func allocate(_ length: Int, at offset: Int) throws(FileError) {
        try file.allocate(length, at: offset)
    }
}
