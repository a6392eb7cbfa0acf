import Broker
import Bytes
import Coordinators
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator
import WriteAheadLog

/// A broker on a simulated machine, and the clients that outlive it.
final class World: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    /// How a life of the broker ends.
    enum End: Equatable {
        case powerCut
        /// The process is killed; the machine goes on.
        case kill
        case stop
    }

    static let host = "broker"

    let simulation: Simulation
    let disk: SimulatedFileSystem
    let clients: SimulatedPlatform
    let ledger = Ledger()
    let address = SocketAddress(host: World.host, port: 9092)
    var generator: SeededGenerator
    private(set) var producers: [SimulatedProducer] = []
    private(set) var broker: SimulatedPlatform?
    private(set) var node: Node?
    private(set) var startError: (any Error)?
    /// Answers to produce requests by their error, of this life.
    private(set) var answers: [ErrorCode: Int] = [:]
    private(set) var places: [TopicPartition] = []
    private(set) var settings: Node.Settings
    private var topicsWanted = 0
    /// Why the audit has to try again.
    private var auditProblem = ""

    init(seed: UInt64, producers count: Int = 4) {
        Logger.configure(level: .error, format: .text)
        CrashNote.set("the world of seed \(seed) came to an end")
        simulation = Simulation(seed: seed)
        generator = simulation.makeGenerator()
        disk = SimulatedFileSystem(
            simulation,
            sectorBytes: generator.chance(1, in: 2) ? 512 : 4096
        )
        clients = SimulatedPlatform(simulation, host: "clients")
        settings = Self.drawSettings(&generator)
        for number in 0..<count {
            let producer = SimulatedProducer(number, in: self, generator.fork())
            producers.append(producer)
            Task(executorPreference: clients.loops[0]) { await producer.run() }
        }
        Task(executorPreference: clients.loops[0]) { await self.createTopics() }
    }

    /// Small files, so that rolls, checkpoints and recycling happen all the time.
    private static func drawSettings(_ generator: inout SeededGenerator) -> Node.Settings {
        let fileBytes = (16 << 10) << generator.below(3)
        var wal = WALConfiguration(
            directory: "/data/wal",
            profile: generator.chance(1, in: 2) ? .low : .medium,
            fileBytes: fileBytes,
            totalBytes: fileBytes * (2 + generator.below(6))
        )
        wal.firstFileBytes = 16 << 10
        wal.growthBytes = 8 << 10
        wal.maxWriteBytes = 16 << 10
        var broker = BrokerSettings()
        broker.listen = SocketAddress(host: host, port: 9092)
        broker.dataDirectory = "/data"
        broker.offsetsPartitions = 2
        broker.memoryBytes = 16 << 20
        broker.brokerConfigs = [
            "log.segment.bytes": "\((8 << 10) << generator.below(4))",
            "log.index.interval.bytes": "1024",
        ]
        return Node.Settings(broker: broker, wal: wal, groups: GroupSettings())
    }

    // MARK: Lives

    func turnOn() { if !disk.isOn { disk.powerOn() } }

    /// Powers the machine on, if need be, and starts the broker.
    func start() {
        turnOn()
        answers = [:]
        node = nil
        startError = nil
        let platform = SimulatedPlatform(
            simulation,
            host: Self.host,
            files: disk,
            loopCount: 1 + generator.below(3)
        )
        broker = platform
        let settings = settings
        Task(executorPreference: platform.loops[0]) {
            do {
                self.node = try await Node.start(settings, on: platform)
            } catch {
                self.startError = error
            }
        }
    }

    var isOver: Bool { broker?.isOn != true }

    /// Runs until the broker serves; false when the power failed before.
    func runToReady() -> Bool {
        let isDone = simulation.run(for: .seconds(60)) {
            self.node != nil || self.startError != nil || self.isOver
        }
        if isOver { return false }
        if let startError { ledger.report("the broker refuses to start: \(startError)") }
        if !isDone { ledger.report("the broker does not come up in a minute") }
        return node != nil
    }

    func end(_ end: End) {
        switch end {
        case .powerCut: disk.cutPower()
        case .kill: broker?.end()
        case .stop: stop()
        }
    }

    private func stop() {
        guard let node, let broker else { return }
        let isStopped = Flag()
        Task(executorPreference: broker.loops[0]) {
            do {
                try await node.stop()
            } catch {
                if !self.isOver { self.ledger.report("the stop fails: \(error)") }
            }
            isStopped.isSet = true
        }
        if !simulation.run(for: .seconds(60), until: { isStopped.isSet || self.isOver }) {
            ledger.report("the broker does not stop in a minute")
        }
        broker.end()
    }

    /// Runs until `isDone` or the time is over; true when it is done.
    func run(for nanoseconds: Int64, until isDone: () -> Bool = { false }) -> Bool {
        simulation.run(for: nanoseconds, until: isDone)
    }

    func forgetAnswers() { answers = [:] }

    func produced(_ error: ErrorCode) { answers[error, default: 0] += 1 }

    // MARK: Topics

    private func createTopics() async {
        let loop = clients.loops[0]
        while true {
            if topicsWanted > ledger.topics.count,
                let client = try? await WireClient.connect(address, on: loop)
            {
                await createTopic("t\(ledger.topics.count)", client)
                client.close()
            }
            await loop.sleep(nanoseconds: .milliseconds(5))
        }
    }

    private func createTopic(_ name: String, _ client: WireClient) async {
        var topic = CreateTopicsRequest.CreatableTopic()
        topic.name = name
        topic.numPartitions = Int32(1 + name.utf8.reduce(0) { $0 + Int($1) } % 4)
        topic.replicationFactor = 1
        var request = CreateTopicsRequest()
        request.topics = [topic]
        guard let answer = try? await client.call(request, version: 5),
            let error = ErrorCode(rawValue: answer.topics[0].errorCode)
        else { return }
        switch error {
        case .none, .topicAlreadyExists:
            ledger.topicCreated(name)
            for partition in 0..<topic.numPartitions {
                places.append(TopicPartition(topic: name, partition: partition))
            }
        case .kafkaStorageError, .requestTimedOut, .notLeaderOrFollower, .leaderNotAvailable: return
        default:
            ledger.report("creating \(name): \(error), \(answer.topics[0].errorMessage ?? "")")
        }
    }

    func wantTopics(_ count: Int) { topicsWanted = max(topicsWanted, count) }

    // MARK: Checking

    /// Reads everything there is and checks it; false when the power failed meanwhile.
    func audit() -> Bool {
        let isDone = Flag()
        let places = places
        for producer in producers { producer.isPaused = true }
        defer { for producer in producers { producer.isPaused = false } }
        Task(executorPreference: clients.loops[0]) {
            for place in places {
                while await !self.audit(place) {
                    if self.isOver { return }
                    await self.clients.loops[0].sleep(nanoseconds: .milliseconds(3))
                }
            }
            isDone.isSet = true
        }
        let isInTime = simulation.run(for: .seconds(20)) { isDone.isSet || self.isOver }
        if isDone.isSet { ledger.audits += 1 }
        if !isInTime { ledger.report("live: not all can be read in time: \(auditProblem)") }
        return isDone.isSet
    }

    /// Reads a partition from its start to its end.
    private func audit(_ place: TopicPartition) async -> Bool {
        let loop = clients.loops[0]
        guard let client = try? await WireClient.connect(address, on: loop) else { return false }
        defer { client.close() }
        let end = ledger.knownEnd(of: place)
        var found: [(offset: Int64, id: RecordID)] = []
        while true {
            guard let part = await fetch(place, Int64(found.count), client) else {
                auditProblem = "\(place) \(found.count): no answer"
                return false
            }
            switch ErrorCode(rawValue: part.errorCode) {
            case .some(.none): break
            case .notLeaderOrFollower:
                auditProblem = "\(place) has no leader"
                return false
            case .offsetOutOfRange:
                ledger.check(place, found, knownEnd: end)
                return true
            default:
                ledger.report("fetching \(place) at \(found.count): error \(part.errorCode)")
                return true
            }
            if part.logStartOffset != 0 {
                ledger.report("dense: \(place) begins at \(part.logStartOffset)")
                return true
            }
            let records = part.records?.joined() ?? ByteSlice()
            if records.isEmpty {
                // Nothing to read although there is something would be a broken promise.
                if part.highWatermark > Int64(found.count) {
                    auditProblem = "\(place) \(found.count) of \(part.highWatermark)"
                    return false
                }
                ledger.check(place, found, knownEnd: end)
                return true
            }
            guard take(records, place, &found) else { return true }
        }
    }

    private func take(
        _ records: ByteSlice,
        _ place: TopicPartition,
        _ found: inout [(offset: Int64, id: RecordID)]
    ) -> Bool {
        var rest = records
        let before = found.count
        while !rest.isEmpty {
            guard let batch = try? RecordBatch.framed(rest) else { break }
            rest = rest.dropFirst(batch.bytes.count)
            for (offset, id) in ledger.reads(batch, in: place) where offset >= Int64(before) {
                found.append((offset, id))
            }
        }
        if found.count == before { ledger.report("real: nothing readable at \(place) \(before)") }
        return found.count > before
    }

    private func fetch(
        _ place: TopicPartition,
        _ offset: Int64,
        _ client: WireClient
    ) async -> FetchResponse.PartitionData? {
        var partition = FetchRequest.FetchPartition()
        partition.partition = place.partition
        partition.fetchOffset = offset
        partition.partitionMaxBytes = 256 << 10
        var topic = FetchRequest.FetchTopic()
        topic.topic = place.topic
        topic.partitions = [partition]
        var request = FetchRequest()
        request.maxBytes = 256 << 10
        request.topics = [topic]
        return try? await client.call(request, version: 11).responses.first?.partitions.first
    }

    /// Lets the producers finish; reports what does not get through.
    func settle() {
        for producer in producers { producer.isEnding = true }
        let isDone = simulation.run(for: .seconds(60)) {
            self.producers.allSatisfy(\.hasEnded) || self.isOver
        }
        guard !isDone else { return }
        for producer in producers where !producer.hasEnded {
            ledger.report("live: \(producer) does not get its records in")
        }
    }
}

/// Something a task tells whoever runs the simulation.
final class Flag: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    var isSet = false
}
