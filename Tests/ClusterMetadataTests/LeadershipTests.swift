import Bytes
import ClusterMetadata
import KafkaProtocol
import Testing

@Suite struct LeadershipTests {
    private var cluster = Cluster()
    private var epoch: Int32 = 10

    init() { cluster.create("t", assignments: [[1, 2, 3]]) }

    private mutating func report(
        leader: Int32,
        epoch: Int32,
        inSync: [Int32] = [1, 2, 3],
        by broker: Int32? = nil
    ) -> MetadataAnswer {
        cluster.report(
            [.init(groupID: 1, .init(leader: leader, epoch: epoch, inSync: inSync))],
            by: broker ?? leader
        )
    }

    private var view: ClientPartitionView? {
        cluster.partition("t").map { cluster.image.clientView(of: $0) }
    }

    @Test mutating func `a leader is known once it reports, and terms only rise`() {
        #expect(view?.leader == -1)
        #expect(report(leader: 2, epoch: 4).code == ErrorCode.none)
        #expect(view?.leader == 2 && view?.leaderEpoch == 4 && view?.inSync == [1, 2, 3])
        _ = report(leader: 1, epoch: 3)
        _ = report(leader: 1, epoch: 4)
        #expect(view?.leader == 2)
        _ = report(leader: 1, epoch: 5)
        #expect(view?.leader == 1)
    }

    @Test mutating func `a report that says nothing new makes no record`() {
        _ = report(leader: 2, epoch: 4, inSync: [1, 2])
        let records = cluster.log.count
        _ = report(leader: 2, epoch: 4, inSync: [2, 1])
        #expect(cluster.log.count == records)
        _ = report(leader: 2, epoch: 4, inSync: [2, 9, 3])
        #expect(cluster.partition("t")?.leadership.inSync == [2, 3])
    }

    @Test mutating func `a leader is believed about itself alone, and only once registered`() {
        _ = report(leader: 2, epoch: 4, by: 3)
        #expect(view?.leader == -1)
        #expect(
            cluster.run(.reportLeaderships(broker: 2, epoch: 1, [])).code == .staleBrokerEpoch
        )
        #expect(
            cluster.run(.reportLeaderships(broker: 7, epoch: 1, [])).code == .brokerIdNotRegistered
        )
    }

    @Test mutating func `clients are not sent to a broker that is silent`() {
        _ = report(leader: 2, epoch: 4)
        cluster.silence(2)
        #expect(view?.leader == -1 && view?.inSync == [1, 3] && view?.offline == [2])
        #expect(view?.replicas == [1, 2, 3])
        cluster.hear(2)
        #expect(view?.leader == 2 && view?.offline == [])
    }

    @Test mutating func `a thousand partitions that fail over are one record a broker`() throws {
        cluster.create("big", number: 2, partitions: 1_000)
        cluster.electPreferred()
        let before = cluster.log.count
        let moved = try #require(cluster.image.topic("big")).partitions.filter {
            $0.leadership.leader == 1
        }
        cluster.silence(1)
        var reports: [Int32: [GroupLeadership]] = [:]
        for partition in moved {
            let leader = partition.replicas[1]
            reports[leader, default: []].append(
                .init(groupID: partition.groupID, .init(leader: leader, epoch: 2, inSync: [2, 3]))
            )
        }
        for (broker, reports) in reports { cluster.report(reports, by: broker) }
        #expect(cluster.log.count - before == 3)
        let bytes = cluster.log[before...].map { $0.encoded().count }.reduce(0, +)
        #expect(bytes < 40 * moved.count)
        #expect(
            cluster.image.topic("big")?.partitions.allSatisfy { $0.leadership.leader > 1 } == true
        )
        cluster.create("bigger", number: 3, partitions: 2_500, replicationFactor: 1)
        let records = cluster.log.count
        let all = try #require(cluster.image.topic("bigger")).partitions.map {
            GroupLeadership(groupID: $0.groupID, .init(leader: 2, epoch: 1, inSync: [2]))
        }
        cluster.report(all, by: 2)
        #expect(cluster.log.count - records == 3)
    }

    // MARK: Balance

    private func transfers(limit: Int = 1_000) -> [LeaderBalance.Transfer] {
        let balance = LeaderBalance(cluster.image)
        let transfers = balance.transfers(limit: limit)
        // Who finds it settled looks again only for brokers and partitions that are not.
        let partitions = cluster.image.sortedTopics.flatMap(\.partitions)
        #expect(balance.isSettled == partitions.allSatisfy(LeaderBalance.isSettled))
        let areUsable = cluster.image.brokers.allSatisfy(\.isUsable)
        #expect(transfers.isEmpty || !balance.isSettled || !areUsable)
        return transfers
    }

    /// Carries transfers out until none are left; how many rounds that took.
    private mutating func settle(limit: Int = 1_000) -> Int {
        for round in 0..<100 {
            let transfers = transfers(limit: limit)
            if transfers.isEmpty { return round }
            epoch += 1
            for transfer in transfers {
                let partition = cluster.image.partition(ofGroup: transfer.groupID)
                #expect(partition?.leadership.leader == transfer.from)
                #expect(partition?.replicas.contains(transfer.to) == true)
                cluster.report(
                    [
                        .init(
                            groupID: transfer.groupID,
                            .init(
                                leader: transfer.to,
                                epoch: epoch,
                                inSync: partition?.leadership.inSync ?? []
                            )
                        )
                    ],
                    by: transfer.to
                )
            }
        }
        return 100
    }

    private var counts: [Int] {
        cluster.image.brokers.map { broker in
            cluster.image.sortedTopics.flatMap { $0.partitions }
                .count { $0.leadership.leader == broker.id }
        }
    }

    @Test mutating func `leaders go back to where they are preferred, so many a round`() {
        cluster.create("u", number: 2, partitions: 29)
        #expect(transfers().isEmpty)
        for partition in cluster.image.sortedTopics.flatMap({ $0.partitions }) {
            cluster.report(
                [.init(groupID: partition.groupID, .init(leader: 3, epoch: 1, inSync: [1, 2, 3]))],
                by: 3
            )
        }
        #expect(counts == [0, 0, 30])
        #expect(transfers(limit: 4).count == 4)
        #expect(settle(limit: 4) == 5)
        #expect(counts.max() ?? 0 <= 11 && counts.min() ?? 0 >= 9)
        #expect(transfers().isEmpty)
    }

    @Test mutating func `a broker that stops leads nothing, and gets its share back`() {
        cluster.create("u", number: 2, partitions: 29)
        cluster.electPreferred()
        #expect(transfers().isEmpty)
        cluster.run(.stopBroker(id: 2, epoch: 2))
        #expect(settle() == 1)
        #expect(counts[1] == 0 && abs(counts[0] - counts[2]) <= 1)
        cluster.run(
            .registerBroker(Cluster.broker(2, run: 1), clusterID: Cluster.clusterID)
        )
        #expect(settle() == 1)
        #expect(counts.allSatisfy { (9...11).contains($0) }, "\(counts)")
    }

    @Test mutating func `a replica that is behind or on its way is given no leadership`() {
        _ = report(leader: 2, epoch: 1, inSync: [2, 3])
        #expect(transfers().isEmpty)
        _ = report(leader: 2, epoch: 1, inSync: [1, 2, 3])
        #expect(transfers().map(\.to) == [1])
        cluster.silence(1)
        #expect(transfers().isEmpty)
    }
}
