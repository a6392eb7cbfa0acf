import KafkaMessages
import KafkaProtocol
import Platform

/// A connection that writes metadata, one request at a time, to the broker that decides it.
final class MetadataClient {
    enum Operation: Sendable {
        /// Makes a topic of its own.
        case createTopic
        /// Sets a key of a topic that there is.
        case alterConfigs
    }

    private static let topicResource: Int8 = 2

    private let connection: BrokerConnection
    private let settings: BenchSettings
    /// What its topics' names begin with.
    private let prefix: String
    private var made = 0

    init(_ connection: BrokerConnection, _ settings: BenchSettings, prefix: String) {
        self.connection = connection
        self.settings = settings
        self.prefix = prefix
    }

    func close() { connection.close() }

    /// Where the cluster's controller listens, as Kafka's admin clients look it up.
    static func controller(
        through address: SocketAddress,
        on loop: EventLoop
    ) async throws(BenchError) -> SocketAddress {
        let connection = try await BrokerConnection.connect(to: address, on: loop)
        defer { connection.close() }
        var request = MetadataRequest()
        request.topics = []
        request.allowAutoTopicCreation = false
        let answer = try await connection.call(request)
        guard let broker = answer.brokers.first(where: { $0.nodeId == answer.controllerId }),
            let port = UInt16(exactly: broker.port)
        else { throw .broker("\(address) knows of no controller") }
        return SocketAddress(host: broker.host, port: port)
    }

    /// Does it once; the error's name if the broker says no.
    func perform(_ operation: Operation) async throws(BenchError) -> String? {
        switch operation {
        case .createTopic: try await createTopic()
        case .alterConfigs: try await alterConfigs()
        }
    }

    private func createTopic() async throws(BenchError) -> String? {
        var wanted = CreateTopicsRequest.CreatableTopic()
        wanted.name = "\(prefix)-\(made)"
        made += 1
        wanted.numPartitions = settings.partitions
        wanted.replicationFactor = settings.replicationFactor
        var request = CreateTopicsRequest()
        request.topics = [wanted]
        request.timeoutMs = 30_000
        let answer = try await connection.call(request)
        guard let outcome = answer.topics.first else {
            throw .protocolViolation("CreateTopics without the topic asked for")
        }
        return Self.problem(outcome.errorCode)
    }

    private func alterConfigs() async throws(BenchError) -> String? {
        var change = IncrementalAlterConfigsRequest.AlterableConfig()
        change.name = "retention.ms"
        made += 1
        change.value = "\(86_400_000 + made)"
        var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
        resource.resourceType = Self.topicResource
        resource.resourceName = "\(prefix)-0"
        resource.configs = [change]
        var request = IncrementalAlterConfigsRequest()
        request.resources = [resource]
        let answer = try await connection.call(request)
        guard let outcome = answer.responses.first else {
            throw .protocolViolation("IncrementalAlterConfigs without the topic asked for")
        }
        return Self.problem(outcome.errorCode)
    }

    private static func problem(_ code: Int16) -> String? {
        code == 0 ? nil : BrokerConnection.errorName(code)
    }
}
