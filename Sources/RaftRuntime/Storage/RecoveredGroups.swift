package import Bytes
package import Raft
package import WriteAheadLog

/// The groups that a node's WAL told of, until each is taken over by the loop that will own it.
///
/// | what the WAL has of a group | with other voters | with none |
/// |---|---|---|
/// | all it wrote | goes on | goes on |
/// | all but what damage may have taken | abstains until repaired | refused |
/// | nothing, and nothing was lost | goes on: it never promised anything | goes on |
/// | nothing, because the whole WAL is gone | abstains for good | refused |
package final class RecoveredGroups: @unchecked Sendable {
    // Unchecked: filled while the node starts, then confined to the loop that hands the groups out.
    private let replica: ReplicaID
    private var storages: [UInt64: WALRaftStorage] = [:]
    /// The last one asked for; records of a group come in runs.
    private var latest: WALRaftStorage?
    /// In log order.
    package private(set) var damage: [WALDamage] = []
    private var isLogNew = false

    package init(replica: ReplicaID) { self.replica = replica }

    // MARK: While the WAL is read

    package func take(
        _ record: WALRecordHeader,
        _ payload: ByteSlice,
        at position: WALPosition
    ) throws(MalformedBytes) {
        try storage(record.group).recover(
            kind: record.kind,
            term: record.term,
            index: record.index,
            payload: payload,
            at: position
        )
    }

    private func storage(_ group: UInt64) -> WALRaftStorage {
        if let latest, latest.group == group { return latest }
        if let known = storages[group] {
            latest = known
            return known
        }
        let new = WALRaftStorage(group: group, membership: Membership())
        new.replica = replica
        // Its first records may have been lost before this one.
        if let last = damage.last { new.recoverDamage(highestTerm: Term(last.highestTerm)) }
        storages[group] = new
        latest = new
        return new
    }

    /// Any group may have lost records here.
    package func take(_ damage: WALDamage) {
        self.damage.append(damage)
        for storage in storages.values {
            storage.recoverDamage(highestTerm: Term(damage.highestTerm))
        }
    }

    /// The WAL is open: whether there was one before.
    package func opened(isNew: Bool) {
        isLogNew = isNew
        latest = nil
    }

    // MARK: Handing over

    /// Groups that were found and not taken over yet.
    package var groups: [UInt64] { storages.keys.sorted() }

    /// The lowest WAL file that each of them needs.
    package var oldestFiles: [UInt64: UInt64] { storages.mapValues(\.oldestFile) }

    /// The lowest WAL file that any of them needs.
    var oldestFile: UInt64 { storages.values.map(\.oldestFile).min() ?? .max }

    /// Hands over what the WAL has of a group.
    ///
    /// - Parameters:
    ///   - group: Its number.
    ///   - membership: Who belongs to it, if the WAL does not know better; empty for a joiner.
    ///   - isNew: It was made just now, so that no replica of it can have promised anything.
    /// - Returns: Its storage; to be finished with
    ///   ``WALRaftStorage/finishRecovery(applied:term:membership:)``.
    /// - Throws: when this replica has lost what no other has.
    package func storage(
        of group: UInt64,
        membership: Membership,
        isNew: Bool
    ) throws(RecoveryProblem) -> WALRaftStorage {
        guard let storage = storages.removeValue(forKey: group) else {
            return try unknown(group, membership, isNew: isNew)
        }
        if storage.isRemoved { storage.comeBack(as: membership) }
        if storage.base.membership.members.isEmpty { storage.base.membership = membership }
        if !storage.hasOtherVoters(than: replica) {
            if storage.isInDoubt { throw .damaged(group: group, damage) }
            storage.cannotBeRepaired()
        }
        return storage
    }

    private func unknown(
        _ group: UInt64,
        _ membership: Membership,
        isNew: Bool
    ) throws(RecoveryProblem) -> WALRaftStorage {
        let storage = WALRaftStorage(group: group, membership: membership)
        storage.replica = replica
        guard !isNew && (isLogNew || !damage.isEmpty) else { return storage }
        // A joiner learns of the others from their leader.
        guard membership.members.isEmpty || storage.hasOtherVoters(than: replica) else {
            throw damage.isEmpty ? .missing(group: group) : .damaged(group: group, damage)
        }
        if let last = damage.last { storage.recoverDamage(highestTerm: Term(last.highestTerm)) }
        if isLogNew { storage.abstain(until: .unreachable, .missingLog) }
        return storage
    }

    /// The groups whose replica was removed from this node, of which term and vote are kept; empty
    /// afterwards.
    package func takeRemoved() -> [WALRaftStorage] {
        let removed = groups.compactMap { storages[$0] }.filter(\.isRemoved)
        for storage in removed {
            storage.settleDoubt()
            storages[storage.group] = nil
        }
        return removed
    }

    /// The groups nobody has taken over, nor will: they left this node while it was down.
    ///
    /// Of each, term and vote are left. Those that `isWanted` may yet be taken over.
    package func takeLeft(unless isWanted: (_ group: UInt64) -> Bool) -> [WALRaftStorage] {
        let left = groups.filter { !isWanted($0) }.compactMap { storages.removeValue(forKey: $0) }
        for storage in left {
            storage.settleDoubt()
            if !storage.isRemoved { storage.remove() }
        }
        return left
    }
}

/// Why a replica cannot start from what its node's WAL has.
package enum RecoveryProblem: Error, Equatable, CustomStringConvertible {
    /// Entries it acknowledged may be gone, and nobody else has them.
    case damaged(group: UInt64, [WALDamage])
    /// The WAL was new, and the group was not.
    case missing(group: UInt64)

    package var description: String {
        switch self {
        case .damaged(let group, let damage):
            """
            group \(group) may have lost records, and no other replica has them: \
            \(damage.map(\.description).joined(separator: ", ")). Restore the write-ahead log from \
            a copy, or delete what the group belongs to
            """
        case .missing(let group):
            """
            group \(group) has no records: the write-ahead log is gone, and no other replica has \
            them. Restore it from a copy, or delete what the group belongs to
            """
        }
    }
}
