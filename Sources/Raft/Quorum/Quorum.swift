/// What a count of votes says so far.
public enum VoteResult: Sendable, Equatable {
    /// Votes not yet cast can decide it either way.
    case pending
    case won
    case lost
}

/// A majority of a set of voters; the empty set agrees to everything, which makes it the neutral
/// half of a joint quorum.
struct Majority {
    let voters: [ReplicaID]

    var size: Int {
        #if CHRONIK_PLANT
        if PlantedFault.inForce == .quorumOffByOne { return max(1, voters.count / 2) }
        #endif
        return voters.count / 2 + 1
    }

    /// The highest index that a majority has reached (thesis, 3.5).
    func committedIndex(_ reached: (ReplicaID) -> LogIndex?) -> LogIndex {
        switch voters.count {
        case 0: .max
        case 1: reached(voters[0]) ?? .zero
        default: medianIndex(reached)
        }
    }

    private func medianIndex(_ reached: (ReplicaID) -> LogIndex?) -> LogIndex {
        let count = voters.count
        return withUnsafeTemporaryAllocation(of: LogIndex.self, capacity: count) { sorted in
            // Insertion sort, ascending: a handful of numbers.
            for place in 0..<count {
                let index = reached(voters[place]) ?? .zero
                var gap = place
                while gap > 0 && sorted[gap - 1] > index {
                    sorted.initializeElement(at: gap, to: sorted[gap - 1])
                    gap -= 1
                }
                sorted.initializeElement(at: gap, to: index)
            }
            return sorted[count - size]
        }
    }

    /// What the votes say; nil is a vote not yet cast.
    func result(_ vote: (ReplicaID) -> Bool?) -> VoteResult {
        guard !voters.isEmpty else { return .won }
        var granted = 0
        var missing = 0
        for voter in voters {
            switch vote(voter) {
            case true?: granted += 1
            case nil: missing += 1
            case false?: break
            }
        }
        if granted >= size { return .won }
        return granted + missing >= size ? .pending : .lost
    }
}

extension Membership {
    /// The highest index that a majority of each active set has reached.
    func committedIndex(_ reached: (ReplicaID) -> LogIndex?) -> LogIndex {
        let index = Majority(voters: voters).committedIndex(reached)
        guard isJoint else { return index }
        return min(index, Majority(voters: outgoingVoters).committedIndex(reached))
    }

    /// Won if both sets agree, lost as soon as one cannot any more.
    func voteResult(_ vote: (ReplicaID) -> Bool?) -> VoteResult {
        let incoming = Majority(voters: voters).result(vote)
        let outgoing = Majority(voters: outgoingVoters).result(vote)
        if incoming == outgoing { return incoming }
        return incoming == .lost || outgoing == .lost ? .lost : .pending
    }
}
