import KafkaHistory
import KafkaProtocol
import Platform

/// A consumer that reads one partition from its start to its end.
final class AssignedConsumer: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let name: String
    let place: TopicPartition
    private let client: KafkaClient
    private(set) var hasEnded = false
    private(set) var position: Int64 = 0

    init(_ number: Int, of place: TopicPartition, in world: ClusterWorld) {
        name = "c\(number)"
        self.place = place
        client = KafkaClient(name, in: world)
    }

    func run() async {
        let world = client.world
        let reader = PartitionReader(name, client, of: place, from: 0)
        while !world.isDeleted(place.topic) {
            let wait = Int32([0, 500, 2_000][client.generator.below(3)])
            if case .nothing = await reader.poll(waitMilliseconds: wait) {
                await client.rest(upTo: .milliseconds(300))
            }
            position = reader.position
            if let end = world.finalEnds[place], reader.position >= end {
                world.record(.finished(process: name, place))
                break
            }
        }
        hasEnded = true
    }
}
