/// Who belongs to a group: one set of voters, or two while a change is under way (thesis, 4.3).
///
/// While it is joint, every decision needs a majority of `voters` and one of `outgoingVoters`. All
/// arrays are sorted. Voters and learners are disjoint; `learnersNext` are outgoing voters that
/// become learners once the joint configuration is left.
public struct Membership: Sendable, Equatable {
    public internal(set) var voters: [ReplicaID]
    public internal(set) var outgoingVoters: [ReplicaID]
    public internal(set) var learners: [ReplicaID]
    public internal(set) var learnersNext: [ReplicaID]

    /// Whether the leader leaves the joint configuration by itself.
    public internal(set) var autoLeave: Bool

    public init(
        voters: [ReplicaID] = [],
        outgoingVoters: [ReplicaID] = [],
        learners: [ReplicaID] = [],
        learnersNext: [ReplicaID] = [],
        autoLeave: Bool = false
    ) {
        self.voters = voters.sortedUnique()
        self.outgoingVoters = outgoingVoters.sortedUnique()
        self.learners = learners.sortedUnique()
        self.learnersNext = learnersNext.sortedUnique()
        self.autoLeave = autoLeave
    }

    public var isJoint: Bool { !outgoingVoters.isEmpty }

    /// Whether the replica's voice counts in either set.
    public func isVoter(_ id: ReplicaID) -> Bool {
        voters.containsSorted(id) || outgoingVoters.containsSorted(id)
    }

    public func contains(_ id: ReplicaID) -> Bool {
        isVoter(id) || learners.containsSorted(id) || learnersNext.containsSorted(id)
    }

    /// All replicas, sorted.
    public var members: [ReplicaID] {
        (voters + outgoingVoters + learners + learnersNext).sortedUnique()
    }

    /// The voters of both sets, sorted.
    var allVoters: [ReplicaID] {
        isJoint ? (voters + outgoingVoters).sortedUnique() : voters
    }

    /// Whether the sets are what the type promises; bytes from outside may not be.
    var isConsistent: Bool {
        !learners.contains(where: isVoter)
            && learnersNext.allSatisfy { outgoingVoters.containsSorted($0) }
            && !learnersNext.contains(where: voters.containsSorted)
            && (isJoint || (learnersNext.isEmpty && !autoLeave))
            && (!voters.isEmpty || !isJoint)
    }
}

extension [ReplicaID] {
    func sortedUnique() -> [ReplicaID] {
        var result: [ReplicaID] = []
        for id in sorted() where result.last != id { result.append(id) }
        return result
    }

    /// Whether a sorted array holds the id; groups are small, so it is looked through in order.
    func containsSorted(_ id: ReplicaID) -> Bool {
        for other in self where other >= id { return other == id }
        return false
    }

    mutating func insertSorted(_ id: ReplicaID) {
        let place = firstIndex { $0 >= id } ?? endIndex
        if place == endIndex || self[place] != id { insert(id, at: place) }
    }

    mutating func removeSorted(_ id: ReplicaID) {
        if let place = firstIndex(of: id) { remove(at: place) }
    }
}
