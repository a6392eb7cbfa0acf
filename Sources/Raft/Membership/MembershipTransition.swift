/// Why a membership cannot be changed so.
public enum MembershipError: Error, Sendable, Equatable {
    case alreadyJoint
    case notJoint
    case noVoters
    case simpleChangeWhileJoint
    case removesAllVoters
    case moreThanOneVoterChanged
}

extension Membership {
    /// The membership after a change, in whichever of the three ways it is to be carried out.
    public func applying(_ change: ConfigurationChange) throws(MembershipError) -> Membership {
        if change.leavesJoint { return try leavingJoint() }
        if let autoLeave = change.jointAutoLeave {
            return try enteringJoint(change.steps, autoLeave: autoLeave)
        }
        return try applyingSimply(change.steps)
    }

    /// Changes at most one voter: any majority before and any after overlap (thesis, 4.1).
    func applyingSimply(
        _ steps: [ConfigurationChange.Step]
    ) throws(MembershipError) -> Membership {
        guard !isJoint else { throw .simpleChangeWhileJoint }
        let next = try carryingOut(steps)
        let gone = voters.count { !next.voters.containsSorted($0) }
        let new = next.voters.count { !voters.containsSorted($0) }
        guard gone + new <= 1 else { throw .moreThanOneVoterChanged }
        return next
    }

    /// Changes any number of voters: from now on both the old and the new majority are needed
    /// (thesis, 4.3).
    func enteringJoint(
        _ steps: [ConfigurationChange.Step],
        autoLeave: Bool
    ) throws(MembershipError) -> Membership {
        guard !isJoint else { throw .alreadyJoint }
        guard !voters.isEmpty else { throw .noVoters }
        var joint = self
        joint.outgoingVoters = voters
        joint = try joint.carryingOut(steps)
        joint.autoLeave = autoLeave
        return joint
    }

    func leavingJoint() throws(MembershipError) -> Membership {
        guard isJoint else { throw .notJoint }
        return Membership(voters: voters, learners: learners + learnersNext)
    }

    private func carryingOut(
        _ steps: [ConfigurationChange.Step]
    ) throws(MembershipError) -> Membership {
        var next = self
        for step in steps where step.replica.rawValue != 0 {
            switch step.kind {
            case .addVoter:
                next.learners.removeSorted(step.replica)
                next.learnersNext.removeSorted(step.replica)
                next.voters.insertSorted(step.replica)
            case .addLearner:
                next.voters.removeSorted(step.replica)
                // Still a voter of the outgoing set: a replica is never both, so it waits.
                if next.outgoingVoters.containsSorted(step.replica) {
                    next.learnersNext.insertSorted(step.replica)
                } else {
                    next.learners.insertSorted(step.replica)
                }
            case .removeReplica:
                next.voters.removeSorted(step.replica)
                next.learners.removeSorted(step.replica)
                next.learnersNext.removeSorted(step.replica)
            case .update:
                break
            }
        }
        guard !next.voters.isEmpty else { throw .removesAllVoters }
        return next
    }
}
