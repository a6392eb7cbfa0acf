import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// Produce: appends batches, and answers when what `acks` asks for has happened.
///
/// acks=0 is answered with nothing, or with the end of the connection when a batch could not be
/// appended: nothing else tells the producer to look for another leader. acks=1 once the batches are
/// durable on this node, acks=all once they are on a majority: on a group of one voter the two are
/// the same moment.
struct ProduceHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 3...11

    let broker: BrokerServices

    func handle(
        _ request: ProduceRequest,
        _ context: RequestContext
    ) async throws(ConnectionEnd) -> ProduceResponse? {
        var plan = AppendPlan(request)
        if let refusal = refusal(of: request) {
            plan.settleAll(AppendResult(error: refusal))
        } else {
            plan.prepare(image: broker.image, loops: broker.shards.count)
            await plan.append(
                broker: broker,
                loop: context.client.loop,
                point: request.acks == 0 ? nil : request.acks == 1 ? .written : .committed,
                timeout: request.timeoutMs
            )
        }
        guard request.acks == 0 else { return plan.response(broker.image) }
        if let failure = plan.firstFailure { throw ConnectionEnd(reason: failure) }
        return nil
    }

    private func refusal(of request: ProduceRequest) -> ErrorCode? {
        if ![-1, 0, 1].contains(request.acks) { return .invalidRequiredAcks }
        if request.transactionalId != nil { return .transactionalIdAuthorizationFailed }
        return nil
    }
}

/// A produce request on its way through the shards.
private struct AppendPlan {
    private struct Target {
        let topic: Int
        let partition: Int
        var result = AppendResult(error: .unknownServerError)
        var item: AppendItem?
        var loop = 0
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

    /// Checks every batch; what is wrong with one partition does not stop the others.
    mutating func prepare(image: MetadataImage, loops: Int) {
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
            do {
                let batch = try RecordBatch.validated(part.records?.joined() ?? ByteSlice())
                targets[index].item = AppendItem(
                    partition: TopicPartition(topic: data.name, partition: part.index),
                    batch: batch
                )
                targets[index].loop = Placement.loop(
                    of: topic.partitions[Int(part.index)].groupID,
                    of: loops
                )
            } catch {
                targets[index].result = AppendResult(
                    error: error.errorCode,
                    message: "\(error)"
                )
            }
        }
    }

    /// Hands the batches to their shards, in one call a shard.
    ///
    /// `loop` is the one it is called on.
    mutating func append(
        broker: BrokerServices,
        loop: EventLoop,
        point: AppendPoint?,
        timeout: Int32
    ) async {
        let waits = point != nil
        let point = point ?? .committed
        let live = targets.indices.filter { targets[$0].item != nil }
        guard let first = live.first else { return }
        let firstLoop = targets[first].loop
        if live.allSatisfy({ targets[$0].loop == firstLoop }) {
            let results = await broker.shards[firstLoop].append(
                live.compactMap { targets[$0].item },
                waits: waits,
                until: point,
                timeoutMilliseconds: timeout
            )
            for (slot, index) in live.enumerated() { targets[index].result = results[slot] }
            return
        }
        let loops = Set(live.map { targets[$0].loop }).sorted()
        let groups = loops.map { loop in live.filter { targets[$0].loop == loop } }
        // Each shard is asked before this suspends, and so before the connection's next request:
        // others by a hop that is under way at once, this loop's own without one.
        var hops: [(place: Int, results: Task<[AppendResult], Never>)] = []
        for (place, group) in groups.enumerated() where loops[place] != loop.index {
            let items = group.compactMap { targets[$0].item }
            let shard = broker.shards[loops[place]]
            let hop = Task.immediate(executorPreference: loop) {
                await shard.append(items, waits: waits, until: point, timeoutMilliseconds: timeout)
            }
            hops.append((place, hop))
        }
        if let own = loops.firstIndex(of: loop.index) {
            let results = await broker.shards[loop.index].append(
                groups[own].compactMap { targets[$0].item },
                waits: waits,
                until: point,
                timeoutMilliseconds: timeout
            )
            settle(groups[own], results)
        }
        for hop in hops { settle(groups[hop.place], await hop.results.value) }
    }

    private mutating func settle(_ group: [Int], _ results: [AppendResult]) {
        for (slot, index) in group.enumerated() { targets[index].result = results[slot] }
    }

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
