import Bytes
import KafkaMessages
import LogStorage
import Platform

/// The directory of a partition, and the file that says whose it is: Kafka's `partition.metadata`.
///
/// A topic can be deleted and another of its name be made before the files of the first are gone,
/// or before their removal is durable. The topic's id tells them apart.
struct PartitionDirectory: Sendable {
    private static let identityLimit = 4 << 10
    private static let checkpointName = "checkpoint"

    let path: String
    let files: FileSystem

    /// Makes the directory the topic's own; what another topic left there goes.
    ///
    /// Nothing is synced: a directory is worth something once it has a checkpoint, and the first
    /// of those makes all durable. One that a power cut left without, with no name in it or half
    /// of one, is made anew.
    ///
    /// - Throws: `FileError`.
    func claim(for topicID: KafkaUUID) throws(FileError) {
        let identity = ByteSlice("version: 0\ntopic_id: \(topicID)\n")
        let file = path + "/" + PartitionLog.identityName
        if files.exists(file) {
            if try files.readAll(file, limit: Self.identityLimit) == identity { return }
            try remove()
        }
        if !files.exists(path) {
            try files.createDirectory(FileSystem.parent(of: path))
            try files.makeDirectory(path)
        }
        let named = try files.open(file, .replace)
        try identity.withUnsafeBytes { (bytes) throws(FileError) in try named.write(bytes, at: 0) }
    }

    /// Whether it looks like what a partition left, whole or partly removed.
    ///
    /// A log without the name of its topic is somebody else's doing.
    var isClaimed: Bool {
        files.exists(path + "/" + PartitionLog.identityName)
            || !files.exists(path + "/" + Self.checkpointName)
    }

    /// Removes the directory and all in it; one that does not exist is fine.
    ///
    /// The checkpoint goes first and durably: whatever else a crash leaves, no log is opened from
    /// the rest.
    func remove() throws(FileError) {
        guard files.exists(path) else { return }
        let checkpoint = path + "/" + Self.checkpointName
        if files.exists(checkpoint) {
            try files.remove(checkpoint)
            try files.syncDirectory(path)
        }
        try files.removeTree(path)
    }
}
