import ClusterMetadata
import Platform
import Raft
import RaftRuntime

/// What this node does for the groups that it leads on one loop: watches how far their replicas
/// are, changes their members as the metadata wants them, and hands them over.
///
/// It looks at all of them twice a second and when nodes come or go, and soon at those that it has
/// just begun to lead or whose members change. A group whose replicas all have everything, but for
/// those of dead nodes, is passed over, and while all of those are silent nothing is looked at.
actor LeaderDuties {
    /// What is to be told of one look at the groups.
    struct Findings: Sendable {
        var leaderships: [GroupLeadership] = []
        var members: [GroupMembersReport] = []
    }

    private struct Led {
        let term: Term
        let since: Int64
        var watch: InSyncWatch
        /// Whether the metadata was told of those that the table has in sync.
        var isTold = false
    }

    private static let interval = Int64.milliseconds(500)
    private static let soon = Int64.milliseconds(100)
    /// How long a report of members has to take effect before it is made again.
    private static let reportPatience = Int64.seconds(2)
    /// How long a group is led before leadership is spread by handing it over.
    private static let stay = Int64.seconds(10)
    /// Leaderships that are on their way to others at a time, in a planned stop.
    private static let concurrentHandovers = 64

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let nodeID: Int32
    private let manager: RaftReplicaManager
    private let inSync: InSyncTable
    private let published: PublishedImage
    private let tell: @Sendable (Findings) -> Void
    private var led: [UInt64: Led] = [:]
    /// Groups whose members are to change.
    private var moving: Set<UInt64> = []
    /// Groups that were not looked at since they are led here.
    private var begun: Set<UInt64> = []
    /// When all are looked at.
    private var allDue = Int64.min
    /// When the members of a group were last reported, and of which revision.
    private var reported: [UInt64: (revision: Int32, at: Int64)] = [:]
    private var peers = PeerView()
    private var timer: LoopTimer?
    private var isLeaving = false

    init(
        shard: PartitionShard,
        nodeID: Int32,
        published: PublishedImage,
        tell: @escaping @Sendable (Findings) -> Void
    ) {
        loop = shard.loop
        manager = shard.manager
        inSync = shard.inSync
        self.nodeID = nodeID
        self.published = published
        self.tell = tell
    }

    // MARK: What comes

    /// This node has begun to lead a group.
    func leads(_ groupID: UInt64) {
        guard groupID != MetadataService.groupID, let replica = manager.replica(groupID),
            replica.isReadyLeader
        else { return }
        let status = replica.status
        let now = loop.clock.monotonicNanoseconds
        let partition = published.current.partition(ofGroup: groupID)
        led[groupID] = Led(
            term: status.term,
            since: now,
            watch: InSyncWatch(mark: status.commit, inSync: Self.inSync(partition), at: now)
        )
        // A move that was taken back after it was carried out is known to nobody but the group.
        if let assignment = partition?.assignment,
            assignment.isMoving || GroupMembers(status.membership).lack(assignment.target)
        {
            moving.insert(groupID)
        }
        var findings = Findings()
        examine(groupID, status, &findings)
        // Those that have not answered yet will have in a moment.
        begun.insert(groupID)
        schedule(after: Self.soon)
        tell(findings)
    }

    /// All replicas of one that nobody has led yet: there is nothing that any of them lacks.
    private static func inSync(_ partition: MetadataImage.Partition?) -> [ReplicaID] {
        guard let partition else { return [] }
        let known = partition.leadership
        return (known.leader < 0 ? partition.replicas : known.inSync).map {
            ReplicaID(UInt64($0))
        }
    }

    /// Has this be told when nodes come and go and groups wake; until then they are only looked at.
    func follow() {
        manager.onAwake = { [weak self] in
            self?.assumeIsolated { if !$0.led.isEmpty { $0.schedule(after: Self.interval) } }
        }
        manager.onPeersChanged = { [weak self] in
            // Once for all that changed together.
            self?.assumeIsolated { if !$0.led.isEmpty { $0.schedule(after: 0) } }
        }
    }

    /// The metadata wants other members of a group, or has taken note of those there are.
    func assignmentChanged(_ groupID: UInt64) {
        guard led[groupID] != nil else { return }
        led[groupID]?.isTold = false
        moving.insert(groupID)
        // Once for all that changed together.
        schedule(after: 0)
    }

    // MARK: Looking

    private func schedule(after delay: Int64) {
        let deadline = loop.clock.monotonicNanoseconds + delay
        if let timer, timer.body != nil, timer.deadline <= deadline { return }
        timer?.cancel()
        timer = loop.schedule(after: delay) { [weak self] in
            self?.assumeIsolated { $0.look() }
        }
    }

    private func look() {
        timer?.cancel()
        timer = nil
        guard !isLeaving else { return }
        var findings = Findings()
        let now = loop.clock.monotonicNanoseconds
        let peersChanged = manager.peers != peers
        peers = manager.peers
        let isForAll = peersChanged || now >= allDue
        if isForAll { allDue = now + Self.interval }
        var mayRest = isForAll && manager.onAwake != nil
        for groupID in isForAll ? led.keys.sorted() : begun.union(moving).sorted() {
            guard let replica = manager.replica(groupID), replica.isReadyLeader,
                let known = led[groupID]
            else {
                led[groupID] = nil
                inSync.remove(groupID)
                moving.remove(groupID)
                reported[groupID] = nil
                continue
            }
            let isMoving = moving.contains(groupID)
            // One that has begun since may have been looked at while other nodes were there.
            if !isMoving && !peersChanged && !begun.contains(groupID) && known.isTold
                && known.watch.hasSeenAll(through: replica.lastIndex)
            {
                // One that is ticked yet could wake unnoticed.
                if replica.isAwake { mayRest = false }
                continue
            }
            mayRest = false
            let status = replica.status
            // It began anew, and told of it.
            guard status.term == known.term else { continue }
            // Against the mark of the look before.
            if isMoving { advance(groupID, replica, status, &findings) }
            examine(groupID, status, &findings)
        }
        begun = []
        if !findings.leaderships.isEmpty || !findings.members.isEmpty { tell(findings) }
        guard !led.isEmpty, !mayRest else { return }
        schedule(after: moving.isEmpty ? allDue - now : min(Self.soon, allDue - now))
    }

    private func examine(
        _ groupID: UInt64,
        _ status: RaftStatus,
        _ findings: inout Findings
    ) {
        guard var known = led[groupID] else { return }
        let voters = known.watch.update(
            status,
            linked: manager.peers,
            cameBack: manager.cameBack,
            at: loop.clock.monotonicNanoseconds
        )
        let told = known.isTold ? inSync.voters(of: groupID, in: status.term) : nil
        inSync.set(groupID, voters, in: status.term)
        if voters != told ?? [] {
            known.isTold = true
            findings.leaderships.append(
                GroupLeadership(
                    groupID: groupID,
                    PartitionLeadership(
                        leader: nodeID,
                        epoch: Int32(truncatingIfNeeded: status.term.rawValue),
                        inSync: voters.map { Int32(truncatingIfNeeded: $0.rawValue) }
                    )
                )
            )
        }
        led[groupID] = known
    }

    // MARK: Members

    /// Takes the next step towards the members the metadata wants.
    private func advance(
        _ groupID: UInt64,
        _ replica: PartitionReplica,
        _ status: RaftStatus,
        _ findings: inout Findings
    ) {
        guard let assignment = published.current.partition(ofGroup: groupID)?.assignment else {
            moving.remove(groupID)
            return
        }
        let members = GroupMembers(status.membership)
        let step = MembershipStep.next(
            for: assignment,
            members: members,
            caughtUp: caughtUp(groupID, status),
            leader: nodeID
        )
        switch step {
        case nil:
            if !assignment.isMoving && members.outgoing.isEmpty { moving.remove(groupID) }
        case .awaitCatchUp: break
        case .change(let learners, let voters, let leaving):
            // What is in the way now, such as a change under way, will not be at a later look.
            _ = try? replica.proposeChange(
                ConfigurationChange(
                    learners.map { .init(.addLearner, ReplicaID(UInt64($0))) }
                        + voters.map { .init(.addVoter, ReplicaID(UInt64($0))) }
                        + leaving.map { .init(.removeReplica, ReplicaID(UInt64($0))) }
                )
            )
        case .transferLeadership(let candidates):
            if let first = candidates.first, status.transferee == nil {
                try? replica.transferLeadership(to: ReplicaID(UInt64(first)))
            }
        case .report:
            // What is reported, those who left may delete their part on.
            guard replica.settleMembership() else { return }
            let now = loop.clock.monotonicNanoseconds
            if let last = reported[groupID], last.revision == assignment.revision,
                now - last.at < Self.reportPatience
            {
                return
            }
            reported[groupID] = (assignment.revision, now)
            findings.members.append(
                GroupMembersReport(
                    groupID: groupID,
                    epoch: Int32(truncatingIfNeeded: status.term.rawValue),
                    revision: assignment.revision,
                    members: members,
                    commit: status.commit.rawValue
                )
            )
        }
    }

    private func caughtUp(_ groupID: UInt64, _ status: RaftStatus) -> [Int32] {
        (led[groupID]?.watch.caughtUp(status, linked: manager.peers) ?? [])
            .map { Int32(truncatingIfNeeded: $0.rawValue) }
    }

    // MARK: Handing over

    /// Begins to hand a group over to a replica that has caught up; tells whether it did.
    ///
    /// One that has come here only now stays for a while, whoever wanted it so.
    func transfer(_ groupID: UInt64, to target: Int32) -> Bool {
        guard let replica = manager.replica(groupID), replica.isReadyLeader else { return false }
        guard let known = led[groupID],
            loop.clock.monotonicNanoseconds - known.since >= Self.stay
        else { return false }
        let status = replica.status
        let id = ReplicaID(UInt64(target))
        guard status.transferee == nil, !status.membership.isJoint,
            status.membership.isVoter(id), caughtUp(groupID, status).contains(target)
        else { return false }
        do {
            try replica.transferLeadership(to: id)
            return true
        } catch {
            return false
        }
    }

    /// Hands over what this node leads, if there is anybody to take it; tells how many groups it
    /// leads yet, or have a new leader that is not known here.
    ///
    /// To be called again until nothing is left. `counts` are the groups that the others lead.
    func handOver(
        metadata: Bool,
        _ counts: [Int32: Int]
    ) -> (left: Int, counts: [Int32: Int]) {
        isLeaving = true
        var counts = counts
        var left = 0
        var underWay = 0
        for replica in manager.all
        where (replica.group == MetadataService.groupID) == metadata && !replica.isAlone {
            let status = replica.status
            guard status.role == .leader else {
                if status.leader == nil && isMajorityLinked(of: status.membership) { left += 1 }
                continue
            }
            let candidates = status.peers.filter {
                $0.id != status.id && manager.peers.isLinked($0.id)
                    && status.membership.voters.contains($0.id) && mayLead($0.id)
            }
            guard !candidates.isEmpty else { continue }
            left += 1
            if status.transferee != nil { underWay += 1 }
            guard status.transferee == nil, underWay < Self.concurrentHandovers else { continue }
            let best = candidates.map(\.match).max() ?? .zero
            let target = candidates.filter { $0.match == best }
                .map { Int32(truncatingIfNeeded: $0.id.rawValue) }
                .min { (counts[$0] ?? 0, $0) < (counts[$1] ?? 0, $1) }
            guard let target else { continue }
            underWay += 1
            counts[target, default: 0] += 1
            try? replica.transferLeadership(to: ReplicaID(UInt64(target)))
        }
        return (left, counts)
    }

    /// Not to one that stops as well: it would hand over in turn.
    private func mayLead(_ id: ReplicaID) -> Bool {
        let broker = published.current.broker(Int32(truncatingIfNeeded: id.rawValue))
        return broker.map(\.isUsable) ?? true
    }

    private func isMajorityLinked(of membership: Membership) -> Bool {
        let linked = membership.voters.filter(manager.peers.isLinked)
        return linked.count > membership.voters.count / 2
    }
}

extension GroupMembers {
    init(_ membership: Membership) {
        let ids = { (replicas: [ReplicaID]) in
            replicas.map { Int32(truncatingIfNeeded: $0.rawValue) }
        }
        self.init(
            voters: ids(membership.voters),
            outgoing: ids(membership.outgoingVoters),
            learners: ids(membership.learners + membership.learnersNext)
        )
    }
}
