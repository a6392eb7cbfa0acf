import Bytes
import ClusterMetadata
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime

/// How a replica begins of which nothing is remembered.
typealias PartitionBeginning = MetadataImage.Partition.Beginning

extension PartitionShard {
    /// The Raft log to start a partition with.
    ///
    /// | the WAL has | the directory has | it starts |
    /// |---|---|---|
    /// | nothing | nothing | as a founder or joiner |
    /// | nothing, and damage | | alone in its group: not at all; else abstaining, above every lost term |
    /// | nothing | data | alone in its group: with the data; else abstaining, until it is added anew |
    /// | the founders' base, and all it knows of | nothing | as the founder it was |
    /// | a tombstone | nothing, or what was to be removed | as a joiner that knows its vote, and where its log ended |
    /// | entries from beyond the data on, or none | nothing, and others do | empty, and abstains |
    /// | entries from beyond the data on, and damage | less, and others have more | with the data, and abstains |
    /// | entries from beyond the data on, or none | less, or nobody has more | not at all |
    /// | anything else | | where it stopped |
    func storage(for start: PartitionStart, _ log: PartitionLog) throws -> WALRaftStorage {
        let storage: WALRaftStorage
        if let tombstone = manager.takeRemoved(start.groupID) {
            storage = tombstone
            storage.comeBack(as: Membership())
        } else if let recovered = start.recovered {
            storage = recovered
            if storage.isRemoved { storage.comeBack(as: Membership()) }
        } else {
            storage = newStorage(for: start, log)
        }
        let base = storage.base
        if log.appliedRaftIndex == 0, base.index == WALRaftStorage.foundersBase.index,
            base.term == WALRaftStorage.foundersBase.term, !storage.leavesAllToStateMachine
        {
            log.begin(
                raftIndex: base.index.rawValue,
                term: .init(Int32(truncatingIfNeeded: base.term.rawValue))
            )
        }
        // The WAL may not know of it: a snapshot may have taken the log's place, or damage a change.
        let membership =
            log.membership.isEmpty ? nil : try MembershipCoding.decoded(log.membership)
        do {
            try storage.finishRecovery(
                applied: LogIndex(log.appliedRaftIndex),
                term: Term(UInt64(log.appliedTerm.rawValue)),
                membership: membership
            )
        } catch {
            let hasOthers = storage.hasOtherVoters(than: manager.replicaID)
            guard hasOthers, error == .compacted, log.appliedRaftIndex == 0 else {
                throw StartProblem.missingEntries(
                    start.id,
                    found: "the segments end with entry \(log.appliedRaftIndex), the log has "
                        + "\(storage.firstIndex) to \(storage.lastIndex) and knows "
                        + "\(storage.hardState.commit) as committed",
                    hasOthers: hasOthers
                )
            }
            environment.log.warning(
                "the data of a partition is gone; it is fetched from another replica",
                ["partition": "\(start.id)"]
            )
            storage.startOverWithoutState()
            try storage.finishRecovery(applied: .zero, term: .zero)
        }
        return storage
    }

    private func newStorage(for start: PartitionStart, _ log: PartitionLog) -> WALRaftStorage {
        let group = start.groupID
        let own = manager.replicaID
        switch start.beginning {
        case .founder(let voters):
            let membership = Membership(voters: voters.map { ReplicaID(UInt64($0)) })
            if log.appliedRaftIndex == 0 {
                let storage = WALRaftStorage.bootstrapped(group: group, membership: membership)
                storage.letPendingRest()
                return storage
            }
            // Nobody else has a say: what the segments hold is all there is.
            if membership.voters == [own] {
                return WALRaftStorage(group: group, membership: membership)
            }
        case .joiner(let epoch, let index):
            if log.appliedRaftIndex == 0 {
                let end = LogPosition(term: Term(UInt64(epoch)), index: LogIndex(index))
                return .joining(group: group, after: end)
            }
        }
        let storage = WALRaftStorage(group: group, membership: Membership())
        storage.abstain(until: .unreachable, .missingLog)
        storage.stageState()
        return storage
    }
}
