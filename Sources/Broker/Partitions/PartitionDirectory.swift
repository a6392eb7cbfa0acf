import Bytes
import KafkaMessages
import Platform

/// The directory of a partition, and the file that says whose it is: Kafka's `partition.metadata`.
///
/// A topic can be deleted and another of its name be made before the files of the first are gone,
/// or before their removal is durable. The topic's id tells them apart.
struct PartitionDirectory: Sendable {
    static let identityName = "partition.metadata"
    private static let identityLimit = 4 << 10
    private static let checkpointName = "checkpoint"

    let path: String
    let files: FileSystem

    /// Makes the directory the topic's own; what another topic left there goes.
    ///
    /// - Throws: `FileError`.
    func claim(for topicID: KafkaUUID) throws(FileError) {
        try files.createDirectory(path)
        let identity = ByteSlice("version: 0\ntopic_id: \(topicID)\n")
        let file = path + "/" + Self.identityName
        if files.exists(file) {
            if try files.readAll(file, limit: Self.identityLimit) == identity { return }
            try remove()
            try files.createDirectory(path)
        }
        try files.replaceAtomically(file, with: identity)
    }

    /// Whether it looks like what a partition left, whole or partly removed.
    ///
    /// A log without the name of its topic is somebody else's doing.
    var isClaimed: Bool {
        files.exists(path + "/" + Self.identityName)
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
