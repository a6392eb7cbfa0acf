import Platform
import Synchronization

@testable import Admin

/// A node that answers what a test tells it to.
final class ScriptedView: AdminView, Sendable {
    private struct State {
        var ready = Readiness.ready
        var health = ClusterHealth()
        var transfer = LeadershipTransfer.transferred
        var asked: String?
        var stalls = false
        var stalled: [UnsafeContinuation<Void, Never>] = []
    }

    let metrics = MetricsRegistry()
    private let state = Mutex(State())

    var ready: Readiness {
        get { state.withLock { $0.ready } }
        set { state.withLock { $0.ready = newValue } }
    }
    var health: ClusterHealth {
        get { state.withLock { $0.health } }
        set { state.withLock { $0.health = newValue } }
    }
    var transfer: LeadershipTransfer {
        get { state.withLock { $0.transfer } }
        set { state.withLock { $0.transfer = newValue } }
    }
    /// The last transfer that was asked for.
    var asked: String? { state.withLock { $0.asked } }

    /// From now on `members` does not answer until ``release()``.
    func stall() { state.withLock { $0.stalls = true } }

    func release() {
        let waiting = state.withLock { state in
            state.stalls = false
            defer { state.stalled = [] }
            return state.stalled
        }
        for continuation in waiting { continuation.resume() }
    }

    func sampleMetrics() async {}

    func readiness() async -> Readiness { ready }

    func members() async -> ClusterMembers {
        await withUnsafeContinuation { continuation in
            let waits = state.withLock { state in
                if state.stalls { state.stalled.append(continuation) }
                return state.stalls
            }
            if !waits { continuation.resume() }
        }
        return ClusterMembers(
            clusterID: "c\"1",
            nodeID: 1,
            metadataLeader: 2,
            members: [
                .init(id: 1, kafkaAddress: "a:1", raftAddress: "a:2", rack: "r", isAlive: true),
                .init(id: 2, kafkaAddress: "b:1", isAlive: false),
            ]
        )
    }

    func partitions() async -> [PartitionStatus] {
        [
            PartitionStatus(
                topic: "t",
                partition: 0,
                leader: nil,
                leaderEpoch: -1,
                replicas: [1, 2],
                inSyncReplicas: [],
                highWatermark: 7
            )
        ]
    }

    func health() async -> ClusterHealth { health }

    func transferLeadership(
        topic: String,
        partition: Int32,
        to node: Int32
    ) async -> LeadershipTransfer {
        state.withLock { state in
            state.asked = "\(topic) \(partition) \(node)"
            return state.transfer
        }
    }
}
