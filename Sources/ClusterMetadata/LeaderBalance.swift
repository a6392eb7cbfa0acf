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
                counts[leader, default: 0] += 1
                let eligible = partition.replicas.filter {
                    usable.contains($0) && partition.leadership.inSync.contains($0)
                        && !partition.assignment.removing.contains($0)
                        && !partition.assignment.renewing.contains($0)
                        && !partition.assignment.rejoining.contains($0)
                        && !partition.assignment.adding.contains($0)
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
