import Bytes
package import Platform

/// The directory of a partition, and the file that says whose it is: Kafka's `partition.metadata`.
///
/// A topic can be deleted and another of its name be made before the files of the first are gone,
/// or before their removal is durable. The topic's id tells them apart.
package struct PartitionDirectory: Sendable {
    fileprivate static let identityName = "partition.metadata"

    package let path: String
    package let files: FileSystem

    package init(path: String, files: FileSystem) {
        self.path = path
        self.files = files
    }

    /// Whether it looks like what a partition left, whole or partly removed.
    ///
    /// A log without the name of its topic is somebody else's doing.
    package var isClaimed: Bool {
        files.exists(path + "/" + Self.identityName)
            || !files.exists(path + "/" + Checkpoint.fileName)
    }

    /// Removes the directory and all in it; one that does not exist is fine.
    ///
    /// The checkpoint goes first and durably: whatever else a crash leaves, no log is opened from
    /// the rest.
    package func remove() throws(FileError) {
        guard files.exists(path) else { return }
        let checkpoint = path + "/" + Checkpoint.fileName
        if files.exists(checkpoint) {
            try files.remove(checkpoint)
            try files.syncDirectory(path)
        }
        try files.removeTree(path)
    }
}

/// The directory of a partition as one topic's own.
///
/// It is made with the first file that goes into it. Until then everything the partition has is in
/// the write-ahead log, and a new topic makes nobody wait for names to become durable.
package final class ClaimedDirectory: @unchecked Sendable {
    // Unchecked: used on the one worker that changes the partition's files.
    private static let identityLimit = 4 << 10

    private let place: PartitionDirectory
    private let identity: ByteSlice
    /// Directory and identity are there, durably.
    private var isMade = false

    /// The directory as that of the topic with an id, as Kafka writes it.
    package init(_ place: PartitionDirectory, topicID: String) {
        self.place = place
        identity = ByteSlice("version: 0\ntopic_id: \(topicID)\n")
    }

    package var path: String { place.path }
    package var files: FileSystem { place.files }
    private var identityPath: String { path + "/" + PartitionDirectory.identityName }

    /// Takes what the topic has there, and makes nothing; what another left goes.
    func open() throws(FileError) {
        guard files.exists(path) else { return }
        guard files.exists(identityPath) else { return try make() }
        guard try isOwn() else { return try place.remove() }
        // A process that was killed may have left a checkpoint under a name that is not durable.
        try files.syncDirectory(path)
        isMade = true
    }

    /// Makes the directory, if that was not done yet: before anything is written into it.
    ///
    /// After an error everything is done again: names that are there may not be durable.
    func make() throws(FileError) {
        guard !isMade else { return }
        if files.exists(path) {
            try files.syncDirectory(FileSystem.parent(of: path))
        } else {
            try files.createDirectory(path)
        }
        if files.exists(identityPath), try isOwn() {
            try files.syncDirectory(path)
        } else {
            try files.replaceAtomically(identityPath, with: identity)
        }
        isMade = true
    }

    private func isOwn() throws(FileError) -> Bool {
        try files.readAll(identityPath, limit: Self.identityLimit) == identity
    }
}
