internal import Raft

extension Membership {
    /// Whether these replicas can decide alone; counted here, not by the code under test.
    func isDecided(by replicas: (ReplicaID) -> Bool) -> Bool {
        func hasMajority(_ voters: [ReplicaID]) -> Bool {
            2 * voters.count(where: replicas) > voters.count
        }
        return hasMajority(voters) && (outgoingVoters.isEmpty || hasMajority(outgoingVoters))
    }

    /// Whether each quorum of one meets each of the other.
    func overlaps(_ other: Membership) -> Bool {
        let ids = (voters + outgoingVoters + other.voters + other.outgoingVoters)
        var all: [ReplicaID] = []
        for id in ids where !all.contains(id) { all.append(id) }
        for subset in 0..<(1 << all.count) {
            func isIn(_ id: ReplicaID) -> Bool {
                all.firstIndex(of: id).map { subset >> $0 & 1 == 1 } ?? false
            }
            if isDecided(by: isIn) && other.isDecided(by: { !isIn($0) }) { return false }
        }
        return true
    }
}
