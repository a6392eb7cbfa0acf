import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import Testing

@testable import Broker

/// Incremental fetches, as KIP-227 has them.
@Suite struct FetchSessionsTests {
    private final class HandClock: Clock, @unchecked Sendable {
        // Unchecked: a test runs on one thread at a time.
        var now: Int64 = 0
        var monotonicNanoseconds: Int64 { now }
        var wallMilliseconds: Int64 { 0 }
    }

    /// Runs the sessions' jobs wherever they are called from, one test at a time.
    private final class InlineLoop: EventLoop, @unchecked Sendable {
        // Unchecked: a test runs on one thread at a time.
        override var isCurrent: Bool { true }
        override func execute(_ body: @escaping @Sendable () -> Void) { body() }
        override func enqueue(_ job: consuming ExecutorJob) {
            UnownedJob(job).runSynchronously(on: asUnownedSerialExecutor())
        }
    }

    private let clock = HandClock()
    private let sessions: FetchSessions

    init() {
        sessions = FetchSessions(
            loop: InlineLoop(index: 0, clock: clock),
            capacity: 2,
            generator: SeededGenerator(seed: 1)
        )
    }

    private func request(
        session: Int32 = 0,
        epoch: Int32,
        _ partitions: [(String, Int32, Int64)] = [],
        forgetting: [(String, Int32)] = []
    ) -> FetchRequest {
        var request = FetchRequest()
        request.sessionId = session
        request.sessionEpoch = epoch
        request.topics = partitions.map { topic, index, offset in
            var partition = FetchRequest.FetchPartition()
            partition.partition = index
            partition.fetchOffset = offset
            partition.partitionMaxBytes = 1_000
            var entry = FetchRequest.FetchTopic()
            entry.topic = topic
            entry.partitions = [partition]
            return entry
        }
        request.forgottenTopicsData = forgetting.map { topic, index in
            var entry = FetchRequest.ForgottenTopic()
            entry.topic = topic
            entry.partitions = [index]
            return entry
        }
        return request
    }

    private func open(_ request: FetchRequest) async throws -> FetchPlan {
        switch await sessions.open(request, usesTopicIDs: false) {
        case .plan(let plan): return plan
        case .rejected(let code): throw Rejected(code: code)
        }
    }

    private struct Rejected: Error, Equatable { let code: ErrorCode }

    private func rejection(_ request: FetchRequest) async -> ErrorCode? {
        guard case .rejected(let code) = await sessions.open(request, usesTopicIDs: false) else {
            return nil
        }
        return code
    }

    private func result(
        _ highWatermark: Int64,
        error: ErrorCode = .none,
        records: String = ""
    ) -> FetchResult {
        var outcome = ReadOutcome(error: error)
        outcome.highWatermark = highWatermark
        outcome.logStartOffset = 0
        if !records.isEmpty { outcome.records = ByteRope(ByteSlice(records)) }
        return FetchResult(topic: "", outcome: outcome)
    }

    private func names(_ plan: FetchPlan) -> [String] {
        plan.partitions.map { "\($0.topic)-\($0.index)@\($0.fetchOffset)" }
    }

    private func answered(_ response: FetchResponse) -> [String] {
        response.responses.flatMap { topic in
            topic.partitions.map { "\(topic.topic)-\($0.partitionIndex)" }
        }
    }

    @Test func `a fetch without a session leaves none behind`() async throws {
        let plan = try await open(request(epoch: -1, [("t", 0, 5)]))
        #expect(plan.sessionID == 0 && !plan.isIncremental && names(plan) == ["t-0@5"])
        let response = await sessions.close(plan, [result(9)])
        #expect(response.sessionId == 0 && answered(response) == ["t-0"])
    }

    @Test func `an incremental fetch names what changed and is told what changed`() async throws {
        let full = try await open(request(epoch: 0, [("t", 0, 0), ("t", 1, 0), ("u", 0, 0)]))
        #expect(full.sessionID != 0 && !full.isIncremental)
        let first = await sessions.close(full, [result(5), result(5), result(5)])
        #expect(answered(first) == ["t-0", "t-1", "u-0"])
        // Partitions of a topic that follow one another share its entry.
        #expect(first.responses.map(\.topic) == ["t", "u"])

        let id = full.sessionID
        let second = try await open(request(session: id, epoch: 1, [("t", 1, 3)]))
        #expect(second.isIncremental && names(second) == ["t-0@0", "t-1@3", "u-0@0"])
        let response = await sessions.close(
            second,
            [result(5), result(5, records: "x"), result(6)]
        )
        #expect(response.sessionId == id && answered(response) == ["t-1", "u-0"])

        let third = try await open(request(session: id, epoch: 2))
        #expect(names(third) == ["t-0@0", "t-1@3", "u-0@0"])
        let quiet = await sessions.close(third, [result(5), result(5), result(6)])
        #expect(quiet.responses.isEmpty)
    }

    @Test func `an error is told again and again, and its end is told`() async throws {
        let full = try await open(request(epoch: 0, [("t", 0, 0)]))
        _ = await sessions.close(full, [result(5)])
        for epoch: Int32 in 1...2 {
            let plan = try await open(request(session: full.sessionID, epoch: epoch))
            let response = await sessions.close(plan, [result(-1, error: .notLeaderOrFollower)])
            #expect(answered(response) == ["t-0"])
        }
        let plan = try await open(request(session: full.sessionID, epoch: 3))
        #expect(answered(await sessions.close(plan, [result(5)])) == ["t-0"])
    }

    @Test func `partitions are added and forgotten`() async throws {
        let full = try await open(request(epoch: 0, [("t", 0, 0), ("t", 1, 0)]))
        let id = full.sessionID
        let plan = try await open(
            request(session: id, epoch: 1, [("u", 7, 2)], forgetting: [("t", 0), ("x", 9)])
        )
        #expect(names(plan) == ["t-1@0", "u-7@2"])
        let again = try await open(request(session: id, epoch: 2, [("t", 0, 4)]))
        #expect(names(again) == ["t-1@0", "u-7@2", "t-0@4"])
    }

    @Test func `epochs count up by one`() async throws {
        let id = try await open(request(epoch: 0, [("t", 0, 0)])).sessionID
        for wrong: Int32 in [2, 3, .max, -2] {
            #expect(
                await rejection(request(session: id, epoch: wrong)) == .invalidFetchSessionEpoch
            )
        }
        _ = try await open(request(session: id, epoch: 1))
        #expect(await rejection(request(session: id, epoch: 1)) == .invalidFetchSessionEpoch)
        _ = try await open(request(session: id, epoch: 2))
        #expect(await rejection(request(session: id &+ 1, epoch: 3)) == .fetchSessionIdNotFound)
    }

    @Test func `a session ends when its client says so, or begins anew`() async throws {
        let id = try await open(request(epoch: 0, [("t", 0, 0)])).sessionID
        let last = try await open(request(session: id, epoch: -1, [("t", 0, 0)]))
        #expect(last.sessionID == 0)
        #expect(await rejection(request(session: id, epoch: 1)) == .fetchSessionIdNotFound)
        let first = try await open(request(epoch: 0)).sessionID
        let second = try await open(request(session: first, epoch: 0)).sessionID
        #expect(second != 0 && second != first)
        #expect(await rejection(request(session: first, epoch: 1)) == .fetchSessionIdNotFound)
    }

    @Test func `without room a client goes on without a session, until one is old`() async throws {
        let first = try await open(request(epoch: 0)).sessionID
        clock.now = .seconds(60)
        let second = try await open(request(epoch: 0)).sessionID
        #expect(first != 0 && second != 0)
        #expect(try await open(request(epoch: 0, [("t", 0, 0)])).sessionID == 0)
        clock.now = .seconds(121)
        let third = try await open(request(epoch: 0)).sessionID
        #expect(third != 0)
        #expect(await rejection(request(session: first, epoch: 1)) == .fetchSessionIdNotFound)
        #expect(await rejection(request(session: second, epoch: 1)) == nil)
    }
}
