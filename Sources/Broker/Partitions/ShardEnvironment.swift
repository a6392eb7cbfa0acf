import ClusterMetadata
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import Synchronization
import WriteAheadLog

/// What the shards of a node share.
struct ShardEnvironment: Sendable {
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
    let raftMetrics: RaftRuntimeMetrics
    /// To the other nodes; `nil` where there are none.
    let transport: (any RaftTransport)?
    let budget: MemoryBudget
    let cacheBytesPerLoop: Int
    let leaders: LeaderTable
    /// Sweeps, of a tenth of a second, between two looks at retention.
    let retentionSweeps: Int
    /// How long an idle idempotent producer is remembered.
    let producerMilliseconds: Int64
    let log: Logger
    let makeGenerator: @Sendable () -> SeededGenerator

    func directory(of id: TopicPartition) -> PartitionDirectory {
        PartitionDirectory(
            path: "\(dataDirectory)/topics/\(id.topic)-\(id.partition)",
            files: files
        )
    }
}

/// The leader epoch of each partition this node leads, for all loops to read.
final class LeaderTable: Sendable {
    private struct Waiter {
        let id: TopicPartition
        let signal: FetchSignal
    }
    /// A partition that this node has begun to lead.
    struct Leading: Sendable {
        let groupID: UInt64
        let epoch: Int32
        let voters: [Int32]
    }
    private struct State {
        var epochs: [TopicPartition: Int32] = [:]
        var leading: [TopicPartition: Leading] = [:]
        var observer: Observer?
        /// Those that cannot come up.
        var abandoned: Set<TopicPartition> = []
        var waiters: [Waiter] = []
    }
    private let state = Mutex(State())

    /// Who is told of every partition that this node begins to lead.
    final class Observer: Sendable {
        let leads: @Sendable (Leading) -> Void
        init(_ leads: @escaping @Sendable (Leading) -> Void) { self.leads = leads }
    }

    /// Tells `observer` of what is led already, and from now on of what comes.
    func observe(_ observer: Observer) {
        let led = state.withLock { state in
            state.observer = observer
            return state.leading.values.sorted { $0.groupID < $1.groupID }
        }
        for leading in led { observer.leads(leading) }
    }

    func set(_ id: TopicPartition, _ leading: Leading?) {
        let observer = state.withLock { state in
            state.epochs[id] = leading?.epoch
            state.leading[id] = leading
            if leading != nil { state.abandoned.remove(id) }
            return state.observer
        }
        guard let leading else { return }
        observer?.leads(leading)
        wakeWaiters(for: id)
    }

    /// Nobody waits any longer for a partition that cannot come up.
    func abandon(_ id: TopicPartition) {
        state.withLock { _ = $0.abandoned.insert(id) }
        wakeWaiters(for: id)
    }

    /// The partition is gone.
    func remove(_ id: TopicPartition) {
        state.withLock { state in
            state.epochs[id] = nil
            state.leading[id] = nil
            state.abandoned.remove(id)
        }
        wakeWaiters(for: id)
    }

    private func wakeWaiters(for id: TopicPartition) {
        let waiters = state.withLock { state in
            let woken = state.waiters.filter { $0.id == id }
            state.waiters.removeAll { $0.id == id }
            return woken
        }
        for waiter in waiters { waiter.signal.fire() }
    }

    /// How many partitions lead.
    var count: Int { state.withLock { $0.epochs.count } }

    func epoch(of id: TopicPartition) -> Int32? { state.withLock { $0.epochs[id] } }

    /// Returns once each of the partitions leads, was abandoned or removed.
    func waitForLeaders(of ids: [TopicPartition]) async {
        for id in ids {
            let signal = FetchSignal()
            let isSettled = state.withLock { state in
                if state.epochs[id] != nil || state.abandoned.contains(id) { return true }
                state.waiters.append(Waiter(id: id, signal: signal))
                return false
            }
            if !isSettled { await signal.wait() }
        }
    }
}

/// What the WAL remembered of a group, on its way to the loop that will own it.
typealias RecoveredGroup = WALRaftStorage

extension LogConfiguration {
    init(_ topic: EffectiveTopicConfiguration, producerMilliseconds: Int64) {
        self.init(
            segmentBytes: topic.segmentBytes,
            segmentMilliseconds: topic.segmentMilliseconds,
            indexIntervalBytes: topic.indexIntervalBytes,
            indexBytes: topic.indexBytes,
            retentionBytes: topic.retentionBytes,
            retentionMilliseconds: topic.retentionMilliseconds,
            producerMilliseconds: producerMilliseconds
        )
    }
}
