import Bytes
import Platform
import Raft
import WriteAheadLog

/// The directory of a host; every call blocks.
///
///     lock              held while a host has the directory
///     node              whose it is
///     log/              the write-ahead log of all groups
///     groups/<n>.image  the last ``GroupImage`` of each group that has one
struct HostFiles: Sendable {
    let files: FileSystem
    let directory: String

    /// Takes the directory for this host alone, until the returned lock is gone.
    func take(cluster: String, node: ReplicaID) throws(RaftHostError) -> HeldLock {
        do {
            try files.createDirectory(directory + "/groups")
            let lock = HeldLock(try files.lock(directory + "/lock"))
            let identity = "cluster=\(cluster)\nnode=\(node)\n"
            let path = directory + "/node"
            guard files.exists(path) else {
                try files.replaceAtomically(path, with: ByteSlice(identity))
                return lock
            }
            let found = String(decoding: try files.readAll(path, limit: 4096).array, as: UTF8.self)
            guard found == identity else {
                throw RaftHostError.foreignDirectory(
                    "\(directory) was made by a host that is not node \(node) of \(cluster)"
                )
            }
            return lock
        } catch let error as RaftHostError {
            throw error
        } catch let error as FileError {
            if error.reason == .locked { throw .directoryInUse(directory) }
            throw .storage("\(error)")
        } catch {
            throw .storage("\(error)")
        }
    }

    func image(of group: UInt64) throws(RaftHostError) -> GroupImage? {
        let path = path(of: group)
        guard files.exists(path) else { return nil }
        do {
            return try GroupImage(decoding: try files.readAll(path, limit: GroupImage.maxBytes))
        } catch is MalformedBytes {
            throw .storage(
                "\(path) is damaged: remove this replica from its group and join under a new id"
            )
        } catch {
            throw .storage("\(error)")
        }
    }

    func keep(_ image: GroupImage, of group: UInt64) throws(FileError) {
        try files.replaceAtomically(path(of: group), with: image.encoded())
    }

    private func path(of group: UInt64) -> String { "\(directory)/groups/\(group).image" }
}

/// A directory taken for one host alone.
final class HeldLock: @unchecked Sendable {
    // Unchecked: only ever held, and let go of once.
    private var lock: AnyObject?

    init(_ lock: AnyObject) { self.lock = lock }

    func release() { lock = nil }
}

/// What a host's directory held when it was opened.
final class OpenedLog: @unchecked Sendable {
    // Unchecked: made on a worker, then handed to the host for good.
    let lock: HeldLock
    let wal: GroupCommitWAL
    let recovered: RecoveredGroups

    init(
        _ configuration: RaftHostConfiguration,
        _ files: HostFiles,
        platform: any HostPlatform,
        workers: HostWorkers
    ) throws(RaftHostError) {
        lock = try files.take(cluster: configuration.cluster, node: configuration.node)
        let recovered = RecoveredGroups(replica: configuration.node)
        do {
            wal = try GroupCommitWAL.open(
                WALConfiguration(
                    directory: files.directory + "/log",
                    fileBytes: configuration.logFileBytes,
                    totalBytes: configuration.logBytes
                ),
                files: platform.files,
                worker: workers.writing,
                preparer: workers.preparing,
                clock: platform.clock,
                generator: platform.makeGenerator(),
                onDamage: { recovered.take($0) },
                onRecord: { try recovered.take($0, $1, at: $2) }
            )
        } catch {
            throw .storage(error.description)
        }
        recovered.opened(isNew: wal.isNew)
        self.recovered = recovered
    }
}

/// The threads of one host for what blocks.
struct HostWorkers: Sendable {
    let writing: Worker
    let preparing: Worker
    /// Reads what recovery left in the log.
    let reading: Worker
    /// Reads and writes images.
    let images: Worker

    init(_ platform: any HostPlatform) {
        writing = platform.makeWorker(name: "raft-log")
        preparing = platform.makeWorker(name: "raft-files")
        reading = platform.makeWorker(name: "raft-reads")
        images = platform.makeWorker(name: "raft-images")
    }

    func stop() { for worker in [writing, preparing, reading, images] { worker.stop() } }
}
