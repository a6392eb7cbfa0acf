import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import RaftRuntime
import Simulator
import Testing

@testable import Broker

/// Clients that reach one node of a cluster, and partitions that others lead.
@Suite struct ProduceProxyTests {
    private static let topic = "topic"

    private static func cluster(seed: UInt64 = 1) throws -> NodeCluster {
        let cluster = try NodeCluster(seed: seed, proxiesProduces: true)
        try cluster.createTopic(topic, on: [[1, 2, 3], [2, 3, 1], [3, 1, 2]])
        return cluster
    }

    static func request(
        _ batches: [(partition: Int32, batch: RecordBatch)],
        acks: Int16 = -1,
        timeout: Int32 = 30_000
    ) -> ProduceRequest {
        var entry = ProduceRequest.TopicProduceData()
        entry.name = topic
        entry.partitionData = batches.map { partition, batch in
            var data = ProduceRequest.PartitionProduceData()
            data.index = partition
            data.records = ByteRope(batch.bytes)
            return data
        }
        var request = ProduceRequest()
        request.acks = acks
        request.timeoutMs = timeout
        request.topicData = [entry]
        return request
    }

    private static func proxied(_ machine: Machine) -> Int {
        let metrics = machine.node?.metrics.prometheusText() ?? ""
        let line = metrics.split(separator: "\n").first {
            $0.hasPrefix("chronik_produce_proxied_requests_total")
        }
        return line.flatMap { $0.split(separator: " ").last }.flatMap { Int($0) } ?? -1
    }

    private static func answers(
        _ response: ProduceResponse
    ) -> [ProduceResponse.PartitionProduceResponse] {
        response.responses.flatMap(\.partitionResponses)
    }

    // MARK: Whole nodes

    @Test(arguments: [1, -1] as [Int16])
    func `one request through one node reaches the leaders of all its partitions`(
        acks: Int16
    ) throws {
        let cluster = try Self.cluster()
        let door = cluster.machine(1)
        for number in 0..<5 as Range<Int64> {
            let request = Self.request(
                (0..<3).map { ($0, .of("\($0) \(number)")) },
                acks: acks
            )
            let answers = Self.answers(try cluster.ask(request, version: 11, of: door))
            #expect(answers.map(\.index) == [0, 1, 2])
            #expect(answers.map(\.errorCode) == [0, 0, 0])
            #expect(answers.map(\.baseOffset) == [number, number, number])
        }
        #expect(Self.proxied(door) == 10)
        #expect(Self.proxied(cluster.machine(2)) == 0)
        for partition in 0..<3 as Range<Int32> {
            let wanted = (0..<5).map { ByteSlice("\(partition) \($0)") }
            for machine in cluster.machines {
                #expect(try cluster.content(of: Self.topic, partition, on: machine) == wanted)
            }
        }
    }

    @Test func `what metadata says stays true`() throws {
        let cluster = try Self.cluster()
        let response = try cluster.told(of: [Self.topic], by: cluster.machine(1))
        #expect(response.topics.flatMap(\.partitions).map(\.leaderId) == [1, 2, 3])
    }

    @Test func `the leader's errors are passed word for word`() throws {
        let cluster = try Self.cluster()
        let wrong: [RecordBatch] = [
            .of(String(repeating: "x", count: 2 << 20)),
            .of("out of order", producer: 7, sequence: 9),
        ]
        for (place, batch) in wrong.enumerated() {
            // The leader checks what it changes, so each request has a batch of its own.
            let copy = { RecordBatch(committed: ByteSlice(batch.bytes.array)) }
            if place == 1 {
                let first = RecordBatch.of("in order", producer: 7, sequence: 0)
                _ = try cluster.ask(Self.request([(1, first)]), version: 11)
            }
            let direct = try cluster.ask(
                Self.request([(1, copy())]),
                version: 11,
                of: cluster.machine(2)
            )
            let passed = try cluster.ask(
                Self.request([(1, copy())]),
                version: 11,
                of: cluster.machine(1)
            )
            #expect(Self.answers(direct)[0].errorCode != 0)
            #expect(Self.answers(direct) == Self.answers(passed))
        }
    }

    @Test func `with nobody left to lead the client is sent looking`() throws {
        let cluster = try Self.cluster()
        cluster.machine(2).kill()
        cluster.machine(3).kill()
        _ = cluster.simulation.run(for: .seconds(10))
        let request = Self.request([(1, .of("lost"))], timeout: 1_000)
        let answers = Self.answers(
            try cluster.ask(request, version: 11, of: cluster.machine(1))
        )
        #expect(answers.map(\.errorCode) == [ErrorCode.notLeaderOrFollower.rawValue])
    }

    @Test func `a leader that falls silent leaves the outcome open, and for the time given`() throws
    {
        let cluster = try Self.cluster()
        let network = cluster.simulation.network
        let request = Self.request([(1, .of("under way"))], timeout: 100)
        network.partition("node1", "node2")
        let before = cluster.simulation.clock.monotonicNanoseconds
        let answers = Self.answers(
            try cluster.ask(request, version: 11, of: cluster.machine(1))
        )
        let took = cluster.simulation.clock.monotonicNanoseconds - before
        #expect(answers.map(\.errorCode) == [ErrorCode.requestTimedOut.rawValue])
        #expect(took < .milliseconds(500))
    }

    @Test func `nothing is answered with acks=0, and a failure ends the connection`() throws {
        let cluster = try Self.cluster()
        let address = cluster.machine(1).address
        let frame = { (text: String) in
            try TestClient.frame(
                Self.request([(2, .of(text))], acks: 0),
                version: 9,
                correlationID: 1
            )
        }
        let good = try frame("good")
        let bad = try frame(String(repeating: "x", count: 2 << 20))
        let isClosed = try cluster.perform { loop in
            let client = try await TestClient.open(address, on: loop)
            defer { client.socket.close() }
            try await client.send(good)
            // What is answered next is the next request.
            let second = Self.request([(2, .of("second"))])
            let answer = Self.answers(try await client.call(second, version: 9))
            #expect(answer.map(\.baseOffset) == [1])
            try await client.send(bad)
            return try await client.receive() == nil
        }
        #expect(isClosed)
        let wanted = [ByteSlice("good"), ByteSlice("second")]
        #expect(try cluster.content(of: Self.topic, 2, on: cluster.machine(3)) == wanted)
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `an idempotent producer behind one node has each record once, whoever dies`(
        seed: UInt64
    ) throws {
        let cluster = try Self.cluster(seed: seed)
        let load = IdempotentLoad(cluster, through: cluster.machine(1), Self.topic)
        try load.waitAcknowledged(20)
        for victim in [2, 3] as [Int32] {
            cluster.machine(victim).kill()
            try load.waitAcknowledged(20)
            cluster.machine(victim).start()
            try cluster.machine(victim).waitReady()
            try load.waitAcknowledged(20)
        }
        try load.finish()
        // Until leadership moves no more.
        _ = cluster.simulation.run(for: .seconds(30))
        for partition in 0..<3 as Range<Int32> {
            let acknowledged = load.acknowledged(partition)
            #expect(acknowledged > 10)
            for machine in cluster.machines {
                let found = try cluster.content(of: Self.topic, partition, on: machine)
                // What was under way at the end may be there.
                #expect(found.count >= acknowledged)
                #expect(found == found.indices.map { ByteSlice("\(partition) \($0)") })
            }
        }
    }
}

/// A producer with several batches under way to each partition, all through one node.
private final class IdempotentLoad: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private static let window: Int32 = 4

    private unowned let cluster: NodeCluster
    private let door: Machine
    private let topic: String
    private var done: [Int32: Int] = [:]
    private var running = 3
    private var isEnding = false

    init(_ cluster: NodeCluster, through door: Machine, _ topic: String) {
        self.cluster = cluster
        self.door = door
        self.topic = topic
        let loop = cluster.clients.loops[0]
        for partition in 0..<3 as Range<Int32> {
            Task(executorPreference: loop) { [self] in await run(partition, on: loop) }
        }
    }

    func acknowledged(_ partition: Int32) -> Int { done[partition] ?? 0 }

    private var count: Int { done.values.reduce(0, +) }

    func waitAcknowledged(_ more: Int) throws {
        let wanted = count + more
        try cluster.eventually("\(more) records more") { count >= wanted }
    }

    func finish() throws {
        isEnding = true
        try cluster.eventually("the client is done") { running == 0 }
    }

    /// Sends as many as fit into the window at once, and again from the first that failed.
    private func run(_ partition: Int32, on loop: EventLoop) async {
        var next: Int32 = 0
        while !isEnding {
            guard let client = try? await TestClient.open(door.address, on: loop) else { continue }
            while !isEnding {
                guard let ended = try? await round(partition, from: next, client) else { break }
                next += ended
                await loop.sleep(nanoseconds: .milliseconds(10))
            }
            client.socket.close()
        }
        running -= 1
    }

    /// How many of the window are acknowledged, in their order.
    private func round(
        _ partition: Int32,
        from next: Int32,
        _ client: TestClient
    ) async throws -> Int32 {
        for number in next..<next + Self.window {
            let batch = RecordBatch.of(
                "\(partition) \(number)",
                producer: 100 + Int64(partition),
                sequence: number
            )
            let request = ProduceProxyTests.request([(partition, batch)], timeout: 2_000)
            try await client.send(TestClient.frame(request, version: 9, correlationID: number))
        }
        var ended: Int32 = 0
        var isBroken = false
        for _ in 0..<Self.window {
            let frame = try #require(try await client.receive())
            var reader = ByteReader(frame)
            _ = try ResponseHeader(
                from: &reader,
                version: APIKey.produce.responseHeaderVersion(for: 9)
            )
            let response = try ProduceResponse(from: &reader, version: 9)
            let code = response.responses[0].partitionResponses[0].errorCode
            if code != 0 { isBroken = true }
            if !isBroken { ended += 1 }
        }
        done[partition, default: 0] += Int(ended)
        return ended
    }
}
