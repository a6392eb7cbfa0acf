import Bytes
package import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime

extension NodeAdmin {
    /// What this node's replica of a partition knows, in one line, for those who look for a fault.
    package func describeReplica(of id: TopicPartition) async -> String {
        for shard in shards {
            if let line = await shard.readEach(ReplicaDescription.line)[id] { return line }
        }
        return "no replica"
    }
}

enum ReplicaDescription {
    static func line(_ partition: Partition) -> String {
        let status = partition.replica.status
        var words = [
            "\(status.role) of term \(status.term)",
            "led by \(status.leader.map { "\($0)" } ?? "nobody")",
            "voted for \(status.vote.map { "\($0)" } ?? "nobody")",
            "log \(status.firstIndex) to \(status.lastIndex)",
            "durable \(status.stableIndex), committed \(status.commit), applied \(status.applied)",
            "voters \(status.membership)",
        ]
        if status.isQuiescent { words.append("quiescent") }
        if let epoch = partition.leaderEpoch { words.append("serves in epoch \(epoch)") }
        if partition.hasFailed { words.append("failed") }
        for peer in status.peers {
            words.append("\(peer.id): match \(peer.match) next \(peer.next) \(peer.state)")
        }
        return words.joined(separator: ", ")
    }
}
