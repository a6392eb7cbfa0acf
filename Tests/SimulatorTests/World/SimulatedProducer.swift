import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator

/// A producer that goes on for as long as the world does, through every failure of the broker.
///
/// An idempotent one keeps at most five requests under way and sends again, in order, whatever was
/// not acknowledged. One that is not never sends anything twice.
final class SimulatedProducer: CustomStringConvertible, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private struct Batch {
        let place: TopicPartition
        let ids: [RecordID]
        let baseSequence: Int32
    }

    private let number: Int
    private let world: World
    private let loop: EventLoop
    private let isIdempotent: Bool
    private let acks: Int16
    private let window: Int
    private var generator: SeededGenerator
    private var producerID: Int64 = -1
    private var counters: [TopicPartition: Int] = [:]
    /// Batches not acknowledged, in the order of sending; of idempotent producers only.
    private var pending: [Batch] = []
    private var mustSendAgain = false
    /// Where something was refused, so that what follows it is refused too.
    private var failed: Set<TopicPartition> = []
    private var inFlight = 0
    private var change: UnsafeContinuation<Void, Never>?
    /// What it is waiting for.
    private var doing = ""
    /// While set, sends nothing new.
    var isPaused = false
    /// Once set, sends nothing new, and ends when everything is settled.
    var isEnding = false
    private(set) var hasEnded = false

    init(_ number: Int, in world: World, _ generator: SeededGenerator) {
        var generator = generator
        self.number = number
        self.world = world
        loop = world.clients.loops[0]
        isIdempotent = generator.chance(1, in: 2)
        acks =
            isIdempotent
            ? -1
            : generator.chance(1, in: 6) ? 0 : generator.chance(1, in: 2) ? 1 : -1
        window = 1 + generator.below(5)
        self.generator = generator
    }

    var description: String {
        "producer \(number), acks \(acks), \(inFlight) requests under way, \(pending.count) batches"
            + " not acknowledged, \(doing)"
    }

    func run() async {
        while !(isEnding && pending.isEmpty) {
            doing = "connecting"
            if let client = try? await WireClient.connect(world.address, on: loop) {
                doing = "working"
                await work(client)
                doing = "finishing"
                await waitUntil { inFlight == 0 }
                client.close()
            }
            await pause(upTo: 8_000)
        }
        hasEnded = true
    }

    private func pause(upTo microseconds: Int) async {
        await loop.sleep(nanoseconds: .microseconds(Int64(generator.below(microseconds))))
    }

    private func work(_ client: WireClient) async {
        if isIdempotent && producerID < 0 {
            guard await askForID(client) else { return }
        }
        mustSendAgain = !pending.isEmpty
        failed = []
        while !client.isClosed, !isEnding || !pending.isEmpty {
            if mustSendAgain {
                await waitUntil { inFlight == 0 }
                doing = "sending again"
                await sendAgain(client)
                doing = "sent again"
            } else if isEnding {
                if inFlight == 0 { return }
                await waitUntil { inFlight == 0 }
            } else if world.places.isEmpty || isPaused {
                await pause(upTo: 4_000)
            } else if inFlight < window {
                sendNew(client)
                if generator.chance(1, in: 3) { await pause(upTo: 3_000) }
            } else {
                await waitUntil { inFlight < window }
            }
        }
    }

    private func askForID(_ client: WireClient) async -> Bool {
        var request = InitProducerIdRequest()
        request.transactionalId = nil
        request.transactionTimeoutMs = 60_000
        guard let answer = try? await client.call(request, version: 4), answer.errorCode == 0
        else { return false }
        producerID = answer.producerId
        world.ledger.producerStarted(number, id: producerID)
        return true
    }

    private func waitUntil(_ isSo: () -> Bool) async {
        while !isSo() {
            await withUnsafeContinuation {
                if isSo() { $0.resume() } else { change = $0 }
            }
        }
    }

    private func changed() {
        guard let change else { return }
        self.change = nil
        change.resume()
    }

    // MARK: Sending

    private func sendNew(_ client: WireClient) {
        let places = world.places
        var batches: [Batch] = []
        for _ in 0...generator.below(3) {
            let place = places[generator.below(places.count)]
            guard !batches.contains(where: { $0.place == place }) else { continue }
            let first = counters[place] ?? 0
            let count = 1 + (generator.chance(1, in: 5) ? generator.below(30) : generator.below(4))
            counters[place] = first + count
            let ids = (first..<first + count).map {
                RecordID(producer: number, place: place, counter: $0)
            }
            for id in ids { world.ledger.sends(id) }
            batches.append(Batch(place: place, ids: ids, baseSequence: Int32(first)))
        }
        if isIdempotent { pending += batches }
        inFlight += 1
        Task(executorPreference: loop) { await self.send(batches, client) }
    }

    private func send(_ batches: [Batch], _ client: WireClient) async {
        let errors = await produce(batches, client)
        inFlight -= 1
        if isIdempotent, errors != batches.map({ _ in ErrorCode.none }) { mustSendAgain = true }
        changed()
    }

    /// What is not acknowledged, oldest first, one request after the other.
    private func sendAgain(_ client: WireClient) async {
        while let batch = pending.first {
            let error = await produce([batch], client)[0]
            if client.isClosed { return }
            switch error {
            case nil, .some(.none): break
            case .kafkaStorageError, .notLeaderOrFollower, .requestTimedOut:
                await pause(upTo: 20_000)
            case let error?:
                world.ledger.report(
                    "once: producer \(number) sends \(batch.place) sequence"
                        + " \(batch.baseSequence) again and gets \(error)"
                )
                return client.close()
            }
        }
        mustSendAgain = false
        failed = []
    }

    /// The answer for each batch; `nil` when there was none.
    private func produce(_ batches: [Batch], _ client: WireClient) async -> [ErrorCode?] {
        let request = request(for: batches)
        let none: [ErrorCode?] = batches.map { _ in nil }
        if acks == 0 {
            try? client.sendSilently(request, version: 9)
            await pause(upTo: 1_000)
            return none
        }
        guard let answer = try? await client.call(request, version: 9) else { return none }
        return batches.map { batch in
            let part = answer.responses.filter { $0.name == batch.place.topic }
                .flatMap(\.partitionResponses)
                .first { $0.index == batch.place.partition }
            guard let part else {
                world.ledger.report("no answer for \(batch.place)")
                return nil
            }
            return took(part, batch)
        }
    }

    private func took(
        _ part: ProduceResponse.PartitionProduceResponse,
        _ batch: Batch
    ) -> ErrorCode? {
        let error = ErrorCode(rawValue: part.errorCode)
        world.produced(error ?? .unknownServerError)
        switch error {
        case .some(.none):
            world.ledger.acknowledges(batch.ids, at: part.baseOffset)
            pending.removeAll {
                $0.place == batch.place && $0.baseSequence == batch.baseSequence
            }
        case .kafkaStorageError, .notLeaderOrFollower, .requestTimedOut: failed.insert(batch.place)
        case .outOfOrderSequenceNumber where failed.contains(batch.place): break
        default:
            world.ledger.report(
                "producer \(number) gets \(part.errorCode) for \(batch.place):"
                    + " \(part.errorMessage ?? "no message")"
            )
        }
        return error
    }

    private func request(for batches: [Batch]) -> ProduceRequest {
        var request = ProduceRequest()
        request.acks = acks
        request.timeoutMs = 30_000
        for batch in batches {
            var builder = RecordBatchBuilder(baseTimestamp: loop.clock.wallMilliseconds)
            if isIdempotent {
                builder.producerID = producerID
                builder.producerEpoch = 0
                builder.baseSequence = batch.baseSequence
            }
            for id in batch.ids { builder.append(key: nil, value: id.value) }
            var part = ProduceRequest.PartitionProduceData()
            part.index = batch.place.partition
            part.records = ByteRope(builder.finish().bytes)
            var topic = ProduceRequest.TopicProduceData()
            topic.name = batch.place.topic
            topic.partitionData = [part]
            request.topicData.append(topic)
        }
        return request
    }
}
