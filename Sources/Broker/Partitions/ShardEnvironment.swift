import ClusterMetadata
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// What the shards of a node share.
struct ShardEnvironment: Sendable {
    /// Each has a shard.
    var loops = 1
    let files: FileSystem
    let dataDirectory: String
    let wal: GroupCommitWAL
    /// Segments are written and partitions opened here.
    let segmentWriter: Worker
    /// Segments and the WAL are read here.
    let coldReader: Worker
    let readBuffers: ReadBuffers
    let replicaID: ReplicaID
    let raft: RaftConfig
    /// To the other nodes; `nil` where there are none.
    let transport: (any RaftTransport)?
    let budget: MemoryBudget
    let cacheBytesPerLoop: Int
    let leaders: LeaderTable
    /// Between two looks at retention.
    let retentionNanoseconds: Int64
    /// How long an idle idempotent producer is remembered.
    let producerMilliseconds: Int64
    let log: Logger
    let makeGenerator: @Sendable () -> SeededGenerator
    /// Of the whole node; `nil` where there are no others.
    var snapshotLimits: SnapshotLimits?
    var raftMetrics = RaftRuntimeMetrics()
    /// Bytes of entries kept for replicas that lag although segments have them; `nil`: an eighth of
    /// the cache.
    var keptBytesPerLoop: Int?
    /// The rack of a broker, as the metadata has it.
    var rackOf: @Sendable (Int32) -> String? = { _ in nil }

    func directory(of id: TopicPartition) -> PartitionDirectory {
        PartitionDirectory(
            path: "\(dataDirectory)/topics/\(id.topic)-\(id.partition)",
            files: files
        )
    }
}

/// What the WAL remembered of a group, on its way to the loop that will own it.
typealias RecoveredGroup = WALRaftStorage

extension LogConfiguration {
    /// The broker's own topics are kept whole, whatever their configuration says: it reads them from
    /// their start.
    init(
        _ topic: EffectiveTopicConfiguration,
        of id: TopicPartition,
        producerMilliseconds: Int64
    ) {
        let isKeptWhole = InternalTopic(rawValue: id.topic) != nil
        self.init(
            segmentBytes: topic.segmentBytes,
            segmentMilliseconds: topic.segmentMilliseconds,
            indexIntervalBytes: topic.indexIntervalBytes,
            indexBytes: topic.indexBytes,
            retentionBytes: isKeptWhole ? -1 : topic.retentionBytes,
            retentionMilliseconds: isKeptWhole ? -1 : topic.retentionMilliseconds,
            producerMilliseconds: producerMilliseconds
        )
    }
}
