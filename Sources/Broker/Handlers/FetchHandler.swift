import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// Fetch: reads up to the high watermark, and waits for more when there is too little.
///
/// Incremental sessions are KIP-227, leader epochs KIP-320, topic ids KIP-516.
struct FetchHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 4...17

    let broker: BrokerServices

    func handle(_ request: FetchRequest, _ context: RequestContext) async -> FetchResponse? {
        let loop = context.client.loop
        let sessions = broker.sessions[loop.index]
        let plan: FetchPlan
        switch await sessions.open(request, usesTopicIDs: context.apiVersion >= 13) {
        case .rejected(let code):
            var response = FetchResponse()
            response.errorCode = code.rawValue
            return response
        case .plan(let made): plan = made
        }
        // From here on consumers know that they may read from followers (KIP-392).
        let mayFollow = context.apiVersion >= 11 && request.isFromConsumer
        var reader = FetchReader(
            broker: broker,
            request: request,
            plan: plan,
            loop: loop,
            mayFollow: mayFollow
        )
        await reader.read()
        var response = await sessions.close(plan, reader.results)
        if context.apiVersion >= 16 {
            response.nodeEndpoints = LeaderHints.endpoints(
                of: reader.results.lazy.compactMap(\.outcome.leader),
                in: broker.image
            )
        }
        return response
    }
}

/// One fetch, from the first look to the last.
private struct FetchReader {
    private let broker: BrokerServices
    private let loop: EventLoop
    private let plan: FetchPlan
    private let maxBytes: Int
    private let minBytes: Int
    private let deadline: Int64
    private(set) var results: [FetchResult]
    /// Partitions to read, as places in `plan.partitions`, by the loop of their shard.
    private var byLoop: [[Int]]

    private let mayFollow: Bool
    private let rack: String?

    init(
        broker: BrokerServices,
        request: FetchRequest,
        plan: FetchPlan,
        loop: EventLoop,
        mayFollow: Bool
    ) {
        self.mayFollow = mayFollow
        rack = mayFollow && !request.rackId.isEmpty ? request.rackId : nil
        self.broker = broker
        self.loop = loop
        self.plan = plan
        maxBytes = min(max(0, Int(request.maxBytes)), broker.settings.fetchMaxBytes)
        minBytes = Int(request.minBytes)
        deadline = loop.clock.monotonicNanoseconds + .milliseconds(Int64(max(0, request.maxWaitMs)))
        results = plan.partitions.map { _ in FetchResult(outcome: ReadOutcome(error: .none)) }
        byLoop = Array(repeating: [], count: broker.shards.count)
        let image = broker.image
        for (place, partition) in plan.partitions.enumerated() {
            switch FetchReader.locate(partition, in: image) {
            case .success(let found):
                results[place].topic = found.name
                byLoop[Placement.loop(of: found.groupID, of: byLoop.count)].append(place)
            case .failure(let problem):
                results[place].outcome = ReadOutcome(error: problem.code)
            }
        }
    }

    private struct Unknown: Error { let code: ErrorCode }

    private static func locate(
        _ partition: FetchPlan.Partition,
        in image: MetadataImage
    ) -> Result<(name: String, groupID: UInt64), Unknown> {
        let topic =
            partition.topicID == .zero
            ? image.topic(partition.topic) : image.topic(partition.topicID)
        guard let topic else {
            return .failure(
                Unknown(
                    code: partition.topicID == .zero ? .unknownTopicOrPartition : .unknownTopicId
                )
            )
        }
        guard partition.index >= 0, Int(partition.index) < topic.partitions.count else {
            return .failure(Unknown(code: .unknownTopicOrPartition))
        }
        return .success((topic.name, topic.partitions[Int(partition.index)].groupID))
    }

    private func id(_ place: Int) -> TopicPartition {
        TopicPartition(topic: results[place].topic, partition: plan.partitions[place].index)
    }

    /// Reads until there is enough, something is wrong that the client must know, or time is up.
    mutating func read() async {
        await readOnce()
        while !isEnough {
            let left = deadline - loop.clock.monotonicNanoseconds
            guard left > 0 else { return }
            let signal = FetchSignal()
            await register(signal)
            // What was committed between the look and the registration has woken nobody.
            await readOnce()
            if !isEnough {
                let timer = loop.schedule(after: left) { signal.fire() }
                await signal.wait()
                timer.cancel()
            }
            await unregister(signal)
            await readOnce()
        }
    }

    private var isEnough: Bool {
        var bytes = 0
        for result in results {
            if result.outcome.mustBeTold { return true }
            bytes += result.outcome.records.count
        }
        return bytes >= minBytes || plan.partitions.isEmpty
    }

    private mutating func readOnce() async {
        var left = maxBytes
        var mustReturnOne = true
        for (loop, places) in byLoop.enumerated() where !places.isEmpty {
            let items = places.map { place in
                let partition = plan.partitions[place]
                return ReadItem(
                    partition: id(place),
                    offset: partition.fetchOffset,
                    maxBytes: partition.maxBytes,
                    currentLeaderEpoch: partition.currentLeaderEpoch,
                    lastFetchedEpoch: partition.lastFetchedEpoch,
                    mayFollow: mayFollow,
                    rack: rack
                )
            }
            let outcomes = await broker.shards[loop].read(
                items,
                maxBytes: left,
                mustReturnOne: mustReturnOne
            )
            for (place, outcome) in zip(places, outcomes) {
                results[place].outcome = outcome
                left -= outcome.records.count
                if !outcome.records.isEmpty { mustReturnOne = false }
            }
        }
    }

    private func register(_ signal: FetchSignal) async {
        for (loop, places) in byLoop.enumerated() where !places.isEmpty {
            await broker.shards[loop].notify(signal, of: places.map(id))
        }
    }

    private func unregister(_ signal: FetchSignal) async {
        for (loop, places) in byLoop.enumerated() where !places.isEmpty {
            await broker.shards[loop].forget(signal, of: places.map(id))
        }
    }
}

extension FetchRequest {
    fileprivate var isFromConsumer: Bool { replicaId < 0 && replicaState.replicaId < 0 }
}

extension ReadOutcome {
    /// Whether there is something in it beside records.
    var mustBeTold: Bool { error != .none || diverging != nil || preferredReplica != nil }
}
