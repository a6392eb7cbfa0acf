import KafkaMessages

/// The APIs of this broker; a handler registered here is advertised, and nothing else is.
enum SupportedAPIs {
    static func handlers(_ broker: BrokerServices) -> [AnyRequestHandler] {
        [
            AnyRequestHandler(ProduceHandler(broker: broker)),
            AnyRequestHandler(FetchHandler(broker: broker)),
            AnyRequestHandler(ListOffsetsHandler(broker: broker)),
            AnyRequestHandler(MetadataHandler(broker: broker)),
            AnyRequestHandler(OffsetCommitHandler(broker: broker)),
            AnyRequestHandler(OffsetFetchHandler(broker: broker)),
            AnyRequestHandler(FindCoordinatorHandler(broker: broker)),
            AnyRequestHandler(JoinGroupHandler(broker: broker)),
            AnyRequestHandler(HeartbeatHandler(broker: broker)),
            AnyRequestHandler(LeaveGroupHandler(broker: broker)),
            AnyRequestHandler(SyncGroupHandler(broker: broker)),
            AnyRequestHandler(DescribeGroupsHandler(broker: broker)),
            AnyRequestHandler(ListGroupsHandler(broker: broker)),
            AnyRequestHandler(ApiVersionsHandler()),
            AnyRequestHandler(CreateTopicsHandler(broker: broker)),
            AnyRequestHandler(DeleteTopicsHandler(broker: broker)),
            AnyRequestHandler(DeleteRecordsHandler(broker: broker)),
            AnyRequestHandler(InitProducerIdHandler(broker: broker)),
            AnyRequestHandler(OffsetForLeaderEpochHandler(broker: broker)),
            AnyRequestHandler(DescribeConfigsHandler(broker: broker)),
            AnyRequestHandler(CreatePartitionsHandler(broker: broker)),
            AnyRequestHandler(DeleteGroupsHandler(broker: broker)),
            AnyRequestHandler(IncrementalAlterConfigsHandler(broker: broker)),
            AnyRequestHandler(AlterPartitionReassignmentsHandler(broker: broker)),
            AnyRequestHandler(ListPartitionReassignmentsHandler(broker: broker)),
            AnyRequestHandler(OffsetDeleteHandler(broker: broker)),
            AnyRequestHandler(DescribeClusterHandler(broker: broker)),
        ]
    }

    /// The same, with the versions that work, in the order of their keys.
    static let versions: [(APIKey, ClosedRange<Int16>)] = [
        (.produce, ProduceHandler.versions), (.fetch, FetchHandler.versions),
        (.listOffsets, ListOffsetsHandler.versions), (.metadata, MetadataHandler.versions),
        (.offsetCommit, OffsetCommitHandler.versions), (.offsetFetch, OffsetFetchHandler.versions),
        (.findCoordinator, FindCoordinatorHandler.versions),
        (.joinGroup, JoinGroupHandler.versions), (.heartbeat, HeartbeatHandler.versions),
        (.leaveGroup, LeaveGroupHandler.versions), (.syncGroup, SyncGroupHandler.versions),
        (.describeGroups, DescribeGroupsHandler.versions),
        (.listGroups, ListGroupsHandler.versions), (.apiVersions, ApiVersionsHandler.versions),
        (.createTopics, CreateTopicsHandler.versions),
        (.deleteTopics, DeleteTopicsHandler.versions),
        (.deleteRecords, DeleteRecordsHandler.versions),
        (.initProducerId, InitProducerIdHandler.versions),
        (.offsetForLeaderEpoch, OffsetForLeaderEpochHandler.versions),
        (.describeConfigs, DescribeConfigsHandler.versions),
        (.createPartitions, CreatePartitionsHandler.versions),
        (.deleteGroups, DeleteGroupsHandler.versions),
        (.incrementalAlterConfigs, IncrementalAlterConfigsHandler.versions),
        (.alterPartitionReassignments, AlterPartitionReassignmentsHandler.versions),
        (.listPartitionReassignments, ListPartitionReassignmentsHandler.versions),
        (.offsetDelete, OffsetDeleteHandler.versions),
        (.describeCluster, DescribeClusterHandler.versions),
    ]
}
