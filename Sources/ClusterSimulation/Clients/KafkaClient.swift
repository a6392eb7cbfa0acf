import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator

/// What every simulated client has: connections to the nodes, and what they said of the cluster.
final class KafkaClient: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    static let patience = Int64.seconds(10)

    let name: String
    let loop: EventLoop
    var generator: ClusterGenerator
    private let addresses: [(id: Int32, address: SocketAddress)]
    private var connections: [Int32: WireConnection] = [:]
    /// The leaders of partitions, as somebody said last.
    private(set) var leaders: [TopicPartition: Int32] = [:]
    /// Epochs of what was said: an older word does not replace a newer one.
    private var epochs: [TopicPartition: Int32] = [:]
    let world: ClusterWorld

    init(_ name: String, in world: ClusterWorld) {
        self.name = name
        self.world = world
        loop = world.clients.loops[0]
        generator = world.simulation.makeGenerator()
        addresses = world.nodes.map { ($0.id, $0.address) }
    }

    func pause(upTo nanoseconds: Int64) async {
        await loop.sleep(nanoseconds: Int64(generator.below(max(1, Int(nanoseconds)))))
    }

    /// How long all is calm yet; `nil` in trouble.
    private var calm: Int64? { world.course.calm(at: loop.clock.monotonicNanoseconds) }

    var isCalm: Bool { calm != nil }

    /// Pauses as long when there is trouble; longer while all is calm, the longer the calm yet lasts,
    /// but not into the trouble.
    func rest(upTo nanoseconds: Int64, calm pace: Int64? = nil, atMost most: Int64 = .max) async {
        guard let calm else { return await pause(upTo: nanoseconds) }
        let longest = min(most, max(nanoseconds, pace ?? world.calmPace, calm / 8))
        let drawn = Int64(generator.below(Int(longest)))
        let late = Int64(generator.below(max(1, Int(nanoseconds))))
        await loop.sleep(nanoseconds: min(drawn, calm + late))
    }

    var anyNode: Int32 { addresses[generator.below(addresses.count)].id }

    /// Who leads the metadata, as far as is known, or any other: what admin clients ask.
    var controller: Int32 {
        if let known = world.controller, generator.chance(1, in: 2) { return known }
        return anyNode
    }

    // MARK: Asking

    /// A connection to a node, a new one if need be.
    func connection(to node: Int32) async -> WireConnection? {
        if let known = connections[node], !known.isClosed { return known }
        guard let address = addresses.first(where: { $0.id == node })?.address else { return nil }
        let name = name
        let world = world
        let fresh = try? await WireConnection.connect(
            address,
            on: loop,
            clientID: name,
            complain: { world.report(.wrongAnswer, "\(name): \($0)") }
        )
        // Another task of this client may have been as fast.
        if let known = connections[node], !known.isClosed {
            fresh?.close()
            return known
        }
        connections[node] = fresh
        return fresh
    }

    /// The answer of a node; `nil` when there was none.
    func ask<Request: KafkaRequest>(
        _ node: Int32,
        _ request: Request,
        version: Int16,
        within nanoseconds: Int64 = patience
    ) async -> Request.Response? {
        guard let connection = await connection(to: node) else { return nil }
        return await ask(connection, of: node, request, version: version, within: nanoseconds)
    }

    /// The answer over one connection; `nil` when there was none.
    func ask<Request: KafkaRequest>(
        _ connection: WireConnection,
        of node: Int32,
        _ request: Request,
        version: Int16,
        within nanoseconds: Int64 = patience
    ) async -> Request.Response? {
        do {
            let answer = try await connection.call(request, version: version, within: nanoseconds)
            world.counts.answered += 1
            return answer
        } catch is WireConnection.Disconnected {
            return nil
        } catch {
            world.report(.wrongAnswer, "\(name): \(Request.apiKey) of node \(node): \(error)")
            return nil
        }
    }

    func closeAll() {
        for (_, connection) in connections.sorted(by: { $0.key < $1.key }) { connection.close() }
        connections = [:]
    }

    // MARK: Knowing the cluster

    /// Asks some node about topics; all there are when none are named.
    @discardableResult
    func refresh(_ topics: [String]? = nil, at node: Int32? = nil) async -> MetadataResponse? {
        var request = MetadataRequest()
        request.topics = topics.map { names in
            names.map { name in
                var topic = MetadataRequest.MetadataRequestTopic()
                topic.name = name
                return topic
            }
        }
        request.allowAutoTopicCreation = false
        guard let answer = await ask(node ?? anyNode, request, version: 9) else { return nil }
        if answer.controllerId > 0 { world.controller = answer.controllerId }
        for topic in answer.topics {
            guard let name = topic.name else { continue }
            for partition in topic.partitions {
                let place = TopicPartition(topic: name, partition: partition.partitionIndex)
                guard partition.leaderEpoch >= epochs[place] ?? -1 else { continue }
                if partition.leaderId >= 0 { world.counts.heard(partition.leaderEpoch, of: place) }
                epochs[place] = partition.leaderEpoch
                leaders[place] = partition.leaderId >= 0 ? partition.leaderId : nil
            }
        }
        return answer
    }

    /// The leader of a partition as far as is known; asks when it is not.
    func leader(of place: TopicPartition) async -> Int32? {
        if let leader = leaders[place] { return leader }
        await refresh([place.topic])
        return leaders[place]
    }

    /// The node that was thought to lead does not, or does not answer.
    func forgetLeader(of place: TopicPartition) { leaders[place] = nil }
}
