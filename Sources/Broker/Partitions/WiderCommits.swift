import Raft
import RaftRuntime

/// The voters in sync of the groups that are led on one loop, as ``LeaderDuties`` sees them.
///
/// Confined to the loop.
final class InSyncTable: @unchecked Sendable {
    // Unchecked: confined to the loop of its shard.
    private var groups: [UInt64: (term: Term, voters: [ReplicaID])] = [:]

    func set(_ group: UInt64, _ voters: [ReplicaID], in term: Term) {
        groups[group] = (term, voters)
    }

    func remove(_ group: UInt64) { groups[group] = nil }

    /// `nil` before they were looked at in this term.
    func voters(of group: UInt64, in term: Term) -> [ReplicaID]? {
        guard let known = groups[group], known.term == term else { return nil }
        return known.voters
    }
}

extension PartitionReplica {
    /// How many voters have to have a batch for `wanted` replicas to have it: 0 where the majority
    /// that commits it is enough, and never more than there are.
    func votersBeyondMajority(_ wanted: Int) -> Int {
        let voters = info.membership.voters.count
        let count = min(wanted, voters)
        return count > voters / 2 + 1 ? count : 0
    }

    /// The last index that so many voters have on their disks; while members change, so many of the
    /// old and of the new ones.
    func index(heldBy count: Int) -> LogIndex {
        let status = status
        let held = { (voters: [ReplicaID]) in
            let matches = status.peers.filter { voters.contains($0.id) }.map(\.match).sorted(by: >)
            let place = min(count, voters.count) - 1
            return matches.indices.contains(place) ? matches[place] : .zero
        }
        let membership = status.membership
        guard membership.isJoint else { return held(membership.voters) }
        return min(held(membership.voters), held(membership.outgoingVoters))
    }

    /// How many voters are there and keep up, this one among them.
    func votersInSync(_ table: InSyncTable) -> Int {
        let info = info
        let known = table.voters(of: group, in: info.term)
        let peers = manager.peers
        let own = manager.replicaID
        return info.membership.voters.count { voter in
            voter == own || (peers.isLinked(voter) && known?.contains(voter) ?? true)
        }
    }
}
