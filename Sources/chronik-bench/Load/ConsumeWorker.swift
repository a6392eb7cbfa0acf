import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// The consumers of one event loop: each fetches its partitions over a connection of its own.
actor ConsumeWorker {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let plan: ConsumePlan
    private var consumers: [Consumer] = []
    private var tally = Tally()
    private var isStopping = false

    init(_ plan: ConsumePlan, on loop: EventLoop) {
        self.plan = plan
        self.loop = loop
    }

    func snapshot() -> Tally { tally }

    /// Fetches nothing more, and does not wait for the fetches under way.
    func stop() {
        isStopping = true
        for consumer in consumers { consumer.connection.close() }
    }

    // MARK: Before the run

    /// Connects the consumer with this number and finds where it begins and ends.
    func add(_ number: Int) async throws(BenchError) {
        let (address, partitions) = plan.assignment(of: number)
        let connection = try await BrokerConnection.connect(
            to: address,
            on: loop,
            bufferBytes: min(plan.maxBytes, 1 << 20) + 4096
        )
        let first = try await offsets(of: partitions, at: plan.from, connection)
        var ends: [Int32: Int64] = [:]
        if plan.stopsAtEnd { ends = try await offsets(of: partitions, at: .latest, connection) }
        let positions = partitions.map {
            Consumer.Position(partition: $0, next: first[$0] ?? 0, end: ends[$0] ?? .max)
        }
        // Topic ids would take the place of names from version 13 on.
        let version = try connection.version(of: FetchRequest.self, limit: 12)
        consumers.append(Consumer(connection: connection, version: version, positions: positions))
    }

    private func offsets(
        of partitions: [Int32],
        at place: ConsumePlan.Place,
        _ connection: BrokerConnection
    ) async throws(BenchError) -> [Int32: Int64] {
        var topic = ListOffsetsRequest.ListOffsetsTopic()
        topic.name = plan.layout.topic
        topic.partitions = partitions.map {
            var partition = ListOffsetsRequest.ListOffsetsPartition()
            partition.partitionIndex = $0
            partition.timestamp = place.rawValue
            return partition
        }
        var request = ListOffsetsRequest()
        request.replicaId = -1
        request.topics = [topic]
        request.timeoutMs = 30_000
        let version = try connection.version(of: ListOffsetsRequest.self)
        guard version >= 1 else { throw .broker("ListOffsets version 0 only") }
        let answer = try await connection.call(request, version: version)
        var found: [Int32: Int64] = [:]
        for partition in answer.topics.flatMap(\.partitions) {
            try BrokerConnection.check(
                partition.errorCode,
                "offsets of partition \(partition.partitionIndex)"
            )
            found[partition.partitionIndex] = partition.offset
        }
        return found
    }

    // MARK: The run

    func run(from start: Int64) async {
        let end = plan.durationNanoseconds.map { start + $0 }
        let timer = end.map { end in
            loop.schedule(after: max(0, end - loop.clock.monotonicNanoseconds)) { [self] in
                assumeIsolated { $0.stop() }
            }
        }
        await withDiscardingTaskGroup { group in
            for index in consumers.indices {
                group.addTask { await self.consume(index) }
            }
        }
        timer?.cancel()
    }

    private func consume(_ index: Int) async {
        let consumer = consumers[index]
        do {
            while !isStopping, !consumer.isFinished, plan.progress.isUnfinished {
                try await fetch(consumer)
            }
        } catch {
            if !isStopping { tally.fail("\(error)", records: 0) }
        }
        consumer.connection.close()
    }

    private func fetch(_ consumer: Consumer) async throws(BenchError) {
        let sent = loop.clock.monotonicNanoseconds
        let id = consumer.nextCorrelationID()
        let frame: ByteSlice
        do {
            frame = try BrokerConnection.frame(
                consumer.request(plan),
                version: consumer.version,
                correlationID: id
            )
        } catch {
            throw .usage("no such fetch request can be made: \(error)")
        }
        try await consumer.connection.write(ByteRope(frame))
        guard let bytes = try await consumer.connection.receive() else {
            throw .network("\(consumer.connection.address) closed the connection")
        }
        let now = loop.clock.monotonicNanoseconds
        let answer = try BrokerConnection.decode(
            FetchRequest.self,
            bytes,
            version: consumer.version,
            correlationID: id
        )
        try BrokerConnection.check(answer.errorCode, "Fetch")
        let before = tally.records
        var failed = false
        for partition in answer.responses.flatMap(\.partitions) {
            if partition.errorCode == 0 {
                try take(partition, for: consumer, at: now)
            } else {
                failed = true
                tally.fail(BrokerConnection.errorName(partition.errorCode), records: 0)
                consumer.fail(
                    partition.partitionIndex,
                    code: ErrorCode(rawValue: partition.errorCode)
                )
            }
        }
        tally.requests += 1
        if tally.records > before {
            // An empty answer took as long as it was told to wait, which says nothing.
            tally.latency.record(now - sent)
            plan.progress.consumed(tally.records - before)
        }
        if failed { await loop.sleep(nanoseconds: .milliseconds(100)) }
    }

    private func take(
        _ partition: FetchResponse.PartitionData,
        for consumer: Consumer,
        at now: Int64
    ) throws(BenchError) {
        guard let records = partition.records, let bytes = records.joined() else { return }
        var scan = BatchScan(bytes, from: consumer.position(of: partition.partitionIndex))
        while let batch = try scan.next() {
            tally.records += batch.records
            tally.valueBytes += batch.valueBytes
            if let departure = batch.departure, plan.measuresEndToEnd {
                tally.endToEnd.record(now - departure)
            }
        }
        consumer.advance(partition.partitionIndex, to: scan.nextOffset)
    }
}

/// One consumer: a connection and how far it has come.
final class Consumer {
    struct Position {
        let partition: Int32
        var next: Int64
        /// Where it has seen enough.
        let end: Int64
        var hasFailed = false
    }

    let connection: BrokerConnection
    let version: Int16
    private var positions: [Position]
    private var correlationID: Int32 = 0

    init(connection: BrokerConnection, version: Int16, positions: [Position]) {
        self.connection = connection
        self.version = version
        self.positions = positions
    }

    var isFinished: Bool { positions.allSatisfy { $0.next >= $0.end || $0.hasFailed } }

    func nextCorrelationID() -> Int32 {
        correlationID &+= 1
        return correlationID
    }

    func position(of partition: Int32) -> Int64 {
        positions.first { $0.partition == partition }?.next ?? 0
    }

    func advance(_ partition: Int32, to offset: Int64) {
        guard let index = positions.firstIndex(where: { $0.partition == partition }) else { return }
        positions[index].next = max(positions[index].next, offset)
    }

    /// Gives the partition up unless trying again may help.
    func fail(_ partition: Int32, code: ErrorCode?) {
        guard code?.isRetriable != true,
            let index = positions.firstIndex(where: { $0.partition == partition })
        else { return }
        positions[index].hasFailed = true
    }

    func request(_ plan: ConsumePlan) -> FetchRequest {
        var topic = FetchRequest.FetchTopic()
        topic.topic = plan.layout.topic
        for position in positions where position.next < position.end && !position.hasFailed {
            var partition = FetchRequest.FetchPartition()
            partition.partition = position.partition
            partition.fetchOffset = position.next
            partition.partitionMaxBytes = Int32(plan.maxBytes)
            topic.partitions.append(partition)
        }
        // The one that had its turn goes last, so that a full answer starves none.
        if positions.count > 1 { positions.append(positions.removeFirst()) }
        var request = FetchRequest()
        request.replicaId = -1
        request.maxWaitMs = 500
        request.minBytes = 1
        request.maxBytes = Int32(plan.maxBytes)
        request.sessionEpoch = -1
        request.topics = [topic]
        return request
    }
}
