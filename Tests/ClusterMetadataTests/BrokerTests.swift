import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct BrokerTests {
    private var cluster = Cluster()

    private mutating func register(_ broker: BrokerRegistration) -> MetadataAnswer {
        cluster.run(.registerBroker(broker, clusterID: Cluster.clusterID))
    }

    @Test mutating func `brokers register, each under an epoch of its own`() {
        #expect(cluster.image.brokers.map(\.id) == [1, 2, 3])
        #expect(cluster.image.brokers.map(\.epoch) == [1, 2, 3])
        #expect(cluster.image.brokers.allSatisfy { $0.isUsable })
    }

    @Test mutating func `a restart from the same disk gets a higher epoch`() {
        #expect(register(Cluster.broker(2, run: 1)) == .brokerEpoch(4))
        #expect(register(Cluster.broker(2, run: 2)) == .brokerEpoch(5))
        #expect(cluster.image.brokers.map(\.epoch) == [1, 5, 3])
    }

    @Test mutating func `a registration sent twice is one`() {
        let again = Cluster.broker(2, run: 1)
        #expect(register(again) == .brokerEpoch(4))
        let records = cluster.log.count
        #expect(register(again) == .brokerEpoch(4))
        #expect(cluster.log.count == records)
    }

    @Test mutating func `a registration that changes its address is another`() {
        #expect(register(Cluster.broker(2, run: 1)) == .brokerEpoch(4))
        cluster.silence(2)
        #expect(register(Cluster.broker(2, run: 1, host: "elsewhere")) == .brokerEpoch(5))
        #expect(cluster.image.broker(2)?.host == "elsewhere")
    }

    @Test mutating func `a wiped disk is refused, and both disks are named`() {
        cluster.silence(2)
        let wiped = Cluster.broker(2, disk: 9, run: 1)
        let answer = register(wiped)
        #expect(answer.code == .duplicateBrokerRegistration)
        #expect(answer.text.contains("\(wiped.directoryID)"))
        #expect(answer.text.contains("\(Cluster.broker(2).directoryID)"))
        #expect(cluster.image.broker(2)?.registration == Cluster.broker(2))
    }

    @Test mutating func `a second node under an id that is alive is refused, with both named`() {
        let answer = register(Cluster.broker(2, disk: 9, host: "other"))
        #expect(answer.code == .duplicateBrokerRegistration)
        #expect(answer.text.contains("node2:5001") && answer.text.contains("other:5001"))
    }

    @Test mutating func `a copied disk is refused while the first lives, here or under another id`()
    {
        let elsewhere = register(Cluster.broker(2, run: 1, host: "copy"))
        #expect(elsewhere.code == .duplicateBrokerRegistration)
        #expect(elsewhere.text.contains("copy:5001") && elsewhere.text.contains("node2:5001"))
        var copy = Cluster.broker(4)
        copy.directoryID = Cluster.broker(2).directoryID
        let other = register(copy)
        #expect(other.code == .duplicateBrokerRegistration)
        #expect(other.text.contains("node 4") && other.text.contains("node 2"))
    }

    @Test mutating func `a node of another cluster is refused, and both clusters are named`() {
        let answer = cluster.run(.registerBroker(Cluster.broker(4), clusterID: "BBBB"))
        #expect(answer.code == .inconsistentClusterId)
        #expect(answer.text.contains("BBBB") && answer.text.contains(Cluster.clusterID))
        #expect(cluster.image.broker(4) == nil)
    }

    @Test mutating func `a registration without its ids is refused`() {
        var broker = Cluster.broker(4)
        broker.directoryID = .zero
        #expect(register(broker).code == .invalidRegistration)
        #expect(register(Cluster.broker(-1)).code == .invalidRegistration)
    }

    @Test mutating func `a disk that was given up may be replaced, once`() {
        let old = Cluster.broker(2).directoryID
        let early = cluster.run(.replaceBroker(id: 2, directoryID: old))
        #expect(early.code == .invalidRequest)
        cluster.silence(2)
        let wrong = cluster.run(.replaceBroker(id: 2, directoryID: .zero))
        #expect(wrong.code == .invalidRequest)
        #expect(cluster.run(.replaceBroker(id: 2, directoryID: old)).code == ErrorCode.none)
        #expect(cluster.run(.replaceBroker(id: 2, directoryID: old)).code == ErrorCode.none)
        #expect(register(Cluster.broker(2, disk: 9)) == .brokerEpoch(4))
        cluster.silence(2)
        #expect(register(Cluster.broker(2, disk: 10)).code == .duplicateBrokerRegistration)
        #expect(cluster.run(.replaceBroker(id: 7, directoryID: old)).code == .brokerIdNotRegistered)
    }

    @Test mutating func `a silent broker is fenced once, and comes back when it is heard`() {
        #expect(cluster.silence(2) == 1 && cluster.silence(2) == 0)
        #expect(cluster.image.broker(2)?.isFenced == true)
        #expect(cluster.hear(2, run: 7) == 0)
        #expect(cluster.hear(2) == 1 && cluster.hear(2) == 0)
        #expect(cluster.image.broker(2)?.isUsable == true)
        #expect(cluster.silence(9) == 0 && cluster.hear(9) == 0)
    }

    @Test mutating func `a fence for an earlier registration does not hold the next one`() {
        let fence = cluster.controller.brokerIsSilent(2).records
        #expect(register(Cluster.broker(2, run: 1)) == .brokerEpoch(4))
        var image = cluster.image
        for record in fence { image.replay(record) }
        #expect(image.broker(2)?.isUsable == true)
    }

    @Test mutating func `a broker that stops is given nothing until it registers again`() {
        #expect(cluster.run(.stopBroker(id: 2, epoch: 9)).code == .staleBrokerEpoch)
        #expect(cluster.run(.stopBroker(id: 2, epoch: 2)).code == ErrorCode.none)
        cluster.silence(2)
        cluster.hear(2)
        #expect(cluster.image.broker(2)?.isUsable == false)
        #expect(register(Cluster.broker(2, run: 1)) == .brokerEpoch(4))
        #expect(cluster.image.broker(2)?.isUsable == true)
    }

    @Test mutating func `a broker leaves the cluster when it has no replicas`() {
        cluster.create("t", assignments: [[1, 2]])
        #expect(cluster.run(.unregisterBroker(id: 2)).code == .invalidRequest)
        #expect(cluster.run(.unregisterBroker(id: 3)).code == ErrorCode.none)
        #expect(cluster.run(.unregisterBroker(id: 3)).code == .brokerIdNotRegistered)
        #expect(cluster.run(.unregisterBroker(id: 3), isRetry: true).code == ErrorCode.none)
        #expect(register(Cluster.broker(3, disk: 4)) == .brokerEpoch(4))
    }

    @Test mutating func `a standalone broker becomes one of a cluster`() {
        var alone = Cluster(brokers: nil)
        let decision = alone.controller.registerBroker(host: "h", port: 1, rack: nil)
        #expect(decision.records.count == 1 && alone.image.broker(1)?.epoch == 0)
        let answer = alone.run(
            .registerBroker(Cluster.broker(1), clusterID: Cluster.clusterID)
        )
        #expect(answer == .brokerEpoch(1))
    }

    @Test mutating func `producer ids go to brokers that are registered, in blocks`() {
        #expect(
            cluster.run(.allocateProducerIDs(broker: 1, epoch: 1))
                == .producerIDs(first: 0, count: 1_000)
        )
        #expect(
            cluster.run(.allocateProducerIDs(broker: 2, epoch: 2))
                == .producerIDs(first: 1_000, count: 1_000)
        )
        let stale = cluster.run(.allocateProducerIDs(broker: 2, epoch: 1))
        #expect(stale.code == .staleBrokerEpoch)
    }
}
