public import Bytes
public import Raft

/// What a group's entries act on; the same on every replica once the same entries are applied.
///
/// Called on the replica's event loop, one entry at a time, in log order, each entry once. It must
/// be deterministic: no clock, no randomness, nothing that is not in the entry.
public protocol StateMachine: AnyObject, SendableMetatype {
    /// The last entry applied; where the replica goes on after a restart.
    var lastApplied: LogIndex { get }

    /// Applies a committed entry; what it returns goes to whoever proposed it.
    ///
    /// No-ops (empty payload) and configuration entries are passed too, so that `lastApplied`
    /// covers every index; they change nothing else.
    func apply(_ entry: RaftEntry) -> ByteSlice

    /// The whole state as of the last applied entry.
    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice

    /// Replaces the whole state.
    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws

    /// The state for a follower that is too far behind for entries.
    ///
    /// As of the last entry applied, or of an earlier one that the log still has or starts after.
    /// By default it is made whole in memory by `snapshot`.
    func openSnapshot(lastIndex: LogIndex, lastTerm: Term) throws -> any SnapshotSource

    /// Where such a state arrives; by default it is gathered in memory and given to `restore`.
    ///
    /// A state machine that outlives the process keeps the metadata's membership with the state:
    /// after a crash before the log has it, nobody else would know it.
    func makeSnapshotSink(_ metadata: SnapshotMetadata) throws -> any SnapshotSink
}
