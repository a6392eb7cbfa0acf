package import Raft

extension WALRaftStorage {
    /// The log of a new group whose first members all start it with the same membership.
    ///
    /// It begins after an entry 1 that nobody ever wrote: whoever joins later, with nothing, is
    /// brought a snapshot and with it the membership.
    package static func bootstrapped(group: UInt64, membership: Membership) -> WALRaftStorage {
        let storage = WALRaftStorage(group: group, membership: membership)
        let (index, term) = foundersBase
        storage.hardState = HardState(term: term, vote: nil, commit: index)
        storage.reset(to: SnapshotMetadata(index: index, term: term, membership: membership))
        return storage
    }

    /// What a group's first members start after.
    package static var foundersBase: (index: LogIndex, term: Term) { (LogIndex(1), Term(1)) }

    /// The log of a replica that joins a group: empty, until the leader brings what is in it.
    ///
    /// An earlier life of it may have had a part in the group up to `end`, of which nothing is known
    /// any more: it listens to no leader of an earlier term, and does not campaign before its log
    /// has come as far.
    package static func joining(group: UInt64, after end: LogPosition = .zero) -> WALRaftStorage {
        let storage = WALRaftStorage(group: group, membership: Membership())
        storage.hardState.term = end.term
        storage.earlierEnd = end
        return storage
    }
}
