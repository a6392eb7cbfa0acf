import Bytes
import Platform
import Raft

/// The snapshot that one replica takes over.
///
/// The leader's message waits here until all of the content has arrived; only then does the core
/// hear of it. Until then the replica goes on with the log it has.
final class SnapshotReceiver: @unchecked Sendable {
    // Unchecked: confined to the loop of its replica.
    private struct Transfer {
        var message: Message
        let metadata: SnapshotMetadata
        let content: UInt64
        let sink: any SnapshotSink
        var isWriting = false
        var lastActivity: UInt64
    }

    /// Retries of the sender after which nobody is expected to go on.
    private static let patience: UInt64 = 30

    private var transfer: Transfer?
    /// Complete and handed to the core.
    private var arrived: (metadata: SnapshotMetadata, sink: any SnapshotSink)?
    private var hasPlace = false

    // MARK: Offers

    func offered(_ message: Message, _ snapshot: Snapshot, to replica: PartitionReplica) {
        let manager = replica.manager
        let metadata = snapshot.metadata
        guard let content = snapshot.contentID else {
            return refuse(metadata, 0, of: message.from, to: replica)
        }
        let now = manager.ticks
        // One is being taken over; it ends soon, and the leader asks again.
        guard arrived == nil else { return }
        if let current = transfer, !current.isWriting {
            if current.metadata == metadata && current.content == content {
                transfer?.message = message
                transfer?.lastActivity = now
                return answer(replica)
            }
            let isOver = now > current.lastActivity + Self.patienceTicks(manager)
            // Who offers another has given up the one before.
            guard
                metadata.index > current.metadata.index || message.term > current.message.term
                    || message.from == current.message.from || isOver
            else { return }
            current.sink.discard()
            transfer = nil
        }
        guard transfer == nil else { return }
        if !hasPlace { hasPlace = manager.snapshotLimits.takeReceiving() }
        guard hasPlace, let sink = try? replica.stateMachine.makeSnapshotSink(metadata) else {
            release(in: manager)
            return refuse(metadata, content, of: message.from, to: replica)
        }
        transfer = Transfer(
            message: message,
            metadata: metadata,
            content: content,
            sink: sink,
            lastActivity: now
        )
        manager.snapshotIsUnderWay(to: replica)
        answer(replica)
    }

    private static func patienceTicks(_ manager: RaftReplicaManager) -> UInt64 {
        patience * UInt64(manager.config.snapshotRetryTicks)
    }

    private func refuse(
        _ metadata: SnapshotMetadata,
        _ content: UInt64,
        of peer: ReplicaID,
        to replica: PartitionReplica
    ) {
        answer(replica, metadata, content, to: peer, 0, isRefused: true)
    }

    /// Says how much there is of what is under way.
    private func answer(_ replica: PartitionReplica) {
        guard let transfer else { return }
        answer(
            replica,
            transfer.metadata,
            transfer.content,
            to: transfer.message.from,
            transfer.sink.received
        )
    }

    private func answer(
        _ replica: PartitionReplica,
        _ metadata: SnapshotMetadata,
        _ content: UInt64,
        to peer: ReplicaID,
        _ received: UInt64,
        isRefused: Bool = false
    ) {
        let answer = SnapshotAnswer(
            group: replica.group,
            index: metadata.index,
            term: metadata.term,
            content: content,
            received: received,
            isRefused: isRefused
        )
        replica.manager.send(.snapshotAnswer(answer), to: peer)
    }

    // MARK: Content

    func received(_ chunk: SnapshotChunk, from peer: ReplicaID, for replica: PartitionReplica) {
        guard let current = transfer, current.message.from == peer,
            current.metadata.index == chunk.index, current.metadata.term == chunk.term,
            current.content == chunk.content
        else { return }
        transfer?.lastActivity = replica.manager.ticks
        // With a slow disk the sender is not to give up.
        guard !current.isWriting, chunk.offset == current.sink.received else {
            return answer(replica)
        }
        transfer?.isWriting = true
        let end = chunk.offset + UInt64(chunk.bytes.count)
        let isLast = chunk.isLast
        current.sink.write(chunk.bytes, isLast: isLast) { [self, weak replica] result in
            guard let replica else { return }
            precondition(replica.manager.loop.isCurrent, "a snapshot written outside the loop")
            transfer?.isWriting = false
            written(result, end: end, isLast: isLast, for: replica)
        }
    }

    private func written(
        _ result: Result<Void, any Error>,
        end: UInt64,
        isLast: Bool,
        for replica: PartitionReplica
    ) {
        guard let current = transfer else { return }
        // More than it was sent, if the sink had what follows already.
        guard case .success = result, current.sink.received >= end else {
            abandon(in: replica.manager)
            return refuse(current.metadata, current.content, of: current.message.from, to: replica)
        }
        answer(replica)
        guard isLast else { return }
        transfer = nil
        arrived = (current.metadata, current.sink)
        replica.manager.metrics.snapshotsReceived.increment()
        replica.snapshotArrived(current.message, current.metadata)
    }

    /// The content, for the core that wants it.
    func takeSink(_ metadata: SnapshotMetadata) -> (any SnapshotSink)? {
        guard let arrived, arrived.metadata == metadata else { return nil }
        return arrived.sink
    }

    // MARK: Ends

    /// The content was taken over, or could not be.
    func finished(in manager: RaftReplicaManager) {
        arrived = nil
        release(in: manager)
    }

    /// The core has no use for it: the log caught up, or the term is over.
    func discardArrived(in manager: RaftReplicaManager) {
        guard let arrived else { return }
        arrived.sink.discard()
        finished(in: manager)
    }

    func abandon(in manager: RaftReplicaManager) {
        transfer?.sink.discard()
        transfer = nil
        // One that is being installed gives its place back by itself.
        if arrived == nil { release(in: manager) }
    }

    private func release(in manager: RaftReplicaManager) {
        guard hasPlace else { return }
        hasPlace = false
        manager.snapshotLimits.giveReceiving()
    }

    /// Gives up a transfer nobody goes on with; false when there is none any more.
    func tick(_ manager: RaftReplicaManager) -> Bool {
        guard let current = transfer else { return false }
        if !current.isWriting
            && manager.ticks > current.lastActivity + Self.patienceTicks(manager)
        {
            abandon(in: manager)
        }
        return transfer != nil
    }
}
