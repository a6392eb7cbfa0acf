import Bytes
import KafkaMessages
import Platform

/// The node's place on disk, and the file that says whose it is.
///
/// `meta.properties` has `version`, `cluster.id`, `node.id` and `directory.id`; a directory of another
/// node or of a later format is refused. `registered=true` joins them before the node serves anybody:
/// from then on a directory without a log of the metadata has lost it.
///
/// The directory id is drawn when the directory is made. Whoever keeps the cluster's members
/// registers a node id together with it and refuses the node id with any other: what came back is
/// then an empty disk, which has forgotten how its replicas voted and what they acknowledged.
struct DataDirectory {
    static let formatVersion = 1
    private static let lockName = ".lock"
    private static let metaName = "meta.properties"
    private static let metaLimit = 64 << 10

    let clusterID: String
    let directoryID: KafkaUUID
    /// It was made by this call, so nothing it does not hold was ever promised by it.
    let isNew: Bool
    /// The cluster has taken the node in with this directory, which has a log since.
    let isRegistered: Bool
    /// Keeps other processes out for as long as it is held.
    let lock: any AnyObject & Sendable

    private let path: String
    private let nodeID: Int32

    /// Takes the directory, making it if it does not exist.
    static func open(
        _ path: String,
        nodeID: Int32,
        clusterID wanted: String? = nil,
        files: FileSystem,
        newID: () -> KafkaUUID
    ) throws -> DataDirectory {
        try files.createDirectory(path)
        let lock: any AnyObject & Sendable
        do {
            lock = HeldLock(try files.lock(path + "/" + lockName))
        } catch {
            guard error.reason == .locked else { throw error }
            throw DataDirectoryProblem(
                "another process uses the data directory \(path); stop it, or choose another"
                    + " with --data-dir"
            )
        }
        try makeNamesDurable(path, files)
        guard files.exists(path + "/" + metaName) else {
            try expectEmpty(path, files)
            let new = DataDirectory(
                clusterID: wanted ?? "\(newID())",
                directoryID: newID(),
                isNew: true,
                isRegistered: false,
                lock: lock,
                path: path,
                nodeID: nodeID
            )
            try new.write(isRegistered: false, files)
            return new
        }
        let known = try read(path, lock, files, newID)
        guard wanted == nil || wanted == known.clusterID else {
            throw DataDirectoryProblem(
                "the data directory \(path) belongs to cluster \(known.clusterID), not to"
                    + " \(wanted ?? "")"
            )
        }
        guard known.nodeID == nodeID else {
            throw DataDirectoryProblem(
                "the data directory \(path) belongs to node \(known.nodeID), not to node \(nodeID)"
            )
        }
        return known
    }

    /// Remembers that the cluster has taken the node in; returns once that is durable.
    func becomeRegistered(_ files: FileSystem) throws(FileError) {
        guard !isRegistered else { return }
        try write(isRegistered: true, files)
    }

    private static func expectEmpty(_ path: String, _ files: FileSystem) throws {
        if files.exists(path + "/topics") {
            throw DataDirectoryProblem(
                "\(path) has topics but no \(metaName): it is damaged or not a data directory"
            )
        }
        if files.exists(path + "/wal") {
            throw DataDirectoryProblem(
                "\(path) has a write-ahead log but no \(metaName): restore that file, or take"
                    + " the node out of the cluster and let it join again with an empty"
                    + " directory and a new node id"
            )
        }
    }

    private func write(isRegistered: Bool, _ files: FileSystem) throws(FileError) {
        var text = """
            version=\(Self.formatVersion)
            cluster.id=\(clusterID)
            node.id=\(nodeID)
            directory.id=\(directoryID)

            """
        if isRegistered { text += "registered=true\n" }
        try files.replaceAtomically(path + "/" + Self.metaName, with: ByteSlice(text))
    }

    private static func read(
        _ path: String,
        _ lock: any AnyObject & Sendable,
        _ files: FileSystem,
        _ newID: () -> KafkaUUID
    ) throws -> DataDirectory {
        let meta = path + "/" + metaName
        let properties = try properties(meta, files)
        guard properties["version"] == String(formatVersion) else {
            throw DataDirectoryProblem(
                "\(meta) has format version \(properties["version"] ?? "none"); this program"
                    + " knows \(formatVersion)"
            )
        }
        guard let clusterID = properties["cluster.id"], let owner = properties["node.id"] else {
            throw DataDirectoryProblem("\(meta) lacks cluster.id or node.id")
        }
        guard let nodeID = Int32(owner) else {
            throw DataDirectoryProblem("\(meta): node.id is '\(owner)'")
        }
        let text = properties["directory.id"]
        guard let directoryID = text.map({ KafkaUUID($0) }) ?? newID() else {
            throw DataDirectoryProblem("\(meta): directory.id is '\(text ?? "")'")
        }
        let known = DataDirectory(
            clusterID: clusterID,
            directoryID: directoryID,
            isNew: false,
            isRegistered: properties["registered"] == "true",
            lock: lock,
            path: path,
            nodeID: nodeID
        )
        // Made before directories had ids.
        if text == nil { try known.write(isRegistered: known.isRegistered, files) }
        return known
    }

    /// A process that was killed may have left names that are not durable; from now on something is
    /// acknowledged that depends on them.
    private static func makeNamesDurable(_ path: String, _ files: FileSystem) throws(FileError) {
        try files.syncDirectory(FileSystem.parent(of: path))
        try files.syncDirectory(path)
        if files.exists(path + "/topics") { try files.syncDirectory(path + "/topics") }
    }

    private static func properties(_ path: String, _ files: FileSystem) throws -> [String: String] {
        let bytes = try files.readAll(path, limit: metaLimit)
        guard let text = bytes.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
            throw DataDirectoryProblem("\(path) is not text")
        }
        var properties: [String: String] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let parts = line.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { throw DataDirectoryProblem("\(path): '\(line)'") }
            properties[String(parts[0])] = String(parts[1])
        }
        return properties
    }
}

/// Why a data directory cannot be used, and what to do.
struct DataDirectoryProblem: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

private final class HeldLock: @unchecked Sendable {
    // Unchecked: only ever held and let go.
    private let file: AnyObject
    init(_ file: AnyObject) { self.file = file }
}
