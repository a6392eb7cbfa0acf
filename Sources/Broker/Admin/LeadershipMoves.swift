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
    /// Returns once the target leads, or will not.
    fileprivate func transfer(
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
        guard status.membership.voters.contains(target) else {
            return .notAReplica(
                replicas: status.membership.voters.map { Int32(truncatingIfNeeded: $0.rawValue) }
            )
        }
        if let other = status.transferee, other != target { return .busy }
        if status.transferee == nil {
            do {
                try replica.transferLeadership(to: target)
            } catch {
                return LeadershipTransfer(refusedWith: error)
            }
        }
        let deadline = loop.clock.monotonicNanoseconds + nanoseconds
        while loop.clock.monotonicNanoseconds < deadline {
            await loop.sleep(nanoseconds: pause)
            let now = replica.info
            if now.leader == target { return .transferred }
            // Raft gave it up: the target did not catch up or did not answer.
            if now.isLeader, now.term == status.term, replica.status.transferee == nil {
                return .targetUnavailable(reason: "node \(node) is too far behind, or silent")
            }
            if let leader = now.leader, now.term > status.term, leader != target {
                return .failed(reason: "node \(leader) was elected instead")
            }
            if partition.hasFailed { return .failed(reason: "the partition's log failed") }
        }
        return .timedOut
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
