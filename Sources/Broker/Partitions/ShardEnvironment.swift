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
    let replicaID: ReplicaID
    let budget: MemoryBudget
    let cacheBytesPerLoop: Int
    let leaders: LeaderTable
    /// Sweeps, of a tenth of a second, between two looks at retention.
    let retentionSweeps: Int
    let log: Logger
    let makeGenerator: @Sendable () -> SeededGenerator

    func directory(of id: TopicPartition) -> String {
        "\(dataDirectory)/topics/\(id.topic)-\(id.partition)"
    }
}

/// The leader epoch of each partition this node leads, for all loops to read.
final class LeaderTable: Sendable {
    private struct Waiter {
        let id: TopicPartition
        let signal: FetchSignal
    }
    private struct State {
        var epochs: [TopicPartition: Int32] = [:]
        var waiters: [Waiter] = []
    }
    private let state = Mutex(State())

    func set(_ id: TopicPartition, epoch: Int32?) {
        let waiters = state.withLock { state in
            state.epochs[id] = epoch
            guard epoch != nil else { return [Waiter]() }
            let woken = state.waiters.filter { $0.id == id }
            state.waiters.removeAll { $0.id == id }
            return woken
        }
        for waiter in waiters { waiter.signal.fire() }
    }

    func epoch(of id: TopicPartition) -> Int32? { state.withLock { $0.epochs[id] } }

    /// Returns once each of the partitions has a leader.
    func waitForLeaders(of ids: [TopicPartition]) async {
        for id in ids {
            let signal = FetchSignal()
            let isLed = state.withLock { state in
                if state.epochs[id] != nil { return true }
                state.waiters.append(Waiter(id: id, signal: signal))
                return false
            }
            if !isLed { await signal.wait() }
        }
    }
}

/// What the WAL remembered of a group, on its way to the loop that will own it.
typealias RecoveredGroup = WALRaftStorage

extension LogConfiguration {
    init(_ topic: EffectiveTopicConfiguration) {
        self.init(
            segmentBytes: topic.segmentBytes,
            segmentMilliseconds: topic.segmentMilliseconds,
            indexIntervalBytes: topic.indexIntervalBytes,
            retentionBytes: topic.retentionBytes,
            retentionMilliseconds: topic.retentionMilliseconds
        )
    }
}
