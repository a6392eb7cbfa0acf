public import Bytes
public import Raft

/// What a group's entries act on; the same on every replica once the same entries are applied.
///
/// Called on the replica's event loop, one entry at a time, in log order, each entry once. It must
/// be deterministic: no clock, no randomness, nothing that is not in the entry.
public protocol StateMachine: AnyObject {
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
}
