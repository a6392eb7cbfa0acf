import ClusterMetadata
import KafkaProtocol
import Testing

@Suite struct PlacementTests {
    private func spread(_ cluster: Cluster, _ name: String) -> (leads: [Int], replicas: [Int]) {
        let partitions = cluster.image.topic(name).map { Array($0.partitions) } ?? []
        return (
            cluster.image.brokers.map { broker in
                partitions.count { $0.replicas.first == broker.id }
            },
            cluster.image.brokers.map { broker in
                partitions.count { $0.replicas.contains(broker.id) }
            }
        )
    }

    private func isEven(_ counts: [Int], within difference: Int = 1) -> Bool {
        (counts.max() ?? 0) - (counts.min() ?? 0) <= difference
    }

    @Test(arguments: [(3, 3, 12), (5, 3, 20), (6, 2, 7), (4, 1, 100), (7, 5, 33)])
    func `replicas and preferred leaders spread evenly`(
        _ brokers: Int,
        _ replicas: Int,
        _ partitions: Int
    ) {
        var cluster = Cluster(brokers: 1...Int32(brokers))
        cluster.create(
            "t",
            partitions: Int32(partitions),
            replicationFactor: Int16(replicas)
        )
        let found = spread(cluster, "t")
        #expect(isEven(found.leads), "\(found.leads)")
        #expect(isEven(found.replicas, within: 2), "\(found.replicas)")
        for partition in cluster.image.topic("t").map({ Array($0.partitions) }) ?? [] {
            #expect(Set(partition.replicas).count == replicas)
        }
    }

    @Test func `many small topics spread evenly too`() {
        var cluster = Cluster(brokers: 1...5)
        for number in 0..<200 { cluster.create("t\(number)", number: number + 1) }
        let loads = cluster.image.loads.values
        #expect(isEven(loads.map(\.preferred)) && isEven(loads.map(\.replicas), within: 3))
    }

    @Test func `a broker that joins late gets its share of a new topic and no more`() {
        var cluster = Cluster()
        cluster.create("old", number: 1, partitions: 100)
        cluster.run(.registerBroker(Cluster.broker(4), clusterID: Cluster.clusterID))
        cluster.create("new", number: 2, partitions: 40)
        #expect(spread(cluster, "new").leads == [10, 10, 10, 10])
    }

    @Test func `replicas are in as many racks as there are`() {
        var cluster = Cluster(brokers: 1...6, racks: ["a", "b", "c"])
        cluster.create("t", partitions: 30)
        for partition in cluster.image.topic("t").map({ Array($0.partitions) }) ?? [] {
            let racks = partition.replicas.compactMap { cluster.image.broker($0)?.rack }
            #expect(Set(racks).count == 3, "\(partition.replicas)")
        }
        #expect(
            isEven(spread(cluster, "t").leads) && isEven(spread(cluster, "t").replicas, within: 2)
        )
        var two = Cluster(brokers: 1...4, racks: ["a", "b"])
        two.create("t", partitions: 8)
        for partition in two.image.topic("t").map({ Array($0.partitions) }) ?? [] {
            #expect(Set(partition.replicas.compactMap { two.image.broker($0)?.rack }).count == 2)
        }
    }

    @Test func `the partners of a broker differ, so that many take over what one led`() {
        var cluster = Cluster(brokers: 1...5)
        cluster.create("t", partitions: 60)
        let partners = cluster.image.topic("t")?.partitions.filter { $0.replicas[0] == 1 }
            .map { $0.replicas[1] }
        #expect(Set(partners ?? []) == [2, 3, 4, 5])
    }

    @Test func `the same seed places alike, another differently`() {
        let places = [1, 1, 2].map { number in
            var cluster = Cluster(brokers: 1...9)
            cluster.create("t", number: number, partitions: 30)
            return cluster.image.topic("t")?.partitions.map(\.replicas)
        }
        #expect(places[0] == places[1] && places[0] != places[2])
    }

    @Test func `a broker that is down is chosen only where it must be`() {
        var cluster = Cluster(brokers: 1...4)
        cluster.silence(2)
        cluster.create("t", number: 1, partitions: 12)
        #expect(spread(cluster, "t").replicas[1] == 0)
        cluster.silence(3)
        #expect(cluster.create("u", number: 2, partitions: 12)?.code == ErrorCode.none)
        #expect(spread(cluster, "u").leads == [6, 0, 0, 6])
        cluster.silence(4)
        #expect(cluster.create("v", number: 3)?.code == .brokerNotAvailable)
        #expect(cluster.create("w", number: 4, replicationFactor: 1)?.code == ErrorCode.none)
    }

    @Test func `more replicas than brokers are refused`() {
        var cluster = Cluster()
        #expect(cluster.create("t", replicationFactor: 4)?.code == .invalidReplicationFactor)
        #expect(cluster.create("t", replicationFactor: 0)?.code == .invalidReplicationFactor)
        #expect(cluster.create("t", replicationFactor: -2)?.code == .invalidReplicationFactor)
    }

    @Test(arguments: [[[1, 9]], [[]], [[1, 1]], [[1, 2], [1]]] as [[[Int32]]])
    func `assignments that cannot be are refused`(_ assignments: [[Int32]]) {
        var cluster = Cluster()
        #expect(cluster.create("t", assignments: assignments)?.code == .invalidReplicaAssignment)
        #expect(cluster.image.topicCount == 0)
    }

    @Test func `assignments are taken as they are, even to a broker that is down`() {
        var cluster = Cluster()
        cluster.silence(3)
        #expect(cluster.create("t", assignments: [[3, 1], [2, 3]])?.code == ErrorCode.none)
        #expect(cluster.partition("t", 0)?.replicas == [3, 1])
        #expect(cluster.partition("t", 1)?.replicas == [2, 3])
    }

    @Test func `partitions are added with the factor of the others, evenly beside them`() {
        var cluster = Cluster()
        cluster.create("t", partitions: 2, replicationFactor: 2)
        let grow = cluster.run(
            .createPartitions([.init(topic: "t", count: 9)], validateOnly: false)
        )
        #expect(grow.code == ErrorCode.none)
        #expect(spread(cluster, "t").leads == [3, 3, 3])
        #expect(cluster.image.topic("t")?.partitions.allSatisfy { $0.replicas.count == 2 } == true)
        let wrong = cluster.run(
            .createPartitions(
                [.init(topic: "t", count: 10, assignments: [[1, 2, 3]])],
                validateOnly: false
            )
        )
        #expect(wrong.code == .invalidReplicaAssignment)
    }
}
