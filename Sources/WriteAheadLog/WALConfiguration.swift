/// Upper bounds of one group commit; with nothing else to write, nothing ever waits.
package enum WALProfile: String, Sendable, CaseIterable {
    /// Latency first: groups of 256 KiB, gathered for at most 100 µs.
    case low
    /// Groups of 1 MiB, gathered for at most 500 µs.
    case medium
    /// Groups of 4 MiB, gathered for at most 1 ms.
    case high
    /// Throughput first, for disks with slow syncs: groups of 16 MiB, gathered for at most 2 ms.
    case ultra

    /// A group takes no further batch once it holds as much.
    package var maxGroupBytes: Int {
        switch self {
        case .low: 256 << 10
        case .medium: 1 << 20
        case .high: 4 << 20
        case .ultra: 16 << 20
        }
    }

    /// How long a group may wait for the requests that are expected to join it.
    package var maxWaitNanoseconds: Int64 {
        switch self {
        case .low: 100_000
        case .medium: 500_000
        case .high: 1_000_000
        case .ultra: 2_000_000
        }
    }

    var maxWriteBytes: Int { min(maxGroupBytes, 2 << 20) }
}

/// Where the log lies and how much of the disk it takes.
package struct WALConfiguration: Sendable {
    /// Made if it does not exist.
    package var directory: String
    package var profile: WALProfile
    /// Size of a file.
    package var fileBytes: Int
    /// The log asks its owner for space at half of it and says so when it is over it.
    package var totalBytes: Int
    /// A batch is durable before it is acknowledged; without it only the kernel holds what was
    /// written, and a power cut loses acknowledged records.
    package var syncs: Bool
    /// One write; a larger group takes several, and one fdatasync after the last.
    package var maxWriteBytes: Int
    /// Size of the very first file, which is made while the node starts.
    package var firstFileBytes: Int
    /// By how much a file grows that is full before the next one is ready.
    package var growthBytes: Int

    package init(
        directory: String,
        profile: WALProfile = .medium,
        fileBytes: Int = 64 << 20,
        totalBytes: Int = 1 << 30,
        syncs: Bool = true
    ) {
        precondition(
            fileBytes >= 4 * WALBlock.size && fileBytes <= 1 << 30,
            "log files of \(fileBytes) bytes"
        )
        precondition(totalBytes >= 2 * fileBytes, "\(totalBytes) bytes for files of \(fileBytes)")
        self.directory = directory
        self.profile = profile
        self.fileBytes = WALBlock.roundedDown(fileBytes)
        self.totalBytes = totalBytes
        self.syncs = syncs
        maxWriteBytes = profile.maxWriteBytes
        firstFileBytes = min(4 << 20, self.fileBytes)
        growthBytes = min(8 << 20, self.fileBytes)
    }

    /// While an fdatasync takes less than this, small groups are written by the event loop that
    /// submits them: waking the worker and being woken by it would take as long again.
    package var inlineSyncNanoseconds: Int64 = 300_000
    /// A larger group is always the worker's.
    static let maxInlineBytes = 32 << 10

    /// No batch may be larger; its place in a file is a 32-bit number.
    static let maxBatchBytes = 1 << 30
}
