import Bytes
import KafkaMessages
import Platform

/// The producers of one event loop.
actor ProduceWorker {
    private static let answerTimeout = Int64.seconds(30)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let plan: ProducePlan
    private let pacer: Pacer
    private var producers: [Producer] = []
    private var tally = Tally()
    private var isStopping = false

    init(_ plan: ProducePlan, on loop: EventLoop, pacingWorker: Worker) {
        self.plan = plan
        self.loop = loop
        pacer = Pacer(on: loop, worker: pacingWorker)
    }

    func snapshot() -> Tally { tally }

    /// Sends nothing more; what is in flight is still waited for.
    func stop() { isStopping = true }

    // MARK: Before the run

    /// Connects the producer with this number and makes its request.
    func add(_ number: Int) async throws(BenchError) {
        let leader = plan.layout.leaders[number % plan.layout.leaders.count]
        let connection = try await BrokerConnection.connect(to: leader.address, on: loop)
        let version = try connection.version(of: ProduceRequest.self)
        var producer: (id: Int64, epoch: Int16) = (-1, -1)
        if plan.isIdempotent {
            var request = InitProducerIdRequest()
            request.transactionalId = nil
            request.transactionTimeoutMs = 60_000
            let answer = try await connection.call(request)
            try BrokerConnection.check(answer.errorCode, "InitProducerId")
            producer = (answer.producerId, answer.producerEpoch)
        }
        let template: ProduceTemplate
        do {
            template = try ProduceTemplate(
                topic: plan.layout.topic,
                acks: plan.acks,
                version: version,
                records: plan.recordsPerRequest,
                recordBytes: plan.recordBytes,
                seed: UInt64(number)
            )
        } catch {
            throw .usage("no such produce request can be made: \(error)")
        }
        producers.append(
            Producer(
                number: number,
                connection: connection,
                template: template,
                version: version,
                partitions: leader.partitions,
                producer: producer
            )
        )
    }

    // MARK: The run

    /// Runs all producers from `start` on until their requests or the time are used up.
    func run(from start: Int64) async {
        await withDiscardingTaskGroup { group in
            for index in producers.indices {
                group.addTask { await self.send(index, from: start) }
                if plan.acks != 0 { group.addTask { await self.receive(index) } }
            }
        }
    }

    private func send(_ index: Int, from start: Int64) async {
        let producer = producers[index]
        let quota = plan.requests(of: producer.number)
        let end = plan.durationNanoseconds.map { start + $0 } ?? .max
        _ = await pacer.sleep(until: start)
        while producer.sentRequests < quota, !producer.isDone, !isStopping {
            let meant = plan.schedule.map {
                start + $0.departure(of: producer.sentRequests, from: producer.number)
            }
            if let meant {
                guard meant < end else { break }
                if await pacer.sleep(until: meant) {
                    tally.lateness.record(loop.clock.monotonicNanoseconds - meant)
                }
            }
            await producer.waitForSlot(limit: plan.inFlight)
            let now = loop.clock.monotonicNanoseconds
            guard now < end || meant != nil, !producer.isDone, !isStopping else { break }
            guard await send(producer, departure: meant ?? now) else { break }
        }
        finishSending(producer)
    }

    private func send(_ producer: Producer, departure: Int64) async -> Bool {
        let request = producer.prepareNext(
            departure: departure,
            wallMilliseconds: loop.clock.wallMilliseconds
        )
        tally.sentRecords += plan.recordsPerRequest
        // Before the write: the answer may be here before the write comes back.
        if plan.acks != 0 { producer.inFlight.append(request) }
        do {
            try await producer.connection.write(producer.template.rope)
        } catch {
            if plan.acks == 0 { tally.fail(Self.closedReason, records: plan.recordsPerRequest) }
            return false
        }
        if plan.acks == 0 { succeeded(request) }
        return true
    }

    private func finishSending(_ producer: Producer) {
        producer.isDone = true
        if producer.inFlight.isEmpty {
            // Ends the receiver, which waits for an answer that will not come.
            producer.connection.close()
        } else {
            _ = loop.schedule(after: Self.answerTimeout) { producer.connection.close() }
        }
    }

    private static let closedReason = "CONNECTION_CLOSED"

    // MARK: Answers

    private func receive(_ index: Int) async {
        let producer = producers[index]
        var reason = Self.closedReason
        do {
            while !(producer.isDone && producer.inFlight.isEmpty) {
                guard let frame = try await producer.connection.receive() else { break }
                try take(frame, for: producer)
                producer.freedSlot()
            }
        } catch {
            if case .protocolViolation = error { reason = "\(error)" }
        }
        if !producer.inFlight.isEmpty {
            tally.fail(reason, records: producer.inFlight.count * plan.recordsPerRequest)
            producer.inFlight = []
        }
        producer.isDone = true
        producer.connection.close()
        producer.freedSlot()
    }

    private func take(_ frame: ByteSlice, for producer: Producer) throws(BenchError) {
        guard !producer.inFlight.isEmpty else {
            throw .protocolViolation("an answer to no request")
        }
        let request = producer.inFlight[0]
        let answer = try BrokerConnection.decode(
            ProduceRequest.self,
            frame,
            version: producer.version,
            correlationID: request.correlationID
        )
        producer.inFlight.removeFirst()
        guard let partition = answer.responses.first?.partitionResponses.first else {
            throw .protocolViolation("a produce response without the partition")
        }
        if partition.errorCode == 0 {
            succeeded(request)
        } else {
            tally.fail(
                BrokerConnection.errorName(partition.errorCode),
                records: plan.recordsPerRequest
            )
        }
    }

    private func succeeded(_ request: Producer.InFlight) {
        tally.latency.record(loop.clock.monotonicNanoseconds - request.departure)
        tally.records += plan.recordsPerRequest
        tally.valueBytes += plan.recordsPerRequest * plan.recordBytes
        tally.requests += 1
    }
}
