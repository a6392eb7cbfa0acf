import KafkaMessages
import KafkaProtocol
import Platform

/// Which broker leads which partition of the topic.
struct TopicLayout: Sendable {
    let topic: String
    let partitionCount: Int
    /// Brokers that lead a partition, in order of their ids, with those they lead.
    let leaders: [(address: SocketAddress, partitions: [Int32])]

    /// Looks the topic up and makes it if it is missing, then waits for its leaders.
    static func find(
        _ topic: String,
        creating partitions: Int32,
        replicationFactor: Int16,
        through connection: BrokerConnection,
        on loop: EventLoop
    ) async throws(BenchError) -> TopicLayout {
        let tellsEpochs = try connection.version(of: MetadataRequest.self) >= 7
        var waited: Int64 = 0
        var wasCreated = false
        while true {
            let answer = try await connection.call(metadataRequest(topic))
            guard let found = answer.topics.first else {
                throw .protocolViolation("metadata without the topic asked for")
            }
            switch ErrorCode(rawValue: found.errorCode) ?? .unknownServerError {
            case .none:
                // A leader without an epoch is about to lead; before version 7 none has one.
                let leads = found.partitions.allSatisfy {
                    $0.errorCode == 0 && $0.leaderId >= 0 && (!tellsEpochs || $0.leaderEpoch >= 0)
                }
                if leads && !found.partitions.isEmpty {
                    return try TopicLayout(topic, found, answer.brokers)
                }
            case .unknownTopicOrPartition where !wasCreated:
                try await create(topic, partitions, replicationFactor, through: connection)
                wasCreated = true
            case .unknownTopicOrPartition, .leaderNotAvailable: break
            default: try BrokerConnection.check(found.errorCode, "topic \(topic)")
            }
            guard waited < .seconds(30) else {
                throw .broker("topic \(topic) has no leaders after 30 s")
            }
            await loop.sleep(nanoseconds: .milliseconds(50))
            waited += .milliseconds(50)
        }
    }

    private static func metadataRequest(_ topic: String) -> MetadataRequest {
        var wanted = MetadataRequest.MetadataRequestTopic()
        wanted.name = topic
        var request = MetadataRequest()
        request.topics = [wanted]
        request.allowAutoTopicCreation = false
        return request
    }

    private static func create(
        _ topic: String,
        _ partitions: Int32,
        _ replicationFactor: Int16,
        through connection: BrokerConnection
    ) async throws(BenchError) {
        var wanted = CreateTopicsRequest.CreatableTopic()
        wanted.name = topic
        wanted.numPartitions = partitions
        let version = try connection.version(of: CreateTopicsRequest.self)
        // Before version 4 there was no "the broker's default".
        wanted.replicationFactor = replicationFactor < 0 && version < 4 ? 1 : replicationFactor
        var request = CreateTopicsRequest()
        request.topics = [wanted]
        request.timeoutMs = 30_000
        let answer = try await connection.call(request, version: version)
        guard let made = answer.topics.first else {
            throw .protocolViolation("CreateTopics without the topic asked for")
        }
        if made.errorCode == ErrorCode.topicAlreadyExists.rawValue { return }
        try BrokerConnection.check(made.errorCode, "topic \(topic) cannot be created")
    }

}

extension TopicLayout {
    fileprivate init(
        _ topic: String,
        _ found: MetadataResponse.MetadataResponseTopic,
        _ brokers: [MetadataResponse.MetadataResponseBroker]
    ) throws(BenchError) {
        self.topic = topic
        partitionCount = found.partitions.count
        var byLeader: [Int32: [Int32]] = [:]
        for partition in found.partitions {
            byLeader[partition.leaderId, default: []].append(partition.partitionIndex)
        }
        var leaders: [(SocketAddress, [Int32])] = []
        for (leader, partitions) in byLeader.sorted(by: { $0.key < $1.key }) {
            guard let broker = brokers.first(where: { $0.nodeId == leader }),
                let port = UInt16(exactly: broker.port)
            else { throw .protocolViolation("leader \(leader) is not among the brokers") }
            leaders.append((SocketAddress(host: broker.host, port: port), partitions.sorted()))
        }
        self.leaders = leaders
    }
}
