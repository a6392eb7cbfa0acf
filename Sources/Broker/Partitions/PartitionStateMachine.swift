import Bytes
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime

/// Applies a partition's committed entries to its log.
///
/// An entry's payload is a record batch, whose first byte is 0 because it begins with a base offset
/// below 2^56, or a ``PartitionCommand``, whose first byte is not; or it is empty.
final class PartitionStateMachine: StateMachine, @unchecked Sendable {
    // Unchecked: confined to the loop of its partition.
    let log: PartitionLog
    private(set) var lastApplied: LogIndex
    /// Told of every committed batch; how metadata and coordinators follow their logs.
    var onBatch: ((RecordBatch) -> Void)?
    /// Told of the whole log when another took its place: who follows it starts over with these.
    var onRestored: (([RecordBatch]) -> Void)?

    /// What was kept of the log for a snapshot did not fit: the next comes whole.
    var wantsWholeSnapshots = false
    private let clock: any Clock
    private let place: SnapshotPlace

    init(log: PartitionLog, place: SnapshotPlace) {
        self.log = log
        self.place = place
        clock = place.loop.clock
        lastApplied = .zero
    }

    /// The log is where the replica starts.
    func begin() { lastApplied = LogIndex(log.appliedRaftIndex) }

    func apply(_ entry: RaftEntry) -> ByteSlice {
        guard entry.index > lastApplied else { return ByteSlice() }
        lastApplied = entry.index
        let index = entry.index.rawValue
        let epoch = LeaderEpoch(Int32(truncatingIfNeeded: entry.term.rawValue))
        let payload = ByteSlice(entry.payload)
        guard entry.kind == .normal, !payload.isEmpty else {
            log.advance(raftIndex: index, term: epoch)
            return ByteSlice()
        }
        if payload[0] == 0 {
            let batch = RecordBatch(committed: payload)
            precondition(
                batch.baseOffset == log.logEndOffset,
                "batch at offset \(batch.baseOffset) committed after \(log.logEndOffset)"
            )
            log.append(batch: batch, raftIndex: index, term: epoch, now: clock.wallMilliseconds)
            onBatch?(batch)
            return ByteSlice()
        }
        switch PartitionCommand(decoding: payload) {
        case .deleteRecords(let before): log.deleteRecords(before: Offset(before))
        case nil: preconditionFailure("entry \(index) is neither a batch nor a known command")
        }
        log.advance(raftIndex: index, term: epoch)
        return ByteSlice()
    }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        preconditionFailure("a partition is sent as its segments")
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        preconditionFailure("a partition is restored from segments")
    }

    /// What the segments hold; the Raft log has what came after.
    func openSnapshot(lastIndex: LogIndex, lastTerm: Term) throws -> any SnapshotSource {
        PartitionSnapshotSource(log.snapshot, place)
    }

    func makeSnapshotSink(_ metadata: SnapshotMetadata) throws -> any SnapshotSink {
        PartitionSnapshotSink(self, metadata, place)
    }

    func restored(to replacement: LogReplacement, _ batches: [RecordBatch]) {
        wantsWholeSnapshots = false
        log.finishReplacing(with: replacement)
        begin()
        onRestored?(batches)
    }
}

/// What a partition's Raft log carries beside batches.
///
/// Layout: tag u8 (1: delete records), then an offset i64.
enum PartitionCommand: Equatable {
    case deleteRecords(before: Int64)

    func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 16)
        switch self {
        case .deleteRecords(let before):
            writer.write(UInt8(1))
            writer.write(before)
        }
        return writer.finishContiguous()
    }

    init?(decoding slice: ByteSlice) {
        var reader = ByteReader(slice)
        guard let tag = try? reader.read(UInt8.self), tag == 1, let before = try? reader.readInt64()
        else { return nil }
        self = .deleteRecords(before: before)
    }
}
