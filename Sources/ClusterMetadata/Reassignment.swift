import KafkaProtocol

/// What requests and the leaders' reports change in where partitions are.
///
/// A reassignment, step by step; the leader of the partition's group carries it out and reports:
///
///     asked for       adding: new brokers; removing: those to leave; all are replicas
///     the new learn   nothing in the metadata
///     joint change    nothing in the metadata
///     reported done   adding and removing empty; who left deletes the files
///
/// Another target takes the place of the first at any time; taken back, the target is what it was.
extension MetadataController {
    /// A target of `nil` takes a reassignment back (KIP-455).
    package mutating func reassign(
        _ name: String,
        _ index: Int32,
        to target: [Int32]?
    ) throws(MetadataProblem) -> Decision<Void> {
        guard let topic = decided.topic(name), index >= 0, index < topic.partitions.count else {
            throw .init(.unknownTopicOrPartition, "there is no partition \(name)-\(index)")
        }
        let partition = topic.partitions[Int(index)]
        let old = partition.assignment
        let new: ReplicaAssignment
        if let target {
            try checkReplicas(target)
            let key = TopicConfigurationKey.minInSyncReplicas
            try checkMinInSync(
                key,
                topic.configs[key],
                replicas: target.count,
                "the replicas that \(name)-\(index) is to have; set it lower first",
                or: .invalidReplicaAssignment
            )
            new = old.retargeted(target)
        } else {
            guard old.isReassigning else {
                throw .init(
                    .noReassignmentInProgress,
                    "partition \(name)-\(index) is not being reassigned"
                )
            }
            new = old.retargeted(old.original)
        }
        guard new != old else { return Decision(records: [], answer: ()) }
        return decide([.assignment(groupID: partition.groupID, new)], ())
    }

    /// What the leader of a group says of its members, once they have changed.
    package mutating func groupHasMembers(
        _ report: GroupMembersReport
    ) throws(MetadataProblem) -> Decision<Void> {
        guard let partition = decided.partition(ofGroup: report.groupID) else {
            throw .init(.unknownTopicOrPartition, "no partition has group \(report.groupID)")
        }
        // Of a leader that another has followed.
        guard report.epoch >= partition.leadership.epoch else {
            throw .init(
                .fencedLeaderEpoch,
                "group \(report.groupID) had a leader of epoch \(partition.leadership.epoch),"
                    + " after \(report.epoch)"
            )
        }
        // It speaks of an assignment that has changed since, or its leadership is not known yet: the
        // leader will see and report again. Who joins counts on terms that are known here.
        guard report.revision == partition.assignment.revision,
            report.epoch == partition.leadership.epoch
        else {
            return Decision(records: [], answer: ())
        }
        let new = partition.assignment.after(report.members, at: report.commit)
        guard new != partition.assignment else { return Decision(records: [], answer: ()) }
        return decide([.assignment(groupID: report.groupID, new)], ())
    }
}

/// The members of a group as its leader has committed them.
package struct GroupMembers: Sendable, Equatable {
    package var voters: [Int32]
    /// The voters of the old half while a joint change is under way; else empty.
    package var outgoing: [Int32]
    package var learners: [Int32]

    package init(voters: [Int32], outgoing: [Int32] = [], learners: [Int32] = []) {
        self.voters = voters
        self.outgoing = outgoing
        self.learners = learners
    }

    /// Whether one of the brokers does not vote.
    package func lack(_ brokers: [Int32]) -> Bool { !brokers.allSatisfy(voters.contains) }

    func contains(_ broker: Int32) -> Bool {
        voters.contains(broker) || outgoing.contains(broker) || learners.contains(broker)
    }
}

package struct GroupMembersReport: Sendable, Equatable {
    package var groupID: UInt64
    /// The leader's term.
    package var epoch: Int32
    /// Of the assignment the leader acted on.
    package var revision: Int32
    package var members: GroupMembers
    /// The leader's commit index.
    package var commit: UInt64

    package init(
        groupID: UInt64,
        epoch: Int32,
        revision: Int32,
        members: GroupMembers,
        commit: UInt64
    ) {
        self.groupID = groupID
        self.epoch = epoch
        self.revision = revision
        self.members = members
        self.commit = commit
    }
}

extension ReplicaAssignment {
    /// On the way to another target, from wherever an earlier one has led.
    func retargeted(_ target: [Int32]) -> ReplicaAssignment {
        let base = isReassigning ? original : replicas
        var next = ReplicaAssignment(
            replicas: target + replicas.filter { !target.contains($0) },
            adding: target.filter { !base.contains($0) },
            removing: replicas.filter { !target.contains($0) },
            renewing: renewing,
            rejoining: rejoining.filter { target.contains($0) },
            revision: revision,
            settledIndex: settledIndex
        )
        if next.isReassigning { next.original = base }
        return next.revised(from: self)
    }

    /// Once the group has these members, and has committed so much.
    func after(_ members: GroupMembers, at commit: UInt64) -> ReplicaAssignment {
        var next = self
        let left = renewing.filter { !members.contains($0) }
        next.renewing.removeAll { left.contains($0) }
        next.rejoining += left.filter(target.contains)
        let isSettled =
            members.outgoing.isEmpty && members.learners.isEmpty && next.renewing.isEmpty
            && members.voters.sorted() == target.sorted()
        if isSettled { next = ReplicaAssignment(replicas: target, revision: revision) }
        next.settledIndex = settledIndex
        if next != self { next.settledIndex = max(settledIndex, commit) }
        return next.revised(from: self)
    }

    private consuming func revised(from old: ReplicaAssignment) -> ReplicaAssignment {
        if self != old { revision &+= 1 }
        return self
    }
}

/// What the leader of a group does next so that its members become those the metadata wants.
package enum MembershipStep: Sendable, Equatable {
    /// One change that adds learners, or takes members out, or makes learners voters while others
    /// leave (a joint one where it is more than one step).
    case change(addLearners: [Int32], addVoters: [Int32], remove: [Int32])
    /// These learners are not near the leader's end yet.
    case awaitCatchUp([Int32])
    /// The leader is to leave: one of these takes over first, the earliest that can.
    case transferLeadership([Int32])
    /// The metadata does not know of these members yet.
    case report

    /// The next step, or `nil` when there is nothing to do or a change is under way.
    ///
    /// `caughtUp` are the members whose logs are near the leader's end; `leader` is the broker
    /// that asks, which leads the group.
    package static func next(
        for assignment: ReplicaAssignment,
        members: GroupMembers,
        caughtUp: [Int32],
        leader: Int32
    ) -> MembershipStep? {
        guard members.outgoing.isEmpty else { return nil }
        if let lost = assignment.renewing.first(where: { members.contains($0) }) {
            return .change(addLearners: [], addVoters: [], remove: [lost])
        }
        if !assignment.renewing.isEmpty { return .report }
        let target = assignment.target
        let strays = members.learners.filter { !target.contains($0) }
        if !strays.isEmpty { return .change(addLearners: [], addVoters: [], remove: strays) }
        let missing = target.filter { !members.contains($0) }
        if !missing.isEmpty { return .change(addLearners: missing, addVoters: [], remove: []) }
        let behind = members.learners.filter { !caughtUp.contains($0) }
        if !behind.isEmpty { return .awaitCatchUp(behind) }
        let leaving = members.voters.filter { !target.contains($0) }
        guard leaving.contains(leader) else {
            if !members.learners.isEmpty || !leaving.isEmpty {
                return .change(addLearners: [], addVoters: members.learners, remove: leaving)
            }
            return assignment.isMoving ? .report : nil
        }
        // A leader does not vote itself out: its successors get their votes, and one takes over.
        if !members.learners.isEmpty {
            return .change(addLearners: [], addVoters: members.learners, remove: [])
        }
        return .transferLeadership(target.filter { caughtUp.contains($0) })
    }
}
