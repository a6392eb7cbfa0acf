import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// What one fetch asks for, after its session is taken into account.
struct FetchPlan: Sendable {
    struct Partition: Sendable, Equatable {
        var topic: String
        var topicID: KafkaUUID
        var index: Int32
        var fetchOffset: Int64
        var maxBytes: Int
        var currentLeaderEpoch: Int32
        var lastFetchedEpoch: Int32
    }

    var partitions: [Partition]
    /// 0 for a fetch without a session.
    var sessionID: Int32
    /// Answer only what is new.
    var isIncremental: Bool
    var usesTopicIDs: Bool
}

/// What was found for one partition of a plan.
struct FetchResult: Sendable {
    var topic = ""
    var outcome: ReadOutcome
}

/// The incremental fetch sessions of one event loop (KIP-227).
///
/// A session belongs to the loop its connection was on; a client that comes back over another is
/// told that the session is gone and opens a new one, as the protocol provides.
actor FetchSessions {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private struct Key: Hashable {
        let topic: String
        let topicID: KafkaUUID
        let index: Int32
    }

    private struct Entry {
        var partition: FetchPlan.Partition
        /// What the client was last told; `nil` before it was told anything.
        var told: (highWatermark: Int64, logStartOffset: Int64)?
    }

    private struct Session {
        var epoch: Int32
        var order: [Key] = []
        var entries: [Key: Entry] = [:]
        var lastUsed: Int64
    }

    enum Opening {
        case plan(FetchPlan)
        case rejected(ErrorCode)
    }

    private let capacity: Int
    private var sessions: [Int32: Session] = [:]
    private var generator: SeededGenerator
    /// A session unused for so long gives way to a new one when there is no room.
    private static let evictableAfter = Int64.seconds(120)

    init(loop: EventLoop, capacity: Int, generator: SeededGenerator) {
        self.loop = loop
        self.capacity = capacity
        self.generator = generator
    }

    func open(_ request: FetchRequest, usesTopicIDs: Bool) -> Opening {
        let asked = Self.partitions(of: request, usesTopicIDs: usesTopicIDs)
        if request.sessionEpoch == 0 || request.sessionEpoch == -1 {
            if request.sessionId != 0 { sessions[request.sessionId] = nil }
            let id = request.sessionEpoch == 0 ? makeSession(asked) : 0
            return .plan(
                FetchPlan(
                    partitions: asked,
                    sessionID: id,
                    isIncremental: false,
                    usesTopicIDs: usesTopicIDs
                )
            )
        }
        guard var session = sessions.removeValue(forKey: request.sessionId) else {
            return .rejected(.fetchSessionIdNotFound)
        }
        guard session.epoch == request.sessionEpoch else {
            sessions[request.sessionId] = session
            return .rejected(.invalidFetchSessionEpoch)
        }
        session.epoch = session.epoch == Int32.max ? 1 : session.epoch + 1
        session.lastUsed = loop.clock.monotonicNanoseconds
        for forgotten in request.forgottenTopicsData {
            for index in forgotten.partitions {
                let key = Key(topic: forgotten.topic, topicID: forgotten.topicId, index: index)
                session.entries[key] = nil
            }
        }
        if !request.forgottenTopicsData.isEmpty {
            session.order.removeAll { session.entries[$0] == nil }
        }
        for partition in asked { Self.put(partition, into: &session) }
        let partitions = session.order.compactMap { session.entries[$0]?.partition }
        sessions[request.sessionId] = session
        return .plan(
            FetchPlan(
                partitions: partitions,
                sessionID: request.sessionId,
                isIncremental: true,
                usesTopicIDs: usesTopicIDs
            )
        )
    }

    private static func key(_ partition: FetchPlan.Partition) -> Key {
        Key(topic: partition.topic, topicID: partition.topicID, index: partition.index)
    }

    private static func put(_ partition: FetchPlan.Partition, into session: inout Session) {
        let key = key(partition)
        if session.entries[key] == nil {
            session.order.append(key)
            session.entries[key] = Entry(partition: partition)
        } else {
            session.entries[key]?.partition = partition
        }
    }

    /// The new session's id, or 0 when there is no room for one.
    private func makeSession(_ partitions: [FetchPlan.Partition]) -> Int32 {
        let now = loop.clock.monotonicNanoseconds
        if sessions.count >= capacity {
            guard
                let oldest = sessions.min(by: {
                    ($0.value.lastUsed, $0.key) < ($1.value.lastUsed, $1.key)
                }),
                now - oldest.value.lastUsed > Self.evictableAfter
            else { return 0 }
            sessions[oldest.key] = nil
        }
        var id: Int32
        repeat {
            id = Int32(truncatingIfNeeded: generator.next() & 0x7fff_ffff)
        } while id == 0 || sessions[id] != nil
        var session = Session(epoch: 1, lastUsed: now)
        for partition in partitions { Self.put(partition, into: &session) }
        sessions[id] = session
        return id
    }

    /// The response, and in the session a note of what the client has been told.
    func close(_ plan: FetchPlan, _ results: [FetchResult]) -> FetchResponse {
        var response = FetchResponse()
        response.sessionId = plan.sessionID
        // A session lent to two requests at once is the client's mistake; the last one counts.
        var session = sessions[plan.sessionID]
        for (partition, result) in zip(plan.partitions, results) {
            let outcome = result.outcome
            let key = Self.key(partition)
            if plan.isIncremental, outcome.records.isEmpty, !outcome.mustBeTold,
                let told = session?.entries[key]?.told,
                told == (outcome.highWatermark, outcome.logStartOffset)
            {
                continue
            }
            session?.entries[key]?.told =
                outcome.error == .none ? (outcome.highWatermark, outcome.logStartOffset) : nil
            append(partition, outcome, to: &response, usesTopicIDs: plan.usesTopicIDs)
        }
        if let session { sessions[plan.sessionID] = session }
        return response
    }

    private func append(
        _ partition: FetchPlan.Partition,
        _ outcome: ReadOutcome,
        to response: inout FetchResponse,
        usesTopicIDs: Bool
    ) {
        var data = FetchResponse.PartitionData()
        data.partitionIndex = partition.index
        data.errorCode = outcome.error.rawValue
        data.highWatermark = outcome.highWatermark
        data.lastStableOffset = outcome.highWatermark
        data.logStartOffset = outcome.logStartOffset
        data.records = outcome.records
        if let diverging = outcome.diverging {
            data.divergingEpoch.epoch = diverging.epoch
            data.divergingEpoch.endOffset = diverging.endOffset
        }
        if let leader = outcome.leader, let id = leader.id {
            data.currentLeader.leaderId = id
            data.currentLeader.leaderEpoch = leader.epoch
        }
        if let replica = outcome.preferredReplica { data.preferredReadReplica = replica }
        let last = response.responses.count - 1
        if last >= 0, response.responses[last].topic == partition.topic,
            response.responses[last].topicId == partition.topicID
        {
            response.responses[last].partitions.append(data)
            return
        }
        var topic = FetchResponse.FetchableTopicResponse()
        topic.topic = partition.topic
        topic.topicId = partition.topicID
        topic.partitions.append(data)
        response.responses.append(topic)
    }

    private static func partitions(
        of request: FetchRequest,
        usesTopicIDs: Bool
    ) -> [FetchPlan.Partition] {
        var partitions: [FetchPlan.Partition] = []
        for topic in request.topics {
            for partition in topic.partitions {
                partitions.append(
                    FetchPlan.Partition(
                        topic: usesTopicIDs ? "" : topic.topic,
                        topicID: usesTopicIDs ? topic.topicId : .zero,
                        index: partition.partition,
                        fetchOffset: partition.fetchOffset,
                        maxBytes: max(0, Int(partition.partitionMaxBytes)),
                        currentLeaderEpoch: partition.currentLeaderEpoch,
                        lastFetchedEpoch: partition.lastFetchedEpoch
                    )
                )
            }
        }
        return partitions
    }
}
