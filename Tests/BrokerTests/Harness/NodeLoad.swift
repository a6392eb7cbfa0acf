import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator
import Testing

@testable import Broker

/// A client that writes one record after the other to a partition, wherever that is led, and again
/// when it was not acknowledged.
final class NodeLoad: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private(set) var acknowledged: [ByteSlice] = []
    /// Errors that the client was told of.
    private(set) var errors: [ErrorCode: Int] = [:]
    private(set) var isOver = false
    private var isEnding = false
    private var number = 0
    private unowned let cluster: NodeCluster
    private let topic: String
    private let partition: Int32
    private let pause: Int64

    /// A pause that is enough to be in the way of everything; what is written beyond is only work.
    init(
        _ cluster: NodeCluster,
        _ topic: String,
        _ partition: Int32 = 0,
        pause: Int64 = .milliseconds(20)
    ) {
        self.cluster = cluster
        self.topic = topic
        self.partition = partition
        self.pause = pause
        let loop = cluster.clients.loops[0]
        Task(executorPreference: loop) { [self] in await run(on: loop) }
    }

    func waitAcknowledged(_ more: Int) throws {
        let wanted = acknowledged.count + more
        try cluster.eventually("\(more) records more") { acknowledged.count >= wanted }
    }

    /// Everything it wrote is acknowledged.
    func finish() throws {
        isEnding = true
        try cluster.eventually("the client is done") { isOver }
    }

    private func run(on loop: EventLoop) async {
        while !isEnding {
            number += 1
            let value = ByteSlice("\(topic)-\(partition) \(number)")
            while !(await write(value, on: loop)) {
                await loop.sleep(nanoseconds: .milliseconds(10))
            }
            acknowledged.append(value)
            await loop.sleep(nanoseconds: pause)
        }
        isOver = true
    }

    private func write(_ value: ByteSlice, on loop: EventLoop) async -> Bool {
        guard
            let leader = cluster.up.compactMap({ $0.partition(topic, partition)?.leadership })
                .max(by: { $0.epoch < $1.epoch })?.leader, leader > 0,
            let client = try? await TestClient.open(cluster.machine(leader).address, on: loop)
        else { return false }
        defer { client.socket.close() }
        let request = ProduceRequest(value, to: topic, partition)
        guard let response = try? await client.call(request, version: 9),
            let answer = response.responses.first?.partitionResponses.first
        else { return false }
        let code = ErrorCode(rawValue: answer.errorCode) ?? .unknownServerError
        if code != .none { errors[code, default: 0] += 1 }
        return code == .none
    }
}
