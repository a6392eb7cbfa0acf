import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// A producer of some partitions, which goes on through every failure.
final class SimulatedProducer: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let name: String
    let client: KafkaClient
    let isIdempotent: Bool
    let acks: HistoryEvent.Acks
    /// Nanoseconds between two batches of a lane, at most.
    let pace: Int64
    let maxValueBytes: Int
    /// How long a node may wait for a commit.
    let timeoutMilliseconds: Int32
    private(set) var producerID: Int64 = -1
    private(set) var lanes: [ProducerLane] = []
    private var lastID = -1

    init(_ number: Int, in world: ClusterWorld) {
        name = "p\(number)"
        client = KafkaClient(name, in: world)
        isIdempotent = client.generator.chance(3, in: 5)
        acks =
            isIdempotent
            ? .all
            : client.generator.chance(1, in: 5)
                ? .none : client.generator.chance(1, in: 3) ? .leader : .all
        let paces: [Int64] = world.plan.isLong ? [50, 200, 500, 1_500] : [20, 100, 400, 1_500]
        pace = .milliseconds(paces[client.generator.below(4)])
        maxValueBytes = [16, 120, 240][client.generator.below(3)]
        timeoutMilliseconds = [100, 1_000, 5_000][client.generator.below(3)]
        let window = isIdempotent ? 1 + client.generator.below(5) : 1 + client.generator.below(2)
        let places = world.places
        for _ in 0...client.generator.below(3) {
            let place = places[client.generator.below(places.count)]
            guard !lanePlaces.contains(place) else { continue }
            lanePlaces.append(place)
            lanes.append(ProducerLane(self, to: place, window: window))
        }
    }

    private var lanePlaces: [TopicPartition] = []

    var hasEnded: Bool { lanes.allSatisfy(\.hasEnded) }

    func nextID() -> Int {
        lastID += 1
        return lastID
    }

    func run() async {
        let world = client.world
        world.record(
            .producer(
                process: name,
                acks: acks,
                isIdempotent: isIdempotent,
                isOrdered: false
            )
        )
        if isIdempotent { while !(await askForID()) { await client.pause(upTo: .seconds(1)) } }
        for lane in lanes {
            Task(executorPreference: client.loop) { await lane.run() }
        }
    }

    private func askForID() async -> Bool {
        var request = InitProducerIdRequest()
        request.transactionalId = nil
        request.transactionTimeoutMs = 60_000
        guard let answer = await client.ask(client.anyNode, request, version: 4),
            answer.errorCode == 0
        else { return false }
        producerID = answer.producerId
        client.world.producerStarted(name, id: producerID)
        return true
    }
}
