import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// Watches one node: what it says that it leads, and how far its replicas are.
final class Observer: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let node: SimulatedNode
    private let client: KafkaClient
    private struct Mark: Equatable {
        let life: Int
        let low: Int64
        let high: Int64
    }

    private let pace: Int64
    private var seen: [TopicPartition: Mark] = [:]
    private var reigns: [TopicPartition: Int32] = [:]

    init(of node: SimulatedNode, in world: ClusterWorld) {
        self.node = node
        client = KafkaClient("observer\(node.id)", in: world)
        let paces: [Int64] =
            world.plan.isLong ? [2_000, 4_000, 4_000, 4_000] : [50, 400, 4_000, 4_000]
        pace = .milliseconds(paces[client.generator.below(4)])
    }

    func run() async {
        while !client.world.isOver {
            await client.rest(upTo: pace, calm: .seconds(60))
            guard node.isUp else { continue }
            await look()
        }
    }

    private func look() async {
        let life = node.incarnation
        guard let answer = await client.refresh(at: node.id), node.incarnation == life else {
            return
        }
        var places: [TopicPartition] = []
        for topic in answer.topics {
            guard let name = topic.name, !name.hasPrefix("__") else { continue }
            for partition in topic.partitions {
                let place = TopicPartition(topic: name, partition: partition.partitionIndex)
                places.append(place)
                guard partition.leaderId == node.id, partition.leaderEpoch >= 0,
                    reigns[place] != partition.leaderEpoch
                else { continue }
                reigns[place] = partition.leaderEpoch
                client.world.counts.leaders += 1
                client.world.record(
                    .leader(node: node.id, place, epoch: partition.leaderEpoch)
                )
            }
        }
        for place in places {
            guard let found = await ReplicaView.watermarks(client, node.id, place),
                node.incarnation == life
            else { continue }
            let mark = Mark(life: life, low: found.low, high: found.high)
            // A replica that left and came back begins anew.
            guard seen[place] != mark, client.world.staysPut(place.topic) else { continue }
            seen[place] = mark
            client.world.record(
                .watermark(
                    process: client.name,
                    node: node.id,
                    incarnation: life,
                    place,
                    low: found.low,
                    high: found.high
                )
            )
        }
    }
}
