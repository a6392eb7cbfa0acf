import ClusterMetadata
import KafkaProtocol
import Raft
import RaftGRPC
import RaftRuntime

extension RaftCallError {
    /// What Kafka's clients would be told, in the terms of gRPC.
    ///
    /// | Kafka | gRPC |
    /// |---|---|
    /// | not the leader | FAILED_PRECONDITION, with the leader in the detail |
    /// | no leader now, disk full or unwritable | UNAVAILABLE |
    /// | timed out: done or not | ABORTED |
    /// | no such topic or partition | NOT_FOUND |
    /// | topic exists | ALREADY_EXISTS |
    /// | too large, quota | RESOURCE_EXHAUSTED |
    /// | damaged or invalid | INVALID_ARGUMENT |
    /// | out of order, fenced, not possible now | FAILED_PRECONDITION |
    /// | not supported | UNIMPLEMENTED |
    init(_ problem: MetadataProblem, leader: ReplicaID?) {
        let text = "\(problem.code.name): \(problem.message)"
        switch problem.code {
        case .notLeaderOrFollower, .notController: self = .raft(.notLeader(leader: leader))
        case .requestTimedOut, .notEnoughReplicasAfterAppend: self = .raft(.outcomeUnknown)
        case .messageTooLarge, .recordListTooLarge: self = .tooLarge(text)
        case .corruptMessage, .invalidRecord, .invalidTimestamp, .invalidRequest,
            .invalidTopicException, .invalidPartitions, .invalidReplicationFactor,
            .invalidReplicaAssignment, .invalidConfig, .unsupportedCompressionType:
            self = .malformed(text)
        case .unsupportedVersion, .unsupportedForMessageFormat: self = .notSupported(text)
        case let code: self = .status(code: Self.status(of: code), text: text)
        }
    }

    private static func status(of code: ErrorCode) -> Int32 {
        switch code {
        case .unknownTopicOrPartition, .unknownTopicId, .brokerIdNotRegistered: 5
        case .topicAlreadyExists, .duplicateBrokerRegistration, .duplicateResource: 6
        case .throttlingQuotaExceeded: 8
        case .outOfOrderSequenceNumber, .duplicateSequenceNumber, .invalidProducerEpoch,
            .unknownProducerId, .reassignmentInProgress, .noReassignmentInProgress,
            .staleBrokerEpoch, .inconsistentClusterId, .policyViolation, .notEnoughReplicas:
            9
        case .kafkaStorageError, .coordinatorNotAvailable, .leaderNotAvailable,
            .brokerNotAvailable, .replicaNotAvailable, .coordinatorLoadInProgress:
            14
        default: 2
        }
    }
}
