import ClusterMetadata
import KafkaProtocol
import LogStorage
import Platform

/// The metadata's log is cut: a snapshot of all that it says is appended to it, and once that is
/// committed the log begins there.
///
/// | a leader ends | then |
/// |---|---|
/// | before the snapshot is committed | it is lost, or counts for nothing but its size |
/// | before the start of the log is moved | the next snapshot moves it |
///
/// A replica that starts, or that is sent the log, has the image from the snapshot and the records
/// behind it; one that follows has it already and passes the snapshot over.
extension MetadataService {
    /// Records that a snapshot saves, for each thing it holds.
    private static let worth: Int64 = 4

    var isSnapshotDue: Bool {
        guard pipeline.isLeading, let partition, let nextSnapshot else { return false }
        let log = partition.log
        let size = Int64(pipeline.committed.partitionCount + pipeline.committed.brokers.count)
        return log.logEndOffset.rawValue >= nextSnapshot
            && log.logEndOffset.rawValue - log.logStartOffset.rawValue
                >= max(snapshotRecords, Self.worth * size)
    }

    func writeSnapshot() async {
        guard isSnapshotDue, let partition else { return }
        nextSnapshot = nil
        let began = loop.clock.monotonicNanoseconds
        var start: Int64 = -1
        let attempt = await decide(
            { controller in
                let position = MetadataSnapshot.Position(
                    index: UInt64(partition.log.logEndOffset.rawValue),
                    term: UInt64(max(0, partition.leaderEpoch ?? 0))
                )
                return Decision(
                    records: MetadataRecord.snapshot(of: controller.decided, at: position),
                    answer: .outcomes([])
                )
            },
            onCommitted: { start = $0 }
        )
        if case .answered = attempt, start > 0 {
            _ = await partition.deleteRecords(before: start)
            Logger("metadata").info(
                "the log begins with a snapshot of what was before",
                [
                    "offset": "\(start)",
                    "milliseconds":
                        "\((loop.clock.monotonicNanoseconds - began) / 1_000_000)",
                ]
            )
        }
        nextSnapshot = partition.log.logEndOffset.rawValue + snapshotRecords
    }
}
