import Bytes
import Platform
import Raft
import Simulator
import WriteAheadLog

@testable import RaftRuntime

/// The storages of a node's groups over one WAL, on any platform, without replicas.
final class StorageNode: @unchecked Sendable {
    // Unchecked: a test gives it to one thread at a time.
    let platform: any HostPlatform
    let directory: String
    private(set) var wal: GroupCommitWAL
    private(set) var found: [UInt64: WALRaftStorage] = [:]
    private(set) var failures: [WALError] = []

    init(
        _ platform: any HostPlatform,
        directory: String,
        inlineSync: Int64 = 0,
        recovered: RecoveredGroups? = nil
    ) throws(WALError) {
        self.platform = platform
        self.directory = directory
        var configuration = WALConfiguration(
            directory: directory,
            fileBytes: 64 << 10,
            totalBytes: 64 << 20
        )
        configuration.firstFileBytes = 64 << 10
        configuration.inlineSyncNanoseconds = inlineSync
        let groups = recovered ?? RecoveredGroups(replica: ReplicaID(1))
        wal = try GroupCommitWAL.open(
            configuration,
            files: platform.files,
            worker: platform.makeWorker(name: "wal"),
            preparer: platform.makeWorker(name: "files"),
            clock: platform.clock,
            generator: platform.makeGenerator(),
            onDamage: recovered.map { recovered in { recovered.take($0) } }
        ) { record, payload, position in
            try groups.take(record, payload, at: position)
        }
        groups.opened(isNew: wal.isNew)
        guard recovered == nil else { return }
        for group in groups.groups {
            found[group] = try? groups.storage(of: group, membership: Membership(), isNew: false)
        }
    }

    /// Writes what is staged; `then` runs on the loop once it is durable.
    func write(
        _ storages: [WALRaftStorage],
        on loop: EventLoop,
        then: @escaping @Sendable () -> Void = {}
    ) {
        var records: [WALRecord] = []
        let counts = storages.map { $0.takePending(into: &records) }
        let written = records
        wal.submit(
            WALBatch(records: records, loop: loop) { [self] result in
                switch result {
                case .success(let positions):
                    var next = 0
                    for (storage, count) in zip(storages, counts) {
                        for place in next..<next + count {
                            storage.recordIsDurable(written[place], at: positions[place])
                        }
                        next += count
                    }
                    then()
                case .failure(let error): failures.append(error)
                }
            }
        )
    }

    /// The entries of a storage, read from the WAL where they are not in memory.
    func entries(_ storage: WALRaftStorage) throws -> [RaftEntry] {
        try entries(storage, in: storage.firstIndex..<storage.lastIndex + 1)
    }

    func entries(_ storage: WALRaftStorage, in range: Range<LogIndex>) throws -> [RaftEntry] {
        let wal = wal
        storage.fetch = { [unowned storage] range, positions in
            guard let payloads = try? wal.read(positions) else { return }
            storage.fetched(range, payloads)
        }
        var entries: [RaftEntry] = []
        while range.lowerBound + entries.count < range.upperBound {
            let rest = range.lowerBound + entries.count..<range.upperBound
            do {
                entries += try storage.entries(in: rest, maxBytes: .max)
            } catch {
                guard error == .temporarilyUnavailable else { throw error }
            }
        }
        return entries
    }
}
