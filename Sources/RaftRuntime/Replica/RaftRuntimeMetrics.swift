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

    package init(in registry: MetricsRegistry) {
        refusedMessages = registry.counter(
            "chronik_raft_refused_messages_total",
            "Messages a replica could make no sense of."
        )
        strayMessages = registry.counter(
            "chronik_raft_stray_messages_total",
            "Messages for groups this node does not have."
        )
        elections = registry.counter(
            "chronik_raft_elections_won_total",
            "Times a replica of this node became leader."
        )
        snapshotsSent = registry.counter(
            "chronik_raft_snapshots_sent_total",
            "Snapshots that arrived at a follower."
        )
        snapshotsReceived = registry.counter(
            "chronik_raft_snapshots_received_total",
            "Snapshots that arrived here."
        )
    }
}
