import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// A produce request on its way to those who append its batches: the shards of this node, and other
/// nodes that lead.
struct AppendPlan {
    private enum Place: Equatable {
        case loop(Int)
        case node(Int32)
    }

    private struct Target {
        let topic: Int
        let partition: Int
        var result = AppendResult(error: .unknownServerError)
        /// `nil` for what is settled without anybody.
        var place: Place?
        /// Checked, for a shard; other nodes check for themselves.
        var item: AppendItem?
    }

    /// Targets that go the same way, in their order.
    private struct Route {
        let place: Place
        var targets: [Int] = []
        /// Of what goes to another node.
        var bytes = 0
    }

    private let request: ProduceRequest
    private var targets: [Target] = []

    init(_ request: ProduceRequest) {
        self.request = request
        for (topic, data) in request.topicData.enumerated() {
            for partition in data.partitionData.indices {
                targets.append(Target(topic: topic, partition: partition))
            }
        }
    }

    mutating func settleAll(_ result: AppendResult) {
        for index in targets.indices { targets[index].result = result }
    }

    // MARK: Where to

    /// Checks every batch; what is wrong with one partition does not stop the others.
    mutating func prepare(_ broker: BrokerServices, passing proxy: ProduceProxy?) {
        let image = broker.image
        for index in targets.indices {
            let data = request.topicData[targets[index].topic]
            let part = data.partitionData[targets[index].partition]
            guard let topic = image.topic(data.name), part.index >= 0,
                Int(part.index) < topic.partitions.count
            else {
                targets[index].result = AppendResult(error: .unknownTopicOrPartition)
                continue
            }
            guard !topic.isInternal else {
                targets[index].result = AppendResult(
                    error: .invalidTopicException,
                    message: "'\(data.name)' is the broker's own topic"
                )
                continue
            }
            let partition = topic.partitions[Int(part.index)]
            let id = TopicPartition(topic: data.name, partition: part.index)
            if proxy != nil, let leader = broker.otherLeader(of: partition, id) {
                targets[index].place = .node(leader)
                continue
            }
            do {
                let batch = try RecordBatch.validated(part.records?.joined() ?? ByteSlice())
                targets[index].item = AppendItem(partition: id, batch: batch)
                targets[index].place = .loop(
                    Placement.loop(of: partition.groupID, of: broker.shards.count)
                )
            } catch {
                targets[index].result = AppendResult(error: error.errorCode, message: "\(error)")
            }
        }
    }

    /// One a shard, and one or several to each other node: short ones go together.
    private func routes(_ proxy: ProduceProxy?) -> [Route] {
        let longest = (proxy?.limits.callBytes ?? 0) / 2
        var routes: [Route] = []
        for index in targets.indices {
            guard let place = targets[index].place else { continue }
            let bytes = if case .node = place { part(index).records?.count ?? 0 } else { 0 }
            let known = routes.lastIndex { $0.place == place }
            if let known, bytes == 0 || routes[known].bytes + bytes <= longest {
                routes[known].targets.append(index)
                routes[known].bytes += bytes
            } else {
                routes.append(Route(place: place, targets: [index], bytes: bytes))
            }
        }
        return routes
    }

    private func part(_ index: Int) -> ProduceRequest.PartitionProduceData {
        request.topicData[targets[index].topic].partitionData[targets[index].partition]
    }

    // MARK: There and back

    /// Hands the batches over, in one call a shard.
    ///
    /// `loop` is the one it is called on.
    mutating func append(
        _ broker: BrokerServices,
        passing proxy: ProduceProxy?,
        on loop: EventLoop
    ) async {
        let routes = routes(proxy)
        if routes.count == 1 {
            let delivery = delivery(routes[0], broker, proxy)
            settle(routes[0], await delivery.run())
            return
        }
        // Each is asked before this suspends, and so before the connection's next request: others
        // by a hop that is under way at once, this loop's own shard without one.
        var hops: [(route: Route, results: Task<[AppendResult], Never>)] = []
        for route in routes where route.place != .loop(loop.index) {
            let delivery = delivery(route, broker, proxy)
            let hop = Task.immediate(executorPreference: loop) { await delivery.run() }
            hops.append((route, hop))
        }
        if let own = routes.first(where: { $0.place == .loop(loop.index) }) {
            let delivery = delivery(own, broker, proxy)
            settle(own, await delivery.run())
        }
        for hop in hops { settle(hop.route, await hop.results.value) }
    }

    private func delivery(
        _ route: Route,
        _ broker: BrokerServices,
        _ proxy: ProduceProxy?
    ) -> Delivery {
        switch route.place {
        case .loop(let loop):
            return .append(
                route.targets.compactMap { targets[$0].item },
                broker.shards[loop],
                acks: request.acks,
                timeout: request.timeoutMs
            )
        case .node(let node):
            guard let proxy else { preconditionFailure("a batch for node \(node) and no proxy") }
            return .pass(passed(route), node, proxy)
        }
    }

    /// The part of the request that goes to another node.
    private func passed(_ route: Route) -> ProduceRequest {
        var passed = ProduceRequest()
        passed.acks = request.acks
        passed.timeoutMs = request.timeoutMs
        var topic: Int?
        for index in route.targets {
            if targets[index].topic != topic {
                topic = targets[index].topic
                var data = ProduceRequest.TopicProduceData()
                data.name = request.topicData[targets[index].topic].name
                passed.topicData.append(data)
            }
            passed.topicData[passed.topicData.count - 1].partitionData.append(part(index))
        }
        return passed
    }

    private mutating func settle(_ route: Route, _ results: [AppendResult]) {
        for (slot, index) in route.targets.enumerated() { targets[index].result = results[slot] }
    }

    // MARK: The answer

    /// What went wrong first, in words.
    var firstFailure: String? {
        guard let target = targets.first(where: { $0.result.error != .none }) else { return nil }
        let topic = request.topicData[target.topic]
        let partition = topic.partitionData[target.partition].index
        return "a produce with acks=0 to \(topic.name)-\(partition) failed: \(target.result.error)"
    }

    func response(_ image: @autoclosure () -> MetadataImage) -> ProduceResponse {
        var response = ProduceResponse()
        response.responses.reserveCapacity(request.topicData.count)
        var next = 0
        for topic in request.topicData {
            var answer = ProduceResponse.TopicProduceResponse()
            answer.name = topic.name
            answer.partitionResponses.reserveCapacity(topic.partitionData.count)
            for partition in topic.partitionData {
                answer.partitionResponses.append(
                    partitionResponse(partition.index, targets[next].result)
                )
                next += 1
            }
            response.responses.append(answer)
        }
        let leaders = LeaderHints.brokers(in: targets.lazy.compactMap(\.result.leader))
        if !leaders.isEmpty {
            response.nodeEndpoints = LeaderHints.endpoints(of: leaders, in: image()).map { broker in
                var endpoint = ProduceResponse.NodeEndpoint()
                endpoint.nodeId = broker.id
                endpoint.host = broker.host
                endpoint.port = Int32(broker.port)
                endpoint.rack = broker.rack
                return endpoint
            }
        }
        return response
    }

    private func partitionResponse(
        _ index: Int32,
        _ result: AppendResult
    ) -> ProduceResponse.PartitionProduceResponse {
        var answer = ProduceResponse.PartitionProduceResponse()
        answer.index = index
        answer.errorCode = result.error.rawValue
        answer.baseOffset = result.baseOffset
        answer.logAppendTimeMs = result.logAppendTime
        answer.logStartOffset = result.logStartOffset
        answer.errorMessage = result.message
        if let leader = result.leader, let id = leader.id {
            answer.currentLeader.leaderId = id
            answer.currentLeader.leaderEpoch = leader.epoch
        }
        return answer
    }
}

/// Batches that go the same way, and what became of them in the same order.
private enum Delivery: Sendable {
    case append([AppendItem], PartitionShard, acks: Int16, timeout: Int32)
    case pass(ProduceRequest, Int32, ProduceProxy)

    func run() async -> [AppendResult] {
        switch self {
        case .append(let items, let shard, let acks, let timeout):
            return await shard.append(
                items,
                waits: acks != 0,
                until: acks == -1 ? .committed : .written,
                timeoutMilliseconds: timeout
            )
        case .pass(let request, let node, let proxy):
            let outcome = await proxy.pass(request, to: node)
            if case .answered(let answer) = outcome, let results = Self.results(answer, request) {
                return results
            }
            var result = AppendResult(error: .requestTimedOut, message: "an answer of other things")
            if case .failed(let code, let message) = outcome {
                result = AppendResult(error: code, message: message)
            }
            let count = request.topicData.reduce(0) { $0 + $1.partitionData.count }
            return Array(repeating: result, count: count)
        }
    }

    /// What a leader says, word for word; `nil` if it is no answer to the request.
    private static func results(
        _ answer: ProduceResponse,
        _ request: ProduceRequest
    ) -> [AppendResult]? {
        var results: [AppendResult] = []
        guard answer.responses.count == request.topicData.count else { return nil }
        for (topic, asked) in zip(answer.responses, request.topicData) {
            guard topic.name == asked.name,
                topic.partitionResponses.map(\.index) == asked.partitionData.map(\.index)
            else { return nil }
            results += topic.partitionResponses.map(AppendResult.init)
        }
        return results
    }
}

extension AppendResult {
    fileprivate init(_ answer: ProduceResponse.PartitionProduceResponse) {
        self.init(
            error: ErrorCode(rawValue: answer.errorCode) ?? .unknownServerError,
            message: answer.errorMessage
        )
        baseOffset = answer.baseOffset
        logAppendTime = answer.logAppendTimeMs
        logStartOffset = answer.logStartOffset
        if answer.currentLeader.leaderId >= 0 {
            leader = KnownLeader(
                id: answer.currentLeader.leaderId,
                epoch: answer.currentLeader.leaderEpoch
            )
        }
    }
}
