package import Bytes
package import ClusterMetadata
package import KafkaProtocol
package import Raft
package import RaftRuntime

/// The node to those who call it on its Raft port: what they may ask it, and have it write.
package final class ClusterNode: Sendable {
    package let clusterID: String
    /// The cluster's nodes, this one among them.
    package let members: Set<ReplicaID>
    /// The replicas of each loop.
    package let managers: [RaftReplicaManager]
    private let shards: [PartitionShard]
    private let metadata: MetadataService

    init(_ settings: ClusterSettings, shards: [PartitionShard], metadata: MetadataService) {
        clusterID = settings.clusterID
        members = Set(settings.nodes.map { ReplicaID(UInt64($0.id)) })
        self.shards = shards
        self.metadata = metadata
        managers = shards.map(\.manager)
    }

    /// The topic and partition whose log is the metadata.
    package static var metadataPartition: TopicPartition { MetadataService.partitionID }

    /// The index, among the managers, of the one that has a group.
    package func place(of group: UInt64) -> Int { Placement.loop(of: group, of: shards.count) }

    // MARK: Metadata

    /// The metadata, and the state of its group on this node when it was read.
    package struct View: Sendable {
        package let image: MetadataImage
        /// `nil` while the group is not started.
        package let group: PartitionReplica.Info?
        /// Who leads the metadata, as far as this node knows.
        package let leader: Int32?
    }

    /// What this node has applied.
    package var image: MetadataImage { metadata.image }

    package func localView() async -> View { await metadata.view() }

    /// A view that shows everything acknowledged before the call.
    package func linearizableView() async throws(MetadataProblem) -> View {
        _ = try await metadata.linearizableImage()
        return await metadata.view()
    }

    // MARK: Writing

    /// What became of a write.
    package struct Written: Sendable {
        /// Whoever has applied this entry can see it.
        package let index: LogIndex
        package let term: Term
        package let answer: ByteSlice
    }

    /// Has the metadata's leader, this node or another, decide a ``MetadataCommand``.
    ///
    /// Answered by a ``MetadataAnswer``.
    package func decide(_ command: ByteSlice) async throws(MetadataProblem) -> Written {
        guard let command = try? MetadataCommand(decoding: command) else {
            throw MetadataProblem(.invalidRequest, "the bytes are no command to the metadata")
        }
        let answer = try await metadata.write(command)
        if case .refused = answer { throw answer.problem }
        let group = await metadata.view().group
        return Written(
            index: group?.applied ?? LogIndex(0),
            term: group?.term ?? Term(0),
            answer: answer.encoded()
        )
    }

    /// Appends a record batch to a partition that this node leads; returns when it is committed.
    ///
    /// Answered by the base offset and the append time (-1 unless the topic stamps its records),
    /// each 8 bytes, big-endian.
    package func append(
        _ records: ByteSlice,
        to place: MetadataImage.PartitionPlace
    ) async throws(MetadataProblem) -> Written {
        guard let partition = image.partition(place) else {
            throw MetadataProblem(.unknownTopicOrPartition, "\(place.topic)-\(place.index)")
        }
        guard image.topic(place.topic)?.isInternal == false else {
            throw MetadataProblem(
                .invalidTopicException,
                "'\(place.topic)' is the broker's own topic"
            )
        }
        let batch: RecordBatch
        do {
            batch = try RecordBatch.validated(records)
        } catch {
            throw MetadataProblem(error.errorCode, "\(error)")
        }
        let shard = shards[self.place(of: partition.groupID)]
        let id = TopicPartition(topic: place.topic, partition: place.index)
        let results = await shard.append(
            [AppendItem(partition: id, batch: batch)],
            timeoutMilliseconds: Self.patienceMilliseconds
        )
        let result = results[0]
        guard result.error == .none else {
            throw MetadataProblem(result.error, result.message ?? "\(id) did not take the batch")
        }
        let group = await shard.group(of: id)
        var answer = ByteWriter(capacity: 16)
        answer.write(result.baseOffset)
        answer.write(result.logAppendTime)
        return Written(
            index: group?.applied ?? LogIndex(0),
            term: group?.term ?? Term(0),
            answer: answer.finishContiguous()
        )
    }

    private static let patienceMilliseconds: Int32 = 30_000

    /// The state of a partition's group on this node; `nil` if there is no replica of it.
    package func group(of place: MetadataImage.PartitionPlace) async -> PartitionReplica.Info? {
        guard let partition = image.partition(place) else { return nil }
        return await shards[self.place(of: partition.groupID)].group(
            of: TopicPartition(topic: place.topic, partition: place.index)
        )
    }
}

extension PartitionShard {
    func group(of id: TopicPartition) -> PartitionReplica.Info? { partition(id)?.replica.info }
}
