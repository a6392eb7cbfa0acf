import KafkaProtocol

/// What the leaders' reports change.
extension MetadataController {
    /// Takes up what leaders of groups say of themselves; what is old news changes nothing.
    ///
    /// One command tells of many groups: a node reports all that changed since its last report was
    /// answered, so that however many partitions fail over at once, each node has one report under
    /// way, and the log gets a record a thousand groups.
    package mutating func reportLeaderships(
        _ reports: [GroupLeadership],
        by broker: Int32,
        epoch: Int64
    ) throws(MetadataProblem) -> Decision<Void> {
        _ = try registered(broker, epoch: epoch)
        let news = reports.compactMap { report -> GroupLeadership? in
            guard report.leadership.leader == broker,
                let partition = decided.partition(ofGroup: report.groupID)
            else { return nil }
            var report = report
            // In the order of the replicas, so that the same news is the same.
            report.leadership.inSync = partition.replicas.filter {
                report.leadership.inSync.contains($0)
            }
            return report.leadership.supersedes(partition.leadership) ? report : nil
        }
        var records: [MetadataRecord] = []
        var first = 0
        while first < news.count {
            let end = min(first + GroupLeadership.perRecord, news.count)
            records.append(.leaderships(Array(news[first..<end])))
            first = end
        }
        return decide(records, ())
    }
}

/// A partition as Kafka's Metadata answers tell of it.
package struct ClientPartitionView: Sendable, Equatable {
    /// -1 when none is known that could be reached.
    package let leader: Int32
    package let leaderEpoch: Int32
    package let replicas: [Int32]
    /// Replicas the leader last reported as caught up, without those that have fallen silent
    /// since.
    package let inSync: [Int32]
    /// Replicas whose brokers are silent or gone.
    package let offline: [Int32]
}

extension MetadataImage {
    /// A partition as clients are to see it: nobody is sent to a broker that is silent.
    package func clientView(of partition: Partition) -> ClientPartitionView {
        let leadership = partition.leadership
        let isAway = { (id: Int32) in self.broker(id).map(\.isFenced) ?? true }
        let offline = partition.replicas.filter(isAway)
        let hasLeader = leadership.leader >= 0 && !isAway(leadership.leader)
        return ClientPartitionView(
            leader: hasLeader ? leadership.leader : -1,
            leaderEpoch: leadership.epoch,
            replicas: partition.replicas,
            inSync: leadership.inSync.filter {
                partition.replicas.contains($0) && !offline.contains($0)
            },
            offline: offline
        )
    }

    /// Who is to lead a partition that nobody has led yet: its first replica, which campaigns as
    /// soon as it is there; `nil` once a leader was heard of, and while that broker is silent.
    package func firstLeader(of partition: Partition) -> Int32? {
        guard partition.leadership == .unknown, let first = partition.replicas.first,
            let broker = broker(first), !broker.isFenced
        else { return nil }
        return first
    }
}
