package import Raft

/// Who belongs to the group, as its log says, and how that changes.
extension PartitionReplica {
    /// The core carries out the change at `index` once that is applied.
    func changeMembership(at index: LogIndex) {
        let before = node.membership
        node.onApplied(index)
        guard node.membership != before else { return }
        settledFrom = node.role == .leader ? node.lastIndex + 1 : .zero
        memberships.append((index, node.membership))
        storage.committed(index)
        followMembership()
        onMembershipChanged?(node.membership)
    }

    func followMembership() {
        let membership = node.membership
        let members = membership.members
        isAlone = members.count == 1 && members[0] == id
        hasLearners = !membership.learners.isEmpty
        // Nobody is left whose silence it could wait for.
        if isAlone && node.role != .leader && node.applied > .zero && memberships.count > 1 {
            campaign()
        }
    }

    /// Who belonged to the group at an index from the log's base on.
    package func membership(at index: LogIndex) -> Membership {
        (memberships.last { $0.index <= index } ?? memberships[0]).membership
    }

    /// Whether whoever is elected from now on knows of the last change of the membership; if not, an
    /// entry is appended that will make it so.
    ///
    /// A majority has the change, but maybe not that it is committed: started anew, they would ask
    /// those who have left for their votes. Who takes a later entry writes that down with it.
    package func settleMembership() -> Bool {
        if node.commit >= settledFrom { return true }
        if node.lastIndex < settledFrom { _ = try? propose(.empty) }
        return false
    }

    /// Changes who belongs to the group; returns once the change is applied here.
    ///
    /// One change at a time. A joint one that ends by itself is through when it is left, of which
    /// ``onMembershipChanged`` tells.
    package func changeMembership(_ change: ConfigurationChange) async throws(RaftError) {
        let index = try proposeChange(change)
        _ = try await applied(index)
    }

    /// Proposes a change of the membership, without waiting for anything.
    @discardableResult
    package func proposeChange(_ change: ConfigurationChange) throws(RaftError) -> LogIndex {
        try checkUsable()
        let addsMember = change.steps.contains {
            $0.kind != .removeReplica && !node.membership.contains($0.replica)
        }
        if addsMember && storage.base.index == .zero { throw .logHasNoBase }
        let index: LogIndex
        do {
            index = try node.propose(change).first
        } catch {
            throw RaftError(error)
        }
        proposals &+= 1
        manager.markDirty(self)
        return index
    }

    /// Makes a voter of a learner that caught up; one at a time.
    func promoteLearners() {
        guard hasLearners, !node.membership.isJoint else { return }
        let ready = node.status.promotableLearners(maxLag: manager.config.promotionLag)
        guard let learner = ready.first(where: manager.peers.isLinked) else { return }
        _ = try? proposeChange(
            ConfigurationChange([ConfigurationChange.Step(.addVoter, learner)])
        )
    }
}
