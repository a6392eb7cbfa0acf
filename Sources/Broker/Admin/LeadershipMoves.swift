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
    func transfer(
        _ id: TopicPartition,
        to node: Int32,
        within nanoseconds: Int64,
        _ pause: Int64
    ) async -> LeadershipTransfer {
        guard let partition = partition(id), !partition.hasFailed, partition.leaderEpoch != nil
        else { return .leaderless }
        let deadline = loop.clock.monotonicNanoseconds + nanoseconds
        var handover = LeadershipHandover(of: partition, to: ReplicaID(UInt64(node)), by: deadline)
        if let refusal = handover.refusal { return refusal }
        while true {
            if let outcome = handover.step(at: loop.clock.monotonicNanoseconds) { return outcome }
            await loop.sleep(nanoseconds: pause)
        }
    }
}
