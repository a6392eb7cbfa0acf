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

    func offered(_ message: Message, _ metadata: SnapshotMetadata, to replica: PartitionReplica) {
        let manager = replica.manager
        let now = manager.ticks
        // One is being taken over; it ends soon, and the leader asks again.
        guard arrived == nil else { return }
        if let current = transfer, !current.isWriting {
            if current.metadata == metadata {
                transfer?.message = message
                transfer?.lastActivity = now
                answer(replica, metadata, to: message.from, received: current.sink.received)
                return
            }
            let isOver = now > current.lastActivity + Self.patienceTicks(manager)
            guard
                metadata.index > current.metadata.index || message.term > current.message.term
                    || isOver
            else { return }
            current.sink.discard()
            transfer = nil
        }
        guard transfer == nil else { return }
        if !hasPlace { hasPlace = manager.snapshotLimits.takeReceiving() }
        guard hasPlace, let sink = try? replica.stateMachine.makeSnapshotSink(metadata) else {
            release(in: manager)
            answer(replica, metadata, to: message.from, received: 0, isRefused: true)
            return
        }
        transfer = Transfer(message: message, metadata: metadata, sink: sink, lastActivity: now)
        manager.snapshotIsUnderWay(to: replica)
        answer(replica, metadata, to: message.from, received: sink.received)
    }

    private static func patienceTicks(_ manager: RaftReplicaManager) -> UInt64 {
        patience * UInt64(manager.config.snapshotRetryTicks)
    }

    private func answer(
        _ replica: PartitionReplica,
        _ metadata: SnapshotMetadata,
        to peer: ReplicaID,
        received: UInt64,
        isRefused: Bool = false
    ) {
        let answer = SnapshotAnswer(
            group: replica.group,
            index: metadata.index,
            term: metadata.term,
            received: received,
            isRefused: isRefused
        )
        replica.manager.send(.snapshotAnswer(answer), to: peer)
    }

    // MARK: Content

    func received(_ chunk: SnapshotChunk, from peer: ReplicaID, for replica: PartitionReplica) {
        guard let current = transfer, current.message.from == peer,
            current.metadata.index == chunk.index, current.metadata.term == chunk.term
        else { return }
        transfer?.lastActivity = replica.manager.ticks
        guard !current.isWriting else {
            // A slow disk: the sender is not to give up.
            answer(replica, current.metadata, to: peer, received: current.sink.received)
            return
        }
        guard chunk.offset == current.sink.received else {
            answer(replica, current.metadata, to: peer, received: current.sink.received)
            return
        }
        transfer?.isWriting = true
        let end = chunk.offset + UInt64(chunk.bytes.count)
        let isLast = chunk.isLast
        current.sink.write(chunk.bytes) { [self, weak replica] result in
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
        let peer = current.message.from
        // More than it was sent, if the sink had what follows already.
        guard case .success = result, current.sink.received >= end else {
            abandon(in: replica.manager)
            answer(replica, current.metadata, to: peer, received: 0, isRefused: true)
            return
        }
        answer(replica, current.metadata, to: peer, received: current.sink.received)
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
