import Bytes
import Coordinators
import Foundation
import KafkaMessages
import KafkaProtocol
import Platform
import Synchronization
import Testing
import WriteAheadLog

@testable import Broker

/// A broker in this process, on a directory of its own.
struct TestNode {
    static let platform = RealPlatform(loopCount: 2)
    /// Loops live as long as the process and call what lives on them.
    private static let started = Mutex<[Node]>([])

    let node: Node
    let directory: String

    static func makeDirectory() -> String { "/var/tmp/chronik-node-\(UUID().uuidString)" }

    static func start(
        _ directory: String = makeDirectory(),
        walBytes: Int = 64 << 20
    ) async throws -> TestNode {
        var broker = BrokerSettings()
        broker.listen = SocketAddress(host: "127.0.0.1", port: 0)
        broker.dataDirectory = directory
        broker.offsetsPartitions = 2
        broker.memoryBytes = 256 << 20
        let wal = WALConfiguration(
            directory: directory + "/wal",
            fileBytes: 1 << 20,
            totalBytes: walBytes
        )
        let settings = Node.Settings(broker: broker, wal: wal, groups: GroupSettings())
        let platform = platform
        let node = try await Task(executorPreference: platform.loops[0]) {
            try await Node.start(settings, on: platform)
        }.value
        started.withLock { $0.append(node) }
        return TestNode(node: node, directory: directory)
    }

    func stop() async throws { try await node.stop() }

    /// A copy of what is on the disk right now, as a killed process leaves it.
    func wreck() throws -> String {
        while true {
            let copy = Self.makeDirectory()
            let before = traces()
            let copied: ()? = try? FileManager.default.copyItem(atPath: directory, toPath: copy)
            // What changed meanwhile would be a state that never was.
            if copied != nil, traces() == before { return copy }
            Self.remove(copy)
        }
    }

    /// Every file with the time of its last change.
    private func traces() -> [String: Date] {
        var traces: [String: Date] = [:]
        for name in FileManager.default.enumerator(atPath: directory) ?? .init() {
            guard let name = name as? String else { continue }
            let attributes = try? FileManager.default.attributesOfItem(
                atPath: directory + "/" + name
            )
            traces[name] = attributes?[.modificationDate] as? Date
        }
        return traces
    }

    static func remove(_ directory: String) { try? platform.files.removeTree(directory) }

    /// Runs `body` with a client of the node, on a loop.
    func client<T: Sendable>(
        _ body: @escaping @Sendable (TestClient) async throws -> T
    ) async throws -> T {
        let address = node.address
        return try await TestClient.with(address, on: Self.platform.loops[1], body)
    }
}

/// A client's connection, confined to its loop.
final class TestClient: @unchecked Sendable {
    // Unchecked: confined to the loop it was made on.
    let socket: Socket
    private var nextCorrelationID: Int32 = 100

    private init(_ socket: Socket) { self.socket = socket }

    /// Another connection to the same broker, closed when nobody holds it any more.
    static func open(_ address: SocketAddress, on loop: EventLoop) async throws -> TestClient {
        TestClient(try await loop.connect(address))
    }

    static func with<T: Sendable>(
        _ address: SocketAddress,
        on loop: EventLoop,
        _ body: @escaping @Sendable (TestClient) async throws -> T
    ) async throws -> T {
        try await Task(executorPreference: loop) {
            let client = TestClient(try await loop.connect(address))
            defer { client.socket.close() }
            return try await body(client)
        }.value
    }

    static func frame<R: KafkaRequest>(
        _ request: R,
        version: Int16,
        correlationID: Int32
    ) throws -> ByteSlice {
        var header = RequestHeader()
        header.requestApiKey = R.apiKey.rawValue
        header.requestApiVersion = version
        header.correlationId = correlationID
        header.clientId = "test"
        var writer = ByteWriter(capacity: 1_024)
        try header.encode(into: &writer, version: R.apiKey.requestHeaderVersion(for: version))
        try request.encode(into: &writer, version: version)
        return writer.finishContiguous()
    }

    func send(_ frame: ByteSlice) async throws {
        var prefix = ByteWriter(capacity: 4)
        prefix.write(Int32(frame.count))
        var rope = prefix.finish()
        rope.append(frame)
        try await socket.write(rope)
    }

    private func read(_ count: Int) async throws -> ByteSlice? {
        let storage = ByteStorage(capacity: max(count, 1))
        var done = 0
        while done < count {
            let room = UnsafeMutableRawBufferPointer(
                start: storage.start + done,
                count: count - done
            )
            let n = try await socket.read(into: room)
            if n == 0 { return nil }
            done += n
        }
        return storage.slice(0..<count)
    }

    /// The next response without its length; `nil` when the broker has closed.
    func receive() async throws -> ByteSlice? {
        guard let prefix = try await read(4) else { return nil }
        return try await read(Int(prefix.loadBigEndian(at: 0) as Int32))
    }

    func call<R: KafkaRequest>(_ request: R, version: Int16) async throws -> R.Response {
        nextCorrelationID += 1
        let id = nextCorrelationID
        try await send(Self.frame(request, version: version, correlationID: id))
        let frame = try #require(try await receive(), "closed instead of answering")
        var reader = ByteReader(frame)
        let header = try ResponseHeader(
            from: &reader,
            version: R.apiKey.responseHeaderVersion(for: version)
        )
        #expect(header.correlationId == id)
        let response = try R.Response(from: &reader, version: version)
        #expect(reader.remaining == 0)
        return response
    }
}

// MARK: What clients do

extension TestClient {
    func createTopic(_ name: String, partitions: Int32 = 1) async throws {
        var topic = CreateTopicsRequest.CreatableTopic()
        topic.name = name
        topic.numPartitions = partitions
        topic.replicationFactor = 1
        var request = CreateTopicsRequest()
        request.topics = [topic]
        let response = try await call(request, version: 5)
        #expect(response.topics.map(\.errorCode) == [0])
    }

    /// One batch of one record; returns its offset once it is committed.
    func produce(_ value: ByteSlice, to topic: String, _ partition: Int32 = 0) async throws -> Int64
    {
        let request = ProduceRequest(value, to: topic, partition)
        let response = try await call(request, version: 9)
        let answer = try #require(response.responses.first?.partitionResponses.first)
        #expect(answer.errorCode == 0)
        return answer.baseOffset
    }

    private static func pause() async {
        await TestNode.platform.loops[1].sleep(nanoseconds: .milliseconds(2))
    }

    /// All values of a partition, from its beginning; `nil` when it cannot be read.
    func values(of topic: String, _ partition: Int32 = 0) async throws -> [ByteSlice]? {
        var values: [ByteSlice] = []
        var patience = 1_000
        while true {
            let request = FetchRequest(topic, partition, from: Int64(values.count))
            let response = try await call(request, version: 11)
            let answer = try #require(response.responses.first?.partitions.first)
            // A partition that has just been started takes a moment to lead, as clients know.
            if answer.errorCode == ErrorCode.notLeaderOrFollower.rawValue, patience > 0 {
                patience -= 1
                await Self.pause()
                continue
            }
            guard answer.errorCode == 0 else { return nil }
            var rest = try #require(answer.records?.joined())
            while !rest.isEmpty {
                let length = Int(rest.loadBigEndian(at: 8) as Int32) + 12
                guard length <= rest.count else { break }
                let batch = try RecordBatch.validated(rest.prefix(length))
                values += try batch.records().compactMap(\.value)
                rest = rest.dropFirst(length)
            }
            if values.count >= Int(answer.highWatermark) { return values }
        }
    }
}
