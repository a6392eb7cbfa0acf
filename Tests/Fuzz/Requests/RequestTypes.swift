import KafkaMessages

@testable import Broker

/// A request's type without its type: decoded alone, or in a frame through the broker's router.
struct RequestType: Sendable {
    let key: APIKey
    let request: Codec
    let response: Codec
    let handler: AnyRequestHandler

    init<R: KafkaRequest & Equatable>(_ type: R.Type) where R.Response: Equatable {
        key = R.apiKey
        request = Codec(R.self)
        response = Codec(R.Response.self)
        handler = AnyRequestHandler(CheckingHandler<R>())
    }

    /// By their keys; all there are.
    static let all: [RequestType] = [
        .init(AddOffsetsToTxnRequest.self),
        .init(AddPartitionsToTxnRequest.self),
        .init(AddRaftVoterRequest.self),
        .init(AlterClientQuotasRequest.self),
        .init(AlterConfigsRequest.self),
        .init(AlterPartitionReassignmentsRequest.self),
        .init(AlterReplicaLogDirsRequest.self),
        .init(AlterUserScramCredentialsRequest.self),
        .init(ApiVersionsRequest.self),
        .init(ConsumerGroupDescribeRequest.self),
        .init(ConsumerGroupHeartbeatRequest.self),
        .init(CreateAclsRequest.self),
        .init(CreateDelegationTokenRequest.self),
        .init(CreatePartitionsRequest.self),
        .init(CreateTopicsRequest.self),
        .init(DeleteAclsRequest.self),
        .init(DeleteGroupsRequest.self),
        .init(DeleteRecordsRequest.self),
        .init(DeleteShareGroupStateRequest.self),
        .init(DeleteTopicsRequest.self),
        .init(DescribeAclsRequest.self),
        .init(DescribeClientQuotasRequest.self),
        .init(DescribeClusterRequest.self),
        .init(DescribeConfigsRequest.self),
        .init(DescribeDelegationTokenRequest.self),
        .init(DescribeGroupsRequest.self),
        .init(DescribeLogDirsRequest.self),
        .init(DescribeProducersRequest.self),
        .init(DescribeQuorumRequest.self),
        .init(DescribeTopicPartitionsRequest.self),
        .init(DescribeTransactionsRequest.self),
        .init(DescribeUserScramCredentialsRequest.self),
        .init(ElectLeadersRequest.self),
        .init(EndTxnRequest.self),
        .init(ExpireDelegationTokenRequest.self),
        .init(FetchRequest.self),
        .init(FindCoordinatorRequest.self),
        .init(GetTelemetrySubscriptionsRequest.self),
        .init(HeartbeatRequest.self),
        .init(IncrementalAlterConfigsRequest.self),
        .init(InitProducerIdRequest.self),
        .init(InitializeShareGroupStateRequest.self),
        .init(JoinGroupRequest.self),
        .init(LeaveGroupRequest.self),
        .init(ListClientMetricsResourcesRequest.self),
        .init(ListGroupsRequest.self),
        .init(ListOffsetsRequest.self),
        .init(ListPartitionReassignmentsRequest.self),
        .init(ListTransactionsRequest.self),
        .init(MetadataRequest.self),
        .init(OffsetCommitRequest.self),
        .init(OffsetDeleteRequest.self),
        .init(OffsetFetchRequest.self),
        .init(OffsetForLeaderEpochRequest.self),
        .init(ProduceRequest.self),
        .init(PushTelemetryRequest.self),
        .init(ReadShareGroupStateRequest.self),
        .init(ReadShareGroupStateSummaryRequest.self),
        .init(RemoveRaftVoterRequest.self),
        .init(RenewDelegationTokenRequest.self),
        .init(SaslAuthenticateRequest.self),
        .init(SaslHandshakeRequest.self),
        .init(ShareAcknowledgeRequest.self),
        .init(ShareFetchRequest.self),
        .init(ShareGroupDescribeRequest.self),
        .init(ShareGroupHeartbeatRequest.self),
        .init(SyncGroupRequest.self),
        .init(TxnOffsetCommitRequest.self),
        .init(UnregisterBrokerRequest.self),
        .init(UpdateFeaturesRequest.self),
        .init(WriteShareGroupStateRequest.self),
        .init(WriteTxnMarkersRequest.self),
    ].sorted { $0.key.rawValue < $1.key.rawValue }
}
