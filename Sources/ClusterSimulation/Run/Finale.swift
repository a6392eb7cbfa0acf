import Broker
import Bytes
import ClusterMetadata
import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// The questions asked once everything is mended.
final class Finale: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let world: ClusterWorld
    private let client: KafkaClient
    private let nodes: [Int32]
    private let groups: [(name: String, places: [TopicPartition])]
    /// What was wanting at the last look.
    private(set) var state = ""
    private var missing = "no metadata"
    /// The partition that was wanting.
    private var odd: TopicPartition?

    init(
        _ world: ClusterWorld,
        _ nodes: [Int32],
        _ groups: [(name: String, places: [TopicPartition])]
    ) {
        self.world = world
        self.nodes = nodes
        self.groups = groups
        client = KafkaClient("finale", in: world)
    }

    /// Returns once every partition has a leader that all name, and its replicas end alike.
    func awaitEqual() async {
        while let reason = await difference() {
            if reason != state { world.tell("not yet whole: \(reason)") }
            state = reason
            await client.pause(upTo: .seconds(1))
        }
    }

    /// What each node knows of the partition that is not as it should be.
    func describe(_ place: TopicPartition? = nil) async -> [String] {
        guard let odd = place ?? odd else { return [] }
        var lines: [String] = []
        for node in world.nodes {
            let line = await node.node?.admin.describeReplica(of: odd) ?? "down"
            lines.append("\(odd) on node \(node.id): \(line)")
            let partition = node.image.topic(odd.topic)?.partitions
                .first { $0.index == odd.partition }
            let known = partition.map { "founders \($0.founders), \($0.assignment)" }
            lines.append("node \(node.id) knows of it: \(known ?? "nothing")")
        }
        return lines
    }

    private struct Partition: Equatable, CustomStringConvertible {
        let place: TopicPartition
        let leader: Int32
        let replicas: [Int32]

        var description: String { "\(place) on \(replicas) led by \(leader)" }
    }

    /// All partitions as a node has them; `nil` when one has no leader.
    private func partitions(at node: Int32) async -> [Partition]? {
        guard let answer = await client.refresh(at: node) else { return nil }
        var found: [Partition] = []
        for topic in answer.topics {
            guard let name = topic.name else { continue }
            for part in topic.partitions {
                let place = TopicPartition(topic: name, partition: part.partitionIndex)
                // One of a topic with fewer replicas than nodes may be gone with its node.
                let left = part.replicaNodes.filter(nodes.contains)
                guard 2 * left.count > part.replicaNodes.count else { continue }
                guard part.leaderEpoch >= 0, nodes.contains(part.leaderId) else {
                    missing = "\(place) is led by \(part.leaderId)"
                    odd = place
                    return nil
                }
                found.append(
                    Partition(
                        place: place,
                        leader: part.leaderId,
                        replicas: part.replicaNodes.filter(nodes.contains)
                    )
                )
            }
        }
        return found.sorted { $0.place < $1.place }
    }

    /// What differs; `nil` when all is well.
    private func difference() async -> String? {
        guard let first = await partitions(at: nodes[0]) else { return missing }
        for node in nodes.dropFirst() {
            guard let other = await partitions(at: node) else { return missing }
            if let odd = first.first(where: { !other.contains($0) }) {
                self.odd = odd.place
                return "node \(nodes[0]) has \(odd), node \(node) not"
            }
            if let odd = other.first(where: { !first.contains($0) }) {
                self.odd = odd.place
                return "node \(node) has \(odd), node \(nodes[0]) not"
            }
        }
        var ends: [TopicPartition: Int64] = [:]
        for partition in first where !partition.place.topic.hasPrefix("__chronik") {
            for node in partition.replicas {
                let place = partition.place
                guard let found = await ReplicaView.watermarks(client, node, place) else {
                    odd = place
                    return "node \(node) does not show \(place)"
                }
                let end = ends[place] ?? found.high
                guard found.high == end else {
                    odd = place
                    return "\(place) ends at \(found.high) on node \(node), elsewhere at \(end)"
                }
                ends[place] = end
            }
        }
        for place in world.places { world.finalEnds[place] = ends[place] ?? -1 }
        return nil
    }

    // MARK: Everything there is

    func readEverything() async {
        var known: [Partition]?
        while known == nil {
            known = await partitions(at: nodes[0])
            if known == nil { await client.pause(upTo: .seconds(1)) }
        }
        for partition in known ?? [] where !partition.place.topic.hasPrefix("__chronik") {
            await read(partition)
        }
        await readTopics()
        for group in groups { await readCommitted(group.name, group.places) }
    }

    /// The coordinators may still write for a while: what is not at rest is read again.
    private func read(_ known: Partition) async {
        let place = known.place
        var partition = known
        for round in 1... {
            var found: [(node: Int32, low: Int64, high: Int64, batches: [ByteSlice])] = []
            for node in partition.replicas {
                guard let held = await ReplicaView.batches(client, node, place) else { continue }
                found.append((node, held.low, held.high, held.batches))
            }
            let isWhole = found.count == partition.replicas.count
            guard isWhole, Set(found.map(\.high)).count == 1 || round == Self.patience else {
                await client.pause(upTo: .seconds(1))
                // A replica may have been about to leave.
                let now = await partitions(at: nodes[0])?.first { $0.place == place }
                partition = now ?? partition
                continue
            }
            for held in found {
                world.record(
                    .replica(
                        node: held.node,
                        place,
                        low: held.low,
                        high: held.high,
                        batches: held.batches
                    )
                )
            }
            return
        }
    }

    private static let patience = 20

    private func readTopics() async {
        while true {
            if let answer = await client.refresh(at: nodes[0]) {
                world.record(
                    .topics(answer.topics.map { ($0.name ?? "", $0.partitions.count) })
                )
                return
            }
            await client.pause(upTo: .seconds(1))
        }
    }

    private func readCommitted(_ group: String, _ places: [TopicPartition]) async {
        while true {
            var request = FindCoordinatorRequest()
            request.key = group
            let answer = await client.ask(nodes[0], request, version: 2)
            if let answer, answer.errorCode == 0,
                await CommittedOffsets.ask(
                    client,
                    answer.nodeId,
                    group: group,
                    places,
                    process: client.name
                ) != nil
            {
                return
            }
            await client.pause(upTo: .seconds(1))
        }
    }
}
