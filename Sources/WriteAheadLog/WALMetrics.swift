package import Platform

/// What the log counts, readable from any thread.
package final class WALMetrics: Sendable {
    package let fdatasyncs: Counter
    package let batches: Counter
    package let records: Counter
    /// Bytes written, padding included.
    package let bytes: Counter
    /// Records in the last group commit.
    package let lastGroupRecords: Gauge
    package let liveBytes: Gauge
    package let groupRecords: Histogram
    package let groupBytes: Histogram
    package let syncLatency: LatencyHistogram
    /// From the start of the write to the end of the fdatasync.
    package let commitLatency: LatencyHistogram

    /// Counts for nobody but its owner.
    package init() {
        fdatasyncs = Counter()
        batches = Counter()
        records = Counter()
        bytes = Counter()
        lastGroupRecords = Gauge()
        liveBytes = Gauge()
        groupRecords = Histogram(first: 1, bounds: 16)
        groupBytes = Histogram(first: 4096, bounds: 16)
        syncLatency = LatencyHistogram()
        commitLatency = LatencyHistogram()
    }

    package init(in registry: MetricsRegistry) {
        fdatasyncs = registry.counter("chronik_wal_fdatasyncs_total", "Group commits made durable.")
        batches = registry.counter("chronik_wal_batches_total", "Batches made durable.")
        records = registry.counter("chronik_wal_records_total", "Records made durable.")
        bytes = registry.counter("chronik_wal_written_bytes_total", "Bytes written.")
        lastGroupRecords = registry.gauge(
            "chronik_wal_last_group_records",
            "Records in the last group commit."
        )
        liveBytes = registry.gauge("chronik_wal_live_bytes", "Size of the files in the log.")
        groupRecords = registry.histogram(
            "chronik_wal_group_records",
            "Records of a group commit.",
            first: 1,
            bounds: 16
        )
        groupBytes = registry.histogram(
            "chronik_wal_group_bytes",
            "Bytes of a group commit, padding included.",
            first: 4096,
            bounds: 16
        )
        syncLatency = registry.histogram("chronik_wal_fdatasync_seconds", "Time of fdatasync.")
        commitLatency = registry.histogram(
            "chronik_wal_commit_seconds",
            "Time of a group commit, write and fdatasync."
        )
    }
}
