import Bytes
import Platform
import Raft

/// The snapshots that one loop brings to followers.
///
/// | step | the leader | the follower |
/// |---|---|---|
/// | offer | sends the core's message, its metadata made that of the content | answers how much it has |
/// | content | sends the piece that begins there | answers how much it has now |
/// | end | reports the snapshot to the core | takes the offered message |
///
/// The follower's answers alone say what comes next, so a break in between costs one piece, and what
/// it has in another way is passed over. What it has of a content goes with no other content. What is not answered is sent again; an answer that asks for
/// the same again says that it is at work. A follower that has no room or cannot take it refuses.
final class SnapshotSenders: @unchecked Sendable {
    // Unchecked: confined to the manager's loop.
    private final class Transfer: @unchecked Sendable {
        // Unchecked: confined to the loop of its replica.
        let replica: PartitionReplica
        /// As the core made it; what is sent names the content instead.
        let message: Message
        /// `nil` while the transfer waits its turn: content that is open keeps files from going.
        var content: (metadata: SnapshotMetadata, source: any SnapshotSource)?
        /// A piece is being read, or waits for its time.
        var isBusy = false
        /// What the follower said it has; `nil` before its first answer.
        var received: UInt64?
        var hasSentLast = false
        var lastActivity: UInt64
        var tries = 0
        var isEnded = false

        init(_ replica: PartitionReplica, _ message: Message, now: UInt64) {
            self.replica = replica
            self.message = message
            lastActivity = now
        }

        var isStarted: Bool { content != nil }

        var peer: ReplicaID { message.to }
        var manager: RaftReplicaManager { replica.manager }
    }

    private static let maxTries = 20

    private var transfers: [Transfer] = []

    var isEmpty: Bool { transfers.isEmpty }

    // MARK: Offering

    /// Takes the message by which the core wants a follower to get a snapshot.
    func offer(_ message: Message, from replica: PartitionReplica) {
        if let old = transfers.first(where: { $0.replica === replica && $0.peer == message.to }) {
            end(old)
        }
        let manager = replica.manager
        transfers.append(Transfer(replica, message, now: manager.ticks))
        manager.snapshotIsUnderWay()
        startNext(manager)
    }

    private func startNext(_ manager: RaftReplicaManager) {
        for transfer in transfers where !transfer.isStarted && !transfer.isEnded {
            guard manager.snapshotLimits.takeSending() else { return }
            guard let content = Self.open(transfer.replica) else {
                manager.snapshotLimits.giveSending()
                fail(transfer)
                continue
            }
            transfer.content = content
            transfer.lastActivity = manager.ticks
            sendOffer(of: transfer)
        }
    }

    /// What the state machine has now, which a log that was shortened meanwhile goes on from.
    private static func open(
        _ replica: PartitionReplica
    ) -> (metadata: SnapshotMetadata, source: any SnapshotSource)? {
        let applied = replica.node.applied
        let opened = try? replica.stateMachine.openSnapshot(
            lastIndex: applied,
            lastTerm: replica.storage.term(at: applied)
        )
        guard let source = opened else { return nil }
        let base = replica.storage.base.index
        precondition(
            source.index >= base && source.index <= applied,
            "group \(replica.group): a snapshot at \(source.index), outside \(base)...\(applied)"
        )
        let metadata = SnapshotMetadata(
            index: source.index,
            term: source.term,
            membership: replica.membership(at: source.index)
        )
        return (metadata, source)
    }

    private func sendOffer(of transfer: Transfer) {
        guard let content = transfer.content else { return }
        var offer = transfer.message
        let contentID = content.source.contentID
        offer.body = .snapshot(Snapshot(metadata: content.metadata, contentID: contentID))
        transfer.manager.post(offer, of: transfer.replica.group)
    }

    private func end(_ transfer: Transfer) {
        guard !transfer.isEnded else { return }
        transfer.isEnded = true
        transfers.removeAll { $0 === transfer }
        if transfer.isStarted {
            transfer.content = nil
            transfer.manager.snapshotLimits.giveSending()
        }
        startNext(transfer.manager)
    }

    func drop(group: UInt64) {
        for transfer in transfers where transfer.replica.group == group { end(transfer) }
    }

    // MARK: Content

    func received(_ answer: SnapshotAnswer, from peer: ReplicaID) {
        guard
            let transfer = transfers.first(where: {
                $0.peer == peer && $0.replica.group == answer.group
                    && $0.content?.metadata.index == answer.index
                    && $0.content?.metadata.term == answer.term
                    && $0.content?.source.contentID == answer.content
            }), let byteCount = transfer.content?.source.byteCount
        else { return }
        let manager = transfer.manager
        transfer.lastActivity = manager.ticks
        transfer.tries = 0
        if answer.isRefused || answer.received > byteCount {
            fail(transfer)
            return
        }
        transfer.replica.snapshotAdvances(peer)
        let isNews = transfer.received != answer.received
        transfer.received = answer.received
        if transfer.hasSentLast && answer.received == byteCount {
            end(transfer)
            manager.metrics.snapshotsSent.increment()
            transfer.replica.snapshotEnded(peer, success: true)
        } else if isNews {
            sendPiece(of: transfer, at: answer.received)
        }
    }

    private func fail(_ transfer: Transfer) {
        CoverageMark.snapshotNotTaken.hit()
        end(transfer)
        transfer.replica.snapshotEnded(transfer.peer, success: false)
    }

    private func sendPiece(of transfer: Transfer, at offset: UInt64) {
        guard let content = transfer.content, !transfer.isBusy else { return }
        transfer.isBusy = true
        let manager = transfer.manager
        let left = Int(content.source.byteCount - offset)
        let count = min(left, manager.config.snapshotChunkBytes)
        let now = manager.loop.clock.monotonicNanoseconds
        let delay = manager.snapshotLimits.delay(count, now: now)
        guard delay > 0 else {
            read(transfer, at: offset, count: count)
            return
        }
        _ = manager.loop.schedule(after: delay) { [weak self] in
            guard let self, !transfer.isEnded else { return }
            read(transfer, at: offset, count: count)
        }
    }

    private func read(_ transfer: Transfer, at offset: UInt64, count: Int) {
        guard let (metadata, source) = transfer.content else { return }
        let (byteCount, contentID) = (source.byteCount, source.contentID)
        source.read(at: offset, count: count) { [weak self] result in
            guard let self, !transfer.isEnded else { return }
            transfer.isBusy = false
            guard case .success(let bytes) = result, bytes.count == count else {
                fail(transfer)
                return
            }
            let manager = transfer.manager
            transfer.lastActivity = manager.ticks
            let isLast = offset + UInt64(count) == byteCount
            if isLast { transfer.hasSentLast = true }
            let chunk = SnapshotChunk(
                group: transfer.replica.group,
                index: metadata.index,
                term: metadata.term,
                content: contentID,
                offset: offset,
                bytes: bytes,
                isLast: isLast
            )
            manager.send(.snapshotChunk(chunk), to: transfer.peer)
        }
    }

    // MARK: Time

    func tick(_ manager: RaftReplicaManager) {
        let now = manager.ticks
        for transfer in transfers where !transfer.isEnded {
            guard transfer.replica.wantsSnapshot(transfer.peer, in: transfer.message.term) else {
                end(transfer)
                continue
            }
            guard transfer.isStarted, !transfer.isBusy else {
                // It waits its turn, and is not lost.
                transfer.replica.snapshotAdvances(transfer.peer)
                continue
            }
            let patience = UInt64(manager.config.snapshotRetryTicks)
            guard now >= transfer.lastActivity + patience else { continue }
            transfer.lastActivity = now
            transfer.tries += 1
            if transfer.tries > Self.maxTries {
                fail(transfer)
            } else if let received = transfer.received {
                sendPiece(of: transfer, at: received)
            } else {
                sendOffer(of: transfer)
            }
        }
        // Another loop may have given back the place that these wait for.
        startNext(manager)
    }
}

extension PartitionReplica {
    /// Whether the core still waits for a follower to get a snapshot.
    fileprivate func wantsSnapshot(_ peer: ReplicaID, in term: Term) -> Bool {
        guard node.role == .leader, node.term == term, !isStopped, !hasFailed else { return false }
        return node.status.peers.first { $0.id == peer }?.isSentSnapshot ?? false
    }

    fileprivate func snapshotAdvances(_ peer: ReplicaID) { node.reportSnapshotProgress(peer) }

    fileprivate func snapshotEnded(_ peer: ReplicaID, success: Bool) {
        if success { CoverageMark.snapshotSent.hit() }
        guard !isStopped && !hasFailed else { return }
        node.reportSnapshot(peer, success: success)
        manager.markDirty(self)
    }
}
