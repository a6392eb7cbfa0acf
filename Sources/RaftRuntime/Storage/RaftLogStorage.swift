public import Raft

/// The log of one group and what a replica must remember beside it.
///
/// Changes are visible to readers at once; when they are durable is the implementation's to say.
public protocol RaftLogStorage: RaftLogReader {
    var hardState: HardState { get }
    /// What the log starts after: index and term of the last entry that was dropped, and who
    /// belonged to the group there.
    var base: SnapshotMetadata { get }

    /// Adds entries; those that start at or below the last index replace the log from there on.
    func append(_ entries: [RaftEntry])
    func setHardState(_ hardState: HardState)
    /// The entry at an index; `nil` when the log does not hold it.
    func get(_ index: LogIndex) throws(RaftLogReadError) -> RaftEntry?
    /// Drops the entries from `index` on.
    func truncateSuffix(from index: LogIndex)
    /// Drops the entries up to and including `index`, which the state machine holds durably.
    func truncatePrefix(through index: LogIndex)
    /// Starts over after a snapshot: no entry is kept, whatever the log held.
    func reset(to snapshot: SnapshotMetadata)
}

extension SnapshotMetadata {
    /// Moves on over an entry: a change of membership is carried out.
    ///
    /// One that cannot be read or does not fit changes nothing, as in the core.
    mutating func pass(_ entry: RaftEntry) {
        if entry.kind == .configuration,
            let change = try? ConfigurationChange(decoding: entry.payload),
            let next = try? membership.applying(change)
        {
            membership = next
        }
        index = entry.index
        term = entry.term
    }
}
