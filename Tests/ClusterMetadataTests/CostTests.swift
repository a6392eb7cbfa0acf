import ClusterMetadata
import Testing

/// What a record costs an image that was published, and so is shared, after every change.
@Suite struct CostTests {
    private func image(topics: Int) -> Cluster {
        var cluster = Cluster()
        for number in 0..<topics {
            cluster.create("topic-\(number)", number: number + 1, partitions: 3)
        }
        return cluster
    }

    /// The median time of a change, each on an image that somebody else still holds.
    private func median(_ changes: Int, _ change: (Int) -> Void) -> Duration {
        let clock = ContinuousClock()
        let times = (0..<changes).map { number in clock.measure { change(number) } }
        return times.sorted()[changes / 2]
    }

    @Test func `to make a topic does not cost more the more there are`() {
        let few = image(topics: 100)
        let many = image(topics: 10_000)
        let times = [few, many].map { cluster in
            var cluster = cluster
            var published = cluster.image
            return median(400) { number in
                cluster.create("more-\(number)", number: 20_000 + number)
                published = cluster.image
                #expect(published.topicCount == cluster.image.topicCount)
            }
        }
        // Copying 10,000 topics instead of 100 would be a hundredfold.
        #expect(times[1] < times[0] * 8, "\(times)")
    }

    @Test func `what changed is found without looking at what has not`() {
        let times = [image(topics: 100), image(topics: 10_000)].map { cluster in
            var cluster = cluster
            return median(200) { number in
                let before = cluster.image
                cluster.create("more-\(number)", number: 20_000 + number)
                let delta = MetadataDelta(from: before, to: cluster.image)
                #expect(delta.createdTopics.count == 1 && delta.partitions.count == 1)
            }
        }
        #expect(times[1] < times[0] * 8, "\(times)")
    }
}
