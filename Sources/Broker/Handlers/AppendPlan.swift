import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// A produce request on its way to those who append its batches: the shards of this node, and other
/// nodes that lead.
///
/// Confined to the loop it was made on.
final class AppendPlan: @unchecked Sendable {
    // Unchecked: confined to its loop.
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
        /// Of those with a place: those that go together have the same.
        var way = 0
    }

    /// Where targets go together, in their order.
    private struct Way {
        let place: Place
        /// Of what goes to another node.
        var bytes = 0
    }

    private let request: ProduceRequest
    private let loop: EventLoop
    private var targets: [Target] = []
    private var unanswered = 0
    private var done: ((AppendPlan) -> Void)?

    init(_ request: ProduceRequest, on loop: EventLoop) {
        self.request = request
        self.loop = loop
        for (topic, data) in request.topicData.enumerated() {
            for partition in data.partitionData.indices {
                targets.append(Target(topic: topic, partition: partition))
            }
        }
    }

    func settleAll(_ result: AppendResult) {
        for index in targets.indices { targets[index].result = result }
    }

    // MARK: Where to

    /// Checks every batch; what is wrong with one partition does not stop the others.
    func prepare(_ broker: BrokerServices, passing proxy: ProduceProxy?) {
        for index in targets.indices {
            let name = request.topicData[targets[index].topic].name
            let part = request.topicData[targets[index].topic].partitionData[
                targets[index].partition
            ]
            guard let group = broker.group(of: name, part.index) else {
                targets[index].result = AppendResult(error: .unknownTopicOrPartition)
                continue
            }
            guard !group.isInternal else {
                targets[index].result = AppendResult(
                    error: .invalidTopicException,
                    message: "'\(name)' is the broker's own topic"
                )
                continue
            }
            let id = TopicPartition(topic: name, partition: part.index)
            if proxy != nil, let leader = broker.otherLeader(of: id) {
                targets[index].place = .node(leader)
                continue
            }
            do {
                let batch = try RecordBatch.validated(part.records?.joined() ?? ByteSlice())
                targets[index].item = AppendItem(partition: id, batch: batch)
                targets[index].place = .loop(
                    Placement.loop(of: group.id, of: broker.shards.count)
                )
            } catch {
                targets[index].result = AppendResult(error: error.errorCode, message: "\(error)")
            }
        }
    }

    /// One a shard, and one or several to each other node: short ones go together.
    private func makeWays(_ proxy: ProduceProxy?) -> [Way] {
        let longest = (proxy?.limits.callBytes ?? 0) / 2
        var ways: [Way] = []
        for index in targets.indices {
            guard let place = targets[index].place else { continue }
            let bytes = if case .node = place { part(index).records?.count ?? 0 } else { 0 }
            let known = ways.lastIndex { $0.place == place }
            if let known, bytes == 0 || ways[known].bytes + bytes <= longest {
                targets[index].way = known
                ways[known].bytes += bytes
            } else {
                targets[index].way = ways.count
                ways.append(Way(place: place, bytes: bytes))
            }
        }
        return ways
    }

    private func part(_ index: Int) -> ProduceRequest.PartitionProduceData {
        request.topicData[targets[index].topic].partitionData[targets[index].partition]
    }

    // MARK: There and back

    /// Hands the batches over, in one call a shard, and calls `done` when all have answered.
    ///
    /// All are asked before this returns, and so before the connection's next request. `done` is
    /// called on this plan's loop, maybe at once.
    func append(
        _ broker: BrokerServices,
        passing proxy: ProduceProxy?,
        done: @escaping (AppendPlan) -> Void
    ) {
        let ways = makeWays(proxy)
        self.done = done
        unanswered = ways.count + 1
        for (way, end) in ways.enumerated() {
            switch end.place {
            case .loop(let index): append(way, to: broker.shards[index])
            case .node(let node):
                guard let proxy else { preconditionFailure("a batch for node \(node), no proxy") }
                pass(way, to: node, proxy)
            }
        }
        answered()
    }

    private func append(_ way: Int, to shard: PartitionShard) {
        let items = targets.compactMap { $0.way == way ? $0.item : nil }
        let acks = request.acks
        let point: AppendPoint = acks == 0 ? .staged : acks == -1 ? .committed : .written
        let timeout = request.timeoutMs
        if shard.loop === loop {
            shard.assumeIsolated { shard in
                shard.append(items, until: point, timeoutMilliseconds: timeout) {
                    self.settle(way, $0)
                }
            }
        } else {
            shard.loop.execute { [self] in
                shard.assumeIsolated { shard in
                    shard.append(items, until: point, timeoutMilliseconds: timeout) { results in
                        self.loop.execute { self.settle(way, results) }
                    }
                }
            }
        }
    }

    private func pass(_ way: Int, to node: Int32, _ proxy: ProduceProxy) {
        let passed = passed(way)
        Task.immediate(executorPreference: loop) {
            self.settle(way, Self.results(await proxy.pass(passed, to: node), passed))
        }
    }

    /// The part of the request that goes to another node.
    private func passed(_ way: Int) -> ProduceRequest {
        var passed = ProduceRequest()
        passed.acks = request.acks
        passed.timeoutMs = request.timeoutMs
        var topic: Int?
        for index in targets.indices where goes(index, way) {
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

    private func goes(_ index: Int, _ way: Int) -> Bool {
        targets[index].way == way && targets[index].place != nil
    }

    private func settle(_ way: Int, _ results: [AppendResult]) {
        var next = 0
        for index in targets.indices where goes(index, way) {
            targets[index].result = results[next]
            next += 1
        }
        precondition(next == results.count, "\(results.count) results for \(next) batches")
        answered()
    }

    private func answered() {
        unanswered -= 1
        guard unanswered == 0, let done else { return }
        self.done = nil
        done(self)
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
        response.nodeEndpoints = LeaderHints.endpoints(
            of: targets.lazy.compactMap(\.result.leader),
            in: image()
        )
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

extension AppendPlan {
    /// What became of what was passed on, in its order.
    private static func results(
        _ outcome: ProduceProxy.Outcome,
        _ request: ProduceRequest
    ) -> [AppendResult] {
        if case .answered(let answer) = outcome, let results = results(answer, request) {
            return results
        }
        var result = AppendResult(error: .requestTimedOut, message: "an answer of other things")
        if case .failed(let code, let message) = outcome {
            result = AppendResult(error: code, message: message)
        }
        let count = request.topicData.reduce(0) { $0 + $1.partitionData.count }
        return Array(repeating: result, count: count)
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
