package import KafkaProtocol

/// Which leaderships to hand over so that every broker leads its share.
///
/// A partition goes to its preferred leader, and these are spread evenly when partitions are
/// placed. Where that one cannot lead, its replicas share the partitions by number. A move of the
/// first kind is never taken back by one of the second, so the rounds come to an end.
package struct LeaderBalance {
    package struct Transfer: Sendable, Equatable {
        package let partition: TopicPartition
        package let groupID: UInt64
        package let from: Int32
        package let to: Int32
    }

    private struct Led {
        let id: TopicPartition
        let groupID: UInt64
        let leader: Int32
        let preferred: Int32
        /// Replicas that can lead, in order of preference.
        let eligible: [Int32]
    }

    private let partitions: [Led]
    private var counts: [Int32: Int] = [:]
    /// Whether every partition that is led is led by its preferred replica, so that nothing can be
    /// wanted before a broker comes or goes or a partition is not `isSettled`.
    package private(set) var isSettled = true

    /// `currentLeader` tells what is known of a group's leader beyond the image.
    package init(
        _ image: MetadataImage,
        currentLeader: (MetadataImage.Partition) -> Int32 = { $0.leadership.leader }
    ) {
        let usable = Set(image.brokers.filter(\.isUsable).map(\.id))
        var partitions: [Led] = []
        for topic in image.sortedTopics {
            for partition in topic.partitions {
                let leader = currentLeader(partition)
                if leader >= 0 && !Self.isSettled(partition, leader) { isSettled = false }
                counts[leader, default: 0] += 1
                let eligible = partition.replicas.filter {
                    usable.contains($0) && Self.canLead($0, partition)
                }
                guard leader >= 0, let preferred = partition.replicas.first,
                    eligible.contains(where: { $0 != leader })
                else { continue }
                partitions.append(
                    Led(
                        id: TopicPartition(topic: topic.name, partition: partition.index),
                        groupID: partition.groupID,
                        leader: leader,
                        preferred: preferred,
                        eligible: eligible
                    )
                )
            }
        }
        self.partitions = partitions
    }

    /// Whether a partition may stay with its leader, as long as that one's broker is usable.
    package static func isSettled(_ partition: MetadataImage.Partition) -> Bool {
        let leader = partition.leadership.leader
        return leader < 0 || isSettled(partition, leader)
    }

    private static func isSettled(_ partition: MetadataImage.Partition, _ leader: Int32) -> Bool {
        partition.replicas.first == leader && canLead(leader, partition)
    }

    private static func canLead(_ replica: Int32, _ partition: MetadataImage.Partition) -> Bool {
        let assignment = partition.assignment
        return partition.leadership.inSync.contains(replica)
            && !assignment.removing.contains(replica) && !assignment.renewing.contains(replica)
            && !assignment.rejoining.contains(replica) && !assignment.adding.contains(replica)
    }

    /// The handovers of this round, at most `limit`; none when leadership is even.
    package consuming func transfers(limit: Int) -> [Transfer] {
        var transfers: [Transfer] = []
        // From brokers that stop, before anything else.
        for urgent in [true, false] {
            for partition in partitions where transfers.count < limit {
                let mustLeave = !partition.eligible.contains(partition.leader)
                guard mustLeave == urgent, let to = successor(of: partition) else { continue }
                counts[partition.leader, default: 0] -= 1
                counts[to, default: 0] += 1
                transfers.append(
                    Transfer(
                        partition: partition.id,
                        groupID: partition.groupID,
                        from: partition.leader,
                        to: to
                    )
                )
            }
        }
        return transfers
    }

    private func successor(of partition: Led) -> Int32? {
        if partition.eligible.contains(partition.preferred) {
            return partition.preferred == partition.leader ? nil : partition.preferred
        }
        let count = { (id: Int32) in counts[id] ?? 0 }
        let least = partition.eligible.filter { $0 != partition.leader }
            .min { count($0) < count($1) }
        guard let least else { return nil }
        if !partition.eligible.contains(partition.leader) { return least }
        return count(partition.leader) - count(least) >= 2 ? least : nil
    }
}
