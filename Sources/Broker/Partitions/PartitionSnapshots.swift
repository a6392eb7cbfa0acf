import Bytes
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime

/// What it takes to send and receive a partition's log as a snapshot.
struct SnapshotPlace: Sendable {
    let loop: EventLoop
    /// Segments that are sent are read here.
    let reader: Worker
    /// Everything that changes the partition's directory happens here, in its order.
    let writer: Worker
    let directory: ClaimedDirectory
}

/// A partition's segments on their way to a follower.
final class PartitionSnapshotSource: SnapshotSource {
    let index: LogIndex
    let term: Term
    private let snapshot: LogSnapshot
    private let place: SnapshotPlace

    init(_ snapshot: LogSnapshot, _ place: SnapshotPlace) {
        self.snapshot = snapshot
        self.place = place
        index = LogIndex(snapshot.raftIndex)
        term = Term(UInt64(snapshot.raftTerm))
    }

    deinit {
        place.writer.execute { [snapshot] in
            // What could not be removed goes when the partition is opened.
            try? snapshot.release()
        }
    }

    var byteCount: UInt64 { snapshot.byteCount }
    var contentID: UInt64 { snapshot.contentID }

    func read(
        at offset: UInt64,
        count: Int,
        _ completion: @escaping @Sendable (Result<ByteSlice, any Error>) -> Void
    ) {
        place.reader.execute { [snapshot, loop = place.loop] in
            let result = Result { try snapshot.read(at: offset, count: count) }
            loop.execute { completion(result) }
        }
    }
}

/// A log that arrives to take the place of the partition's own.
final class PartitionSnapshotSink: SnapshotSink, @unchecked Sendable {
    // Unchecked: confined to the partition's loop; the intake to the writer.
    private let stateMachine: PartitionStateMachine
    private let intake: LogSnapshotIntake
    private let place: SnapshotPlace
    private(set) var received: UInt64 = 0

    init(
        _ stateMachine: PartitionStateMachine,
        _ metadata: SnapshotMetadata,
        _ place: SnapshotPlace
    ) {
        self.stateMachine = stateMachine
        self.place = place
        intake = LogSnapshotIntake(
            directory: place.directory,
            raftIndex: metadata.index.rawValue,
            membership: MembershipCoding.encoded(metadata.membership),
            configuration: stateMachine.log.configuration,
            own: stateMachine.wantsWholeSnapshots ? .none : stateMachine.log.prefix
        )
    }

    func write(
        _ bytes: ByteSlice,
        isLast: Bool,
        _ completion: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        place.writer.execute { [self] in
            let result = Result { () throws -> UInt64 in
                try intake.write(bytes)
                if isLast { try intake.checkWhole() }
                return intake.next
            }
            place.loop.execute { [self] in
                switch result {
                case .success(let next): received = next
                case .failure(let error):
                    // It may be that what was kept does not fit.
                    if error is LogDamage { stateMachine.wantsWholeSnapshots = true }
                }
                completion(result.map { _ in })
            }
        }
    }

    func install(_ completion: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        // A flush under way ends before; none begins until the log is the new one.
        stateMachine.log.beginReplacing()
        let isFollowed = stateMachine.onRestored != nil
        place.writer.execute { [self] in
            let result = Result {
                let replacement = try intake.install()
                var batches: [RecordBatch] = []
                if isFollowed { try replacement.replay.forEachBatch { batches.append($0) } }
                return (replacement, batches)
            }
            place.loop.execute { [self] in
                switch result {
                case .success(let (replacement, batches)):
                    stateMachine.restored(to: replacement, batches)
                    completion(.success(()))
                case .failure(let error):
                    stateMachine.log.finishReplacing(with: nil)
                    completion(.failure(error))
                }
            }
        }
    }

    func discard() {
        place.writer.execute { [intake] in
            // It goes when the partition is opened, or when another snapshot arrives.
            try? intake.discard()
        }
    }
}

/// The members of a group as a checkpoint keeps them.
///
/// Layout: voters, outgoing voters, learners, learners next, each a u16 count and u64 ids; then u8:
/// leaves the joint configuration by itself.
enum MembershipCoding {
    static func encoded(_ membership: Membership) -> ByteSlice {
        var writer = ByteWriter(capacity: 64)
        for ids in [
            membership.voters, membership.outgoingVoters, membership.learners,
            membership.learnersNext,
        ] {
            writer.write(UInt16(ids.count))
            for id in ids { writer.write(id.rawValue) }
        }
        writer.write(UInt8(membership.autoLeave ? 1 : 0))
        return writer.finishContiguous()
    }

    static func decoded(_ bytes: ByteSlice) throws(MalformedBytes) -> Membership {
        var reader = ByteReader(bytes)
        var lists: [[ReplicaID]] = []
        for _ in 0..<4 {
            let count: UInt16 = try reader.read()
            var ids: [ReplicaID] = []
            for _ in 0..<count { ids.append(ReplicaID(try reader.read(UInt64.self))) }
            lists.append(ids)
        }
        let autoLeave: UInt8 = try reader.read()
        return Membership(
            voters: lists[0],
            outgoingVoters: lists[1],
            learners: lists[2],
            learnersNext: lists[3],
            autoLeave: autoLeave == 1
        )
    }
}
