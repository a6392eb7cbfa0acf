package import Admin
import Bytes
import ClusterMetadata
import KafkaProtocol
import Platform
import Raft
import RaftRuntime

/// Leaderships that an operator moves: carried out by the node that leads, whoever is asked.
extension NodeAdmin {
    /// Together less than what an admin request may take.
    private static let transferPatience = Int64.milliseconds(4_000)
    private static let callPatience = Int64.milliseconds(4_300)
    /// How long a partition may be without a leader until that is the answer.
    private static let leaderPatience = Int64.milliseconds(500)
    private static let pause = Int64.milliseconds(10)

    package func transferLeadership(
        topic: String,
        partition: Int32,
        to node: Int32
    ) async -> LeadershipTransfer {
        let id = TopicPartition(topic: topic, partition: partition)
        let deadline = clock.monotonicNanoseconds + Self.leaderPatience
        while true {
            let all = await partitions()
            guard let found = all.first(where: { $0.topic == topic && $0.partition == partition })
            else { return .unknownPartition }
            guard found.replicas.contains(node) else {
                return .notAReplica(replicas: found.replicas)
            }
            let outcome = await ask(found.leader, id, to: node)
            guard outcome == .leaderless, clock.monotonicNanoseconds < deadline else {
                return outcome
            }
            await shards[0].loop.sleep(nanoseconds: Self.pause)
        }
    }

    private func ask(
        _ leader: Int32?,
        _ id: TopicPartition,
        to node: Int32
    ) async -> LeadershipTransfer {
        guard let leader else { return .leaderless }
        guard leader != node else { return .alreadyLeader }
        guard leader != nodeID, let link else { return await transferHere(id, to: node) }
        do {
            let answer = try await link.call(
                leader,
                .transferLeadership,
                TransferRequest(id, to: node).encoded(),
                within: Self.callPatience
            )
            return try LeadershipTransfer(decoding: answer)
        } catch PeerCallError.timedOut {
            return .timedOut
        } catch is PeerCallError {
            return .leaderless
        } catch {
            return .failed(reason: "node \(leader) answered nonsense: \(error)")
        }
    }

    /// Hands a leadership of this node over.
    func transferHere(_ id: TopicPartition, to node: Int32) async -> LeadershipTransfer {
        let group =
            id == MetadataService.partitionID
            ? MetadataService.groupID
            : published.current.topic(id.topic).flatMap { topic in
                topic.partitions.indices.contains(Int(id.partition))
                    ? topic.partitions[Int(id.partition)].groupID : nil
            }
        guard let group else { return .unknownPartition }
        guard hears(node) else {
            return .targetUnavailable(reason: "node \(node) is down")
        }
        let shard = shards[Placement.loop(of: group, of: shards.count)]
        return await shard.transfer(id, to: node, within: Self.transferPatience, Self.pause)
    }
}

extension PartitionShard {
    /// Raft gives a transfer up after an election timeout, whatever went wrong: so many are begun.
    private static let transferAttempts = 4
    /// In between proposals are taken.
    private static let betweenTransfers = Int64.milliseconds(100)

    /// Returns once the target leads, or will not.
    ///
    /// A target that keeps up is asked again when it did not take over: the request may have been
    /// lost, or its node slow.
    func transfer(
        _ id: TopicPartition,
        to node: Int32,
        within nanoseconds: Int64,
        _ pause: Int64
    ) async -> LeadershipTransfer {
        guard let partition = partition(id), !partition.hasFailed, partition.leaderEpoch != nil
        else { return .leaderless }
        let replica = partition.replica
        let target = ReplicaID(UInt64(node))
        if target == replica.manager.replicaID { return .alreadyLeader }
        let status = replica.status
        if let problem = refusal(of: target, status) { return problem }
        let deadline = loop.clock.monotonicNanoseconds + nanoseconds
        var attempts = 0
        var gaveUp: Int64?
        while true {
            let (info, now) = (replica.info, loop.clock.monotonicNanoseconds)
            if info.leader == target { return .transferred }
            if let leader = info.leader, info.term > status.term, !info.isLeader {
                return .failed(reason: "node \(leader) was elected instead")
            }
            if partition.hasFailed { return .failed(reason: "the partition's log failed") }
            if now >= deadline { return .timedOut }
            if info.isLeader, replica.status.transferee == nil {
                let since = now - (gaveUp ?? now)
                gaveUp = now - since
                switch next(after: attempts, since: since, replica.status, target) {
                case .wait: break
                case .giveUp:
                    return .targetUnavailable(reason: doubts(about: target, replica.status))
                case .begin:
                    do {
                        try replica.transferLeadership(to: target)
                    } catch {
                        return LeadershipTransfer(refusedWith: error)
                    }
                    attempts += 1
                    gaveUp = nil
                }
            }
            await loop.sleep(nanoseconds: pause)
        }
    }

    private enum NextStep {
        case begin
        case wait
        case giveUp
    }

    /// What to do about a transfer that was given up so long ago.
    ///
    /// Followers count as active anew after every election timeout: a heartbeat later it is known
    /// who is.
    private func next(
        after attempts: Int,
        since nanoseconds: Int64,
        _ status: RaftStatus,
        _ target: ReplicaID
    ) -> NextStep {
        if attempts == 0 { return .begin }
        guard attempts < Self.transferAttempts, manager.peers.isLinked(target) else {
            return .giveUp
        }
        if status.followersThatKeepUp.contains(where: { $0.id == target }) {
            return nanoseconds < Self.betweenTransfers ? .wait : .begin
        }
        let raft = manager.config
        let timeout = Int64.milliseconds(Int64(raft.electionTicks * raft.tickMilliseconds))
        return nanoseconds < timeout ? .wait : .giveUp
    }

    /// Why the target cannot be asked at all.
    private func refusal(of target: ReplicaID, _ status: RaftStatus) -> LeadershipTransfer? {
        guard status.membership.voters.contains(target) else {
            return .notAReplica(
                replicas: status.membership.voters.map { Int32(truncatingIfNeeded: $0.rawValue) }
            )
        }
        if let other = status.transferee, other != target { return .busy }
        let peer = status.peers.first { $0.id == target }
        if peer?.isSentSnapshot ?? false {
            return .targetUnavailable(reason: doubts(about: target, status))
        }
        return nil
    }

    private func doubts(about target: ReplicaID, _ status: RaftStatus) -> String {
        let node = "node \(target.rawValue)"
        let found = status.peers.first { $0.id == target }
        if found?.isSentSnapshot ?? false {
            return "\(node) is too far behind: it is sent a snapshot"
        }
        guard let peer = found, manager.peers.isLinked(target) else { return "\(node) is silent" }
        let lacks = peer.match.distance(to: status.lastIndex)
        if lacks > 0 { return "\(node) is too far behind: it lacks \(lacks) entries" }
        return "\(node) has everything, but does not take over"
    }
}

extension LeadershipTransfer {
    fileprivate init(refusedWith error: RaftError) {
        self =
            switch error {
            case .notLeader, .stopped, .unknownGroup: .leaderless
            case .overloaded, .changePending: .busy
            default: .failed(reason: "the leader refused: \(error)")
            }
    }
}
