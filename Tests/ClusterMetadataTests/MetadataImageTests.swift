import ClusterMetadata
import KafkaMessages
import Testing

@Suite struct MetadataImageTests {
    private let a = KafkaUUID(high: 1, low: 1)
    private let b = KafkaUUID(high: 2, low: 2)

    private func image(_ records: [MetadataRecord]) -> MetadataImage {
        var image = MetadataImage()
        for record in records { image.replay(record) }
        return image
    }

    @Test func `an image begins empty`() {
        let image = MetadataImage()
        #expect(image.topicCount == 0 && image.brokers.isEmpty && image.partitionCount == 0)
        #expect(image.nextGroupID == 1 && image.nextProducerID == 0)
    }

    @Test func `topics, partitions and settings add up`() throws {
        let image = image([
            .topic(id: a, name: "t"), .topic(id: b, name: "s"),
            .partition(topicID: a, index: 0, groupID: 1, replicas: [1]),
            .partition(topicID: a, index: 1, groupID: 2, replicas: [1]),
            .topicConfig(topicID: a, key: "k", value: "1"),
            .topicConfig(topicID: a, key: "k", value: "2"),
            .topicConfig(topicID: b, key: "k", value: "1"),
            .topicConfig(topicID: b, key: "k", value: nil),
        ])
        let topic = try #require(image.topic(a))
        #expect(topic.name == "t" && topic.partitions.map(\.groupID) == [1, 2])
        #expect(topic.configs == ["k": "2"])
        #expect(image.topic(b)?.configs == [:])
        #expect(image.sortedTopics.map(\.name) == ["s", "t"])
        #expect(image.partitionCount == 2 && image.nextGroupID == 3)
    }

    @Test func `a removed topic leaves nothing but its group ids behind`() {
        let image = image([
            .topic(id: a, name: "t"),
            .partition(topicID: a, index: 0, groupID: 9, replicas: [1]),
            .removeTopic(id: a), .removeTopic(id: a),
            .topicConfig(topicID: a, key: "k", value: "1"),
        ])
        #expect(image.topicCount == 0 && image.topic(a) == nil && image.partitionCount == 0)
        #expect(image.nextGroupID == 10)
    }

    @Test func `a topic made again under its old name is another one`() {
        let image = image([
            .topic(id: a, name: "t"),
            .partition(topicID: a, index: 0, groupID: 1, replicas: [1]),
            .removeTopic(id: a), .topic(id: b, name: "t"),
            .partition(topicID: a, index: 0, groupID: 2, replicas: [1]),
        ])
        #expect(image.topic("t")?.id == b && image.topic("t")?.partitions.isEmpty == true)
        #expect(image.nextGroupID == 3 && image.partitionCount == 0)
    }

    @Test func `partitions come in order and once`() {
        let image = image([
            .topic(id: a, name: "t"),
            .partition(topicID: a, index: 1, groupID: 1, replicas: [1]),
            .partition(topicID: a, index: 0, groupID: 2, replicas: [1]),
            .partition(topicID: a, index: 0, groupID: 3, replicas: [1]),
            .partition(topicID: a, index: -1, groupID: 4, replicas: [1]),
        ])
        #expect(image.topic("t")?.partitions.map(\.groupID) == [2])
        #expect(image.partitionCount == 1)
    }

    @Test func `producer ids never go back`() {
        #expect(image([.producerIDs(next: 5), .producerIDs(next: 3)]).nextProducerID == 5)
    }

    @Test func `a broker that registers again is the same one`() {
        let image = image([
            .broker(id: 2, host: "b", port: 2, rack: nil),
            .broker(id: 1, host: "a", port: 1, rack: nil),
            .broker(id: 2, host: "c", port: 3, rack: "r"),
        ])
        #expect(image.brokers.map(\.id) == [1, 2] && image.brokers.map(\.host) == ["a", "c"])
    }

    @Test func `the broker's own topics are internal`() {
        let image = image([
            .topic(id: a, name: "__consumer_offsets"), .topic(id: b, name: "consumer_offsets"),
        ])
        #expect(image.topic(a)?.isInternal == true && image.topic(b)?.isInternal == false)
    }
}
