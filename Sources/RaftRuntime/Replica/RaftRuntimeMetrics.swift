package import Platform

/// What the groups of a node count, readable from any thread.
package final class RaftRuntimeMetrics: Sendable {
    /// Messages a replica could make no sense of.
    package let refusedMessages: Counter
    /// Messages for groups this node does not have.
    package let strayMessages: Counter
    /// Times a replica of this node became leader.
    package let elections: Counter
    package let snapshotsSent: Counter
    package let snapshotsReceived: Counter

    /// Counts for nobody but its owner.
    package init() {
        refusedMessages = Counter()
        strayMessages = Counter()
        elections = Counter()
        snapshotsSent = Counter()
        snapshotsReceived = Counter()
    }

    package init(in registry: MetricsRegistry, nodeID: Int32) {
        refusedMessages = registry.counter(
            "chronik_raft_refused_messages_total",
            "Messages a replica could make no sense of."
        )
        strayMessages = registry.counter(
            "chronik_raft_stray_messages_total",
            "Messages for groups this node does not have."
        )
        elections = registry.counter(
            "raft_leader_elections_total",
            "Times a replica of this node became leader.",
            labels: ["node_id": "\(nodeID)"]
        )
        snapshotsSent = registry.counter(
            "raft_snapshot_transfers_total",
            "Snapshots of this node that arrived at a follower.",
            labels: ["node_id": "\(nodeID)"]
        )
        snapshotsReceived = registry.counter(
            "chronik_raft_snapshots_received_total",
            "Snapshots that arrived here."
        )
    }
}
