import Bytes
import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// One producer's way to one partition.
///
/// An idempotent one keeps at most five requests under way and sends again, in order, whatever was
/// not acknowledged, for as long as it takes. One that is not never sends anything twice.
final class ProducerLane: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private struct Batch {
        let ids: [Int]
        let values: [String]
        let baseSequence: Int32
    }

    /// What an answer, or none, means for what was sent.
    private enum Answer {
        case acknowledged(offset: Int64)
        /// It is there, but where is not known any more.
        case known
        case retry
        case nothing
        case refused
    }

    private let producer: SimulatedProducer
    let place: TopicPartition
    private let client: KafkaClient
    private let window: Int
    private var nextSequence: Int32 = 0
    /// Batches not acknowledged, in the order of sending; of idempotent producers only.
    private var pending: [Batch] = []
    private var mustSendAgain = false
    private var inFlight = 0
    /// Where what is in flight was sent: what follows must not overtake it elsewhere.
    private var way: (node: Int32, connection: WireConnection)?
    private var change: UnsafeContinuation<Void, Never>?
    private(set) var hasEnded = false

    private var world: ClusterWorld { client.world }

    init(_ producer: SimulatedProducer, to place: TopicPartition, window: Int) {
        self.producer = producer
        self.place = place
        self.window = window
        client = producer.client
    }

    var description: String {
        "\(producer.name) to \(place): \(pending.count) pending, \(inFlight) in flight"
    }

    private var isDone: Bool {
        world.isDeleted(place.topic) || (world.areProducersEnding && pending.isEmpty)
    }

    func run() async {
        while !isDone {
            if mustSendAgain {
                await waitUntil { self.inFlight == 0 }
                await sendAgain()
            } else if world.areProducersEnding {
                await waitUntil { self.inFlight == 0 }
                if !mustSendAgain && !pending.isEmpty { mustSendAgain = true }
            } else if inFlight < window {
                await findWay()
                guard let way, !way.connection.isClosed, !mustSendAgain else { continue }
                sendNew(way.node, way.connection)
                await client.rest(upTo: producer.pace)
            } else {
                await waitUntil { self.inFlight < self.window }
            }
        }
        await waitUntil { self.inFlight == 0 }
        hasEnded = true
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

    /// Looks for the leader's connection; another one than before only when nothing is in flight.
    private func findWay() async {
        let leader = await client.leader(of: place)
        if let way, way.node == leader, !way.connection.isClosed { return }
        await waitUntil { self.inFlight == 0 }
        way = nil
        guard let leader, let connection = await client.connection(to: leader) else {
            client.forgetLeader(of: place)
            return await client.pause(upTo: .milliseconds(100))
        }
        way = (leader, connection)
    }

    private func sendNew(_ node: Int32, _ connection: WireConnection) {
        let most = client.generator.chance(1, in: 6) ? 30 : 4
        let count = 1 + client.generator.below(most)
        var ids: [Int] = []
        var values: [String] = []
        for _ in 0..<count {
            let id = producer.nextID()
            let key = "\(producer.name):\(id)"
            let value =
                key + ";"
                + String(repeating: "x", count: client.generator.below(producer.maxValueBytes))
            ids.append(id)
            values.append(value)
            world.record(
                .sends(
                    process: producer.name,
                    id: id,
                    topic: place.topic,
                    partition: place.partition,
                    key: key,
                    value: value
                )
            )
        }
        let batch = Batch(ids: ids, values: values, baseSequence: nextSequence)
        nextSequence += Int32(count)
        if producer.isIdempotent { pending.append(batch) }
        inFlight += 1
        Task(executorPreference: client.loop) { await self.send(batch, node, connection) }
    }

    private func send(_ batch: Batch, _ node: Int32, _ connection: WireConnection) async {
        let answer = await produce(batch, at: node, connection, isAgain: false)
        settle(batch, answer)
        inFlight -= 1
        changed()
    }

    /// What is not acknowledged, oldest first, one request after the other.
    private func sendAgain() async {
        while let batch = pending.first, !world.isDeleted(place.topic) {
            await findWay()
            guard let way else { continue }
            let answer = await produce(batch, at: way.node, way.connection, isAgain: true)
            settle(batch, answer)
            if pending.first?.baseSequence == batch.baseSequence {
                await client.pause(upTo: .milliseconds(200))
            }
        }
        mustSendAgain = false
    }

    private func settle(_ batch: Batch, _ answer: Answer) {
        switch answer {
        case .acknowledged(let offset):
            for (index, id) in batch.ids.enumerated() {
                end(.ok, id, offset < 0 ? -1 : offset + Int64(index))
            }
            if producer.acks != .none && offset >= 0 {
                world.acknowledged(producer, batch.ids[0], batch.values[0], place)
            }
            pending.removeAll { $0.baseSequence == batch.baseSequence }
        case .known:
            for id in batch.ids { end(.ok, id, -1) }
            pending.removeAll { $0.baseSequence == batch.baseSequence }
        case .refused:
            for id in batch.ids { end(.fail, id, -1) }
            pending.removeAll { $0.baseSequence == batch.baseSequence }
        case .retry, .nothing:
            client.forgetLeader(of: place)
            if producer.isIdempotent {
                mustSendAgain = true
            } else {
                for id in batch.ids { end(.unknown, id, -1) }
            }
        }
    }

    private func end(_ phase: HistoryEvent.Phase, _ id: Int, _ offset: Int64) {
        world.record(
            .sent(
                phase,
                process: producer.name,
                id: id,
                partition: place.partition,
                offset: offset
            )
        )
    }

    private func produce(
        _ batch: Batch,
        at node: Int32,
        _ connection: WireConnection,
        isAgain: Bool
    ) async -> Answer {
        let request = request(for: batch)
        if producer.acks == .none {
            try? connection.sendSilently(request, version: 9)
            await client.pause(upTo: .milliseconds(1))
            return .nothing
        }
        guard let answer = await client.ask(connection, of: node, request, version: 9) else {
            return .nothing
        }
        guard let part = answer.responses.first?.partitionResponses.first,
            part.index == place.partition
        else {
            world.report(.wrongAnswer, "\(producer.name): no answer for \(place)")
            return .nothing
        }
        return meaning(of: part, batch, isAgain: isAgain)
    }

    private func meaning(
        of part: ProduceResponse.PartitionProduceResponse,
        _ batch: Batch,
        isAgain: Bool
    ) -> Answer {
        let error = ErrorCode(rawValue: part.errorCode) ?? .unknownServerError
        world.counts.count(produce: error)
        switch error {
        case .none: return .acknowledged(offset: part.baseOffset)
        case .duplicateSequenceNumber where producer.isIdempotent: return .known
        case .notLeaderOrFollower, .kafkaStorageError, .requestTimedOut, .leaderNotAvailable,
            .notEnoughReplicas, .notEnoughReplicasAfterAppend:
            return .retry
        case .unknownTopicOrPartition:
            // A node that has not heard of the topic yet.
            return .retry
        case .outOfOrderSequenceNumber where producer.isIdempotent:
            // One sent behind another that was refused.
            if isAgain && pending.first?.baseSequence == batch.baseSequence {
                world.report(
                    .wrongAnswer,
                    "\(producer.name) sends \(place) sequence \(batch.baseSequence) again and"
                        + " gets \(error)"
                )
                return .refused
            }
            return .retry
        default:
            world.report(
                .wrongAnswer,
                "\(producer.name) gets \(error) for \(place) sequence \(batch.baseSequence):"
                    + " \(part.errorMessage ?? "no message")"
            )
            return .refused
        }
    }

    private func request(for batch: Batch) -> ProduceRequest {
        var builder = RecordBatchBuilder(baseTimestamp: client.loop.clock.wallMilliseconds)
        if producer.isIdempotent {
            builder.producerID = producer.producerID
            builder.producerEpoch = 0
            builder.baseSequence = batch.baseSequence
        }
        for (id, value) in zip(batch.ids, batch.values) {
            builder.append(
                key: ByteSlice(Array("\(producer.name):\(id)".utf8)),
                value: ByteSlice(Array(value.utf8))
            )
        }
        var part = ProduceRequest.PartitionProduceData()
        part.index = place.partition
        part.records = ByteRope(builder.finish().bytes)
        var topic = ProduceRequest.TopicProduceData()
        topic.name = place.topic
        topic.partitionData = [part]
        var request = ProduceRequest()
        request.acks =
            switch producer.acks {
            case .all: -1
            case .leader: 1
            case .none: 0
            }
        request.timeoutMs = producer.timeoutMilliseconds
        request.topicData = [topic]
        return request
    }
}
