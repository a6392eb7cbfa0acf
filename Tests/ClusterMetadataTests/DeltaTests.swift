import ClusterMetadata
import KafkaProtocol
import Testing

@Suite struct DeltaTests {
    private var cluster = Cluster(brokers: 1...4)

    private mutating func delta(_ change: (inout Cluster) -> Void) -> MetadataDelta {
        let before = cluster.image
        change(&cluster)
        return MetadataDelta(from: before, to: cluster.image)
    }

    @Test mutating func `nothing changed is nothing to do`() {
        cluster.create("t")
        #expect(delta { _ in }.isEmpty)
    }

    @Test mutating func `a topic made, deleted, and made again under its name`() {
        let made = delta { $0.create("t", number: 1, assignments: [[1, 2], [2, 3]]) }
        #expect(made.createdTopics.map(\.name) == ["t"] && made.deletedTopics.isEmpty)
        #expect(made.placed(on: 2).map(\.id.partition) == [0, 1])
        #expect(made.placed(on: 4).isEmpty && made.removed(from: 1).isEmpty)
        let again = delta { cluster in
            cluster.run(.deleteTopics([Cluster.id(1)]))
            cluster.create("t", number: 2, assignments: [[2, 3]])
        }
        #expect(again.deletedTopics.map(\.id) == [Cluster.id(1)])
        #expect(again.createdTopics.map(\.id) == [Cluster.id(2)])
        #expect(again.removed(from: 2).map(\.partition.groupID) == [1, 2])
        #expect(again.placed(on: 2).map(\.partition.groupID) == [3])
        #expect(again.removed(from: 1).map(\.topicID) == [Cluster.id(1)])
        let brief = delta { cluster in
            cluster.create("brief", number: 3)
            cluster.run(.deleteTopics([Cluster.id(3)]))
        }
        #expect(brief.isEmpty)
    }

    @Test mutating func `a replica comes and another goes`() throws {
        cluster.create("t", assignments: [[1, 2, 3]])
        cluster.electPreferred()
        let begun = delta {
            $0.run(.reassign([.init(topic: "t", partition: 0, replicas: [1, 2, 4])]))
        }
        #expect(begun.placed(on: 4).count == 1 && begun.removed(from: 3).isEmpty)
        #expect(begun.reassigned(on: 1).count == 1)
        let partition = try #require(cluster.partition("t"))
        let done = delta {
            $0.run(
                .reportMembers([
                    .init(
                        groupID: partition.groupID,
                        epoch: 1,
                        revision: partition.assignment.revision,
                        members: .init(voters: [1, 2, 4]),
                        commit: 40
                    )
                ])
            )
        }
        #expect(done.removed(from: 3).map(\.id.topic) == ["t"] && done.placed(on: 4).isEmpty)
        #expect(done.createdTopics.isEmpty && done.movedLeaders.isEmpty)
    }

    @Test mutating func `a lost disk takes the replica away and brings it back as a new one`()
        throws
    {
        cluster.create("t", assignments: [[1, 2, 3]])
        cluster.electPreferred()
        cluster.silence(3)
        cluster.run(.replaceBroker(id: 3, directoryID: Cluster.broker(3).directoryID))
        let lost = delta {
            $0.run(.registerBroker(Cluster.broker(3, disk: 1), clusterID: Cluster.clusterID))
        }
        #expect(lost.removed(from: 3).count == 1 && lost.reassigned(on: 1).count == 1)
        #expect(lost.brokers.map(\.id) == [3])
        let partition = try #require(cluster.partition("t"))
        let left = delta {
            $0.run(
                .reportMembers([
                    .init(
                        groupID: partition.groupID,
                        epoch: 1,
                        revision: partition.assignment.revision,
                        members: .init(voters: [1, 2]),
                        commit: 40
                    )
                ])
            )
        }
        #expect(left.placed(on: 3).map(\.partition.assignment.rejoining) == [[3]])
    }

    @Test mutating func `leaders, brokers and settings that change`() {
        cluster.create("t")
        let led = delta { $0.electPreferred() }
        #expect(led.movedLeaders.count == 1 && led.placed(on: 1).isEmpty)
        let fenced = delta { $0.silence(2) }
        #expect(fenced.brokers.map(\.id) == [2] && fenced.partitions.isEmpty)
        let configured = delta {
            $0.run(
                .alterTopicConfigs(
                    topic: "t",
                    [.init("retention.ms", .set("5"))],
                    validateOnly: false
                )
            )
            $0.run(.alterBrokerConfigs([.init("log.retention.ms", .set("5"))], validateOnly: false))
        }
        #expect(configured.reconfiguredTopics.map(\.name) == ["t"])
        #expect(configured.brokerConfigsChanged && configured.partitions.isEmpty)
        let gone = delta { $0.run(.unregisterBroker(id: 4)) }
        #expect(gone.removedBrokers.map(\.id) == (cluster.image.broker(4) == nil ? [4] : []))
    }

    /// What a broker hosts, followed by deltas alone, is what the image says it hosts.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `deltas lead a broker to what the image has for it`(_ seed: UInt64) {
        var workload = Workload(seed: seed)
        var cluster = Cluster(brokers: 1...3)
        var hosted: Set<UInt64> = []
        var seen = cluster.image
        for step in 0..<300 {
            cluster.run(workload.next(for: cluster.image))
            if workload.draw(4) > 0 { continue }
            // Now and then from an image that shares nothing, as after a snapshot.
            let now = workload.draw(5) == 0 ? Self.restored(cluster.image) : cluster.image
            let delta = MetadataDelta(from: seen, to: now)
            for gone in delta.removed(from: 2) {
                #expect(hosted.remove(gone.partition.groupID) != nil)
            }
            for placed in delta.placed(on: 2) {
                #expect(hosted.insert(placed.partition.groupID).inserted)
            }
            seen = now
            let expected = now.sortedTopics.flatMap { $0.partitions }
                .filter { $0.assignment.isHosted(on: 2) }
            #expect(hosted == Set(expected.map(\.groupID)), "step \(step)")
        }
    }

    private static func restored(_ image: MetadataImage) -> MetadataImage {
        var writer = MetadataSnapshotWriter(image, at: .init(index: 1, term: 1))
        var reader = MetadataSnapshotReader()
        do {
            while let piece = writer.next() { _ = try reader.append(piece) }
            return try reader.finish().image
        } catch {
            Issue.record("\(error)")
            return image
        }
    }
}
