import Admin
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime

/// What a shard knows of one of its partitions.
struct PartitionReading: Sendable {
    /// The epoch this node leads in; `nil` while it does not lead, or cannot.
    let leaderEpoch: Int32?
    /// Whom this replica takes for the leader, and of which epoch; none once it has failed.
    let leader: Int32?
    let epoch: Int32
    let logStartOffset: Int64
    let highWatermark: Int64
    let proposals: Int
    /// Whether its group talks: after a while without anything to do it falls silent.
    let isAwake: Bool
    /// The end of its Raft log, and how much of it the slowest voter is known to have; of a leader.
    let replication: (end: UInt64, slowest: UInt64)?
}

extension PartitionShard {
    /// Its partitions, and whether a segment found no room on the disk.
    func status() -> (partitions: [TopicPartition: PartitionReading], isDiskFull: Bool) {
        (readEach(PartitionReading.init), isSegmentDiskFull)
    }
}

extension PartitionReading {
    /// On the partition's loop.
    init(_ partition: Partition) {
        let replica = partition.replica
        let info = replica.info
        leaderEpoch = partition.hasFailed ? nil : partition.leaderEpoch
        leader =
            partition.hasFailed ? nil : info.leader.map { Int32(truncatingIfNeeded: $0.rawValue) }
        epoch = partition.hasFailed ? -1 : Int32(truncatingIfNeeded: info.term.rawValue)
        logStartOffset = partition.log.logStartOffset.rawValue
        highWatermark = partition.log.logEndOffset.rawValue
        proposals = replica.proposals
        isAwake = !info.isQuiescent && !replica.isAlone
        replication =
            leaderEpoch == nil
            ? nil : (info.lastIndex.rawValue, replica.slowestVoterMatch(info).rawValue)
    }
}

extension PartitionReplica {
    /// How much of the leader's log the voter that has least is known to have.
    fileprivate func slowestVoterMatch(_ info: Info) -> LogIndex {
        guard info.membership.members.count > 1 else { return info.lastIndex }
        let others = status.peers.filter { !$0.isLearner && $0.id != manager.replicaID }
        return others.map(\.match).min() ?? info.lastIndex
    }
}
