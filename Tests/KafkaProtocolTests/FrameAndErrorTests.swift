import Bytes
import Testing

@testable import KafkaProtocol

@Suite struct FrameLengthTests {
    private func check(_ bytes: [UInt8], limit: Int = 1_000_000) throws(FrameProblem) -> Int {
        try FrameLength.check(ByteSlice(bytes), limit: limit)
    }

    @Test func `lengths from the shortest request to the limit pass`() throws {
        #expect(try check([0, 0, 0, 8]) == 8)
        #expect(try check([0, 0, 1, 0], limit: 256) == 256)
        #expect(try check([0x7f, 0xff, 0xff, 0xff], limit: .max) == Int(Int32.max))
        #expect(try check([0, 0, 0, 20, 0xff, 0xff]) == 20, "what follows is not looked at")
    }

    @Test func `a length beyond the limit is refused`() {
        #expect(throws: FrameProblem.tooLong(257, limit: 256)) {
            try check([0, 0, 1, 1], limit: 256)
        }
        #expect(throws: FrameProblem.tooLong(.max, limit: 256)) {
            try check([0x7f, 0xff, 0xff, 0xff], limit: 256)
        }
    }

    @Test func `negative, zero and tiny lengths are refused`() {
        #expect(throws: FrameProblem.tooShort(0)) { try check([0, 0, 0, 0]) }
        #expect(throws: FrameProblem.tooShort(7)) { try check([0, 0, 0, 7]) }
        #expect(throws: FrameProblem.tooShort(-1)) { try check([0xff, 0xff, 0xff, 0xff]) }
        #expect(throws: FrameProblem.tooShort(.min)) { try check([0x80, 0, 0, 0]) }
    }

    @Test(arguments: ["GET / HTTP/1.1", "POST /a", "HEAD /", "PUT /x"])
    func `a browser is told so`(line: String) {
        #expect(throws: FrameProblem.http) { try check(Array(line.utf8)) }
    }

    @Test(arguments: 0...4 as ClosedRange<UInt8>)
    func `a TLS handshake is told so`(minor: UInt8) {
        #expect(throws: FrameProblem.tls) { try check([0x16, 0x03, minor, 0x02]) }
    }

    @Test func `every problem says what it is`() {
        let problems: [FrameProblem] = [
            .http, .tls, .tooShort(3), .tooLong(9, limit: 8), .cutShort,
        ]
        #expect(Set(problems.map(\.description)).count == problems.count)
    }
}

@Suite struct ErrorCodeTests {
    @Test func `codes are those of the protocol guide, without a gap`() {
        #expect(ErrorCode.allCases.map(\.rawValue) == Array(-1...120))
        #expect(ErrorCode.none.rawValue == 0)
        #expect(ErrorCode.unknownServerError.rawValue == -1)
        #expect(ErrorCode.notLeaderOrFollower.rawValue == 6)
        #expect(ErrorCode.outOfOrderSequenceNumber.rawValue == 45)
        #expect(ErrorCode.fencedLeaderEpoch.rawValue == 74)
        #expect(ErrorCode.producerFenced.rawValue == 90)
        #expect(ErrorCode.unknownTopicId.rawValue == 100)
    }

    @Test func `a number that is no code is none of them, least of all success`() {
        for number in Int16.min...Int16.max where !(-1...120).contains(number) {
            if ErrorCode(rawValue: number) != nil { Issue.record("\(number) is a code") }
        }
    }

    @Test func `names are as Kafka's tools print them`() {
        #expect(ErrorCode.none.name == "NONE")
        #expect(ErrorCode.notLeaderOrFollower.name == "NOT_LEADER_OR_FOLLOWER")
        #expect(ErrorCode.unknownTopicOrPartition.name == "UNKNOWN_TOPIC_OR_PARTITION")
        #expect(ErrorCode.invalidTopicException.name == "INVALID_TOPIC_EXCEPTION")
        #expect(Set(ErrorCode.allCases.map(\.name)).count == ErrorCode.allCases.count)
    }

    @Test func `success and mistakes of the client are not to be tried again`() {
        for code in [
            ErrorCode.none, .offsetOutOfRange, .messageTooLarge, .outOfOrderSequenceNumber,
            .duplicateSequenceNumber, .invalidProducerEpoch, .unsupportedVersion,
            .unknownServerError, .invalidRecord, .unsupportedForMessageFormat,
        ] { #expect(!code.isRetriable, "\(code.name)") }
        for code in [
            ErrorCode.notLeaderOrFollower, .leaderNotAvailable, .coordinatorLoadInProgress,
            .notCoordinator, .requestTimedOut, .unknownTopicOrPartition, .kafkaStorageError,
        ] { #expect(code.isRetriable, "\(code.name)") }
    }

    @Test func `no problem with a batch is reported as success`() {
        let problems: [InvalidBatch] = [
            .truncated(1), .length(1), .magic(0), .checksum(found: 0, stated: 1),
            .counts(records: 1, lastOffsetDelta: 1), .codec(5), .control, .transactional,
            .severalBatches, .producer(epoch: 0, sequence: 0),
        ]
        for problem in problems {
            #expect(problem.errorCode != .none, "\(problem)")
            #expect(!problem.description.isEmpty)
        }
    }
}

@Suite struct NumberTests {
    @Test func `offsets and epochs are ordered as their numbers`() {
        #expect(Offset(1) < Offset(2) && Offset(-1) < .zero)
        #expect(Offset(5) + 3 == Offset(8) && Offset(5) - 3 == Offset(2))
        #expect(LeaderEpoch.none < LeaderEpoch(0))
        #expect("\(Offset(7)) \(LeaderEpoch(3))" == "7 3")
    }

    @Test func `partitions are ordered by topic, then by number`() {
        let places = [("b", 0), ("a", 10), ("a", 2)].map {
            TopicPartition(topic: $0.0, partition: $0.1)
        }
        #expect(places.sorted().map(\.description) == ["a-2", "a-10", "b-0"])
    }
}
