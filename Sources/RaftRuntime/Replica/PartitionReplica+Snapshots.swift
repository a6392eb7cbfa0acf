import Platform
import Raft

/// How a snapshot that arrived becomes the state.
extension PartitionReplica {
    /// The content of a snapshot is complete: the core decides whether it is still wanted.
    func snapshotArrived(_ message: Message, _ metadata: SnapshotMetadata) {
        stepCore(message)
        // The log may have caught up meanwhile, or the term may be over.
        if node.firstIndex != metadata.index + 1 {
            CoverageMark.snapshotNotWanted.hit()
            receiving.discardArrived(in: manager)
        }
        manager.markDirty(self)
    }

    func install(_ ready: Ready) {
        guard let metadata = ready.snapshot?.metadata, let sink = receiving.takeSink(metadata)
        else {
            preconditionFailure("group \(group) was handed a snapshot that did not arrive")
        }
        installing = (ready, [])
        take(sink, metadata)
    }

    /// Has the content take the state's place.
    ///
    /// The core counts on that already: where the disk has no room for it, it waits until there is.
    private func take(
        _ sink: any SnapshotSink,
        _ metadata: SnapshotMetadata,
        retryAfter delay: Int64 = .milliseconds(100)
    ) {
        let content = LoopConfined(sink)
        sink.install { [self] result in
            precondition(manager.loop.isCurrent, "a snapshot installed outside the loop")
            guard !isStopped && !hasFailed else { return receiving.finished(in: manager) }
            switch result {
            case .success:
                receiving.finished(in: manager)
                installed(metadata)
            case .failure(let error as FileError) where error.reason == .noSpace:
                CoverageMark.snapshotWaitsForRoom.hit()
                roomTimer = manager.loop.schedule(after: delay) { [self] in
                    roomTimer = nil
                    take(content.value, metadata, retryAfter: min(2 * delay, .seconds(2)))
                }
            case .failure(let error):
                receiving.finished(in: manager)
                fail(.snapshotFailed("\(error)"), because: error)
            }
        }
    }

    /// Nobody needs the snapshot any more that finds no room.
    func endWaitForRoom() {
        guard let timer = roomTimer else { return }
        timer.cancel()
        roomTimer = nil
        receiving.finished(in: manager)
    }

    private func installed(_ metadata: SnapshotMetadata) {
        guard let (ready, held) = installing else { return }
        CoverageMark.snapshotInstalled.hit()
        installing = nil
        precondition(
            stateMachine.lastApplied == metadata.index,
            "group \(group) restored to \(stateMachine.lastApplied), not \(metadata.index)"
        )
        storage.reset(to: metadata)
        storage.append(ready.entries)
        if let hardState = ready.hardState { storage.setHardState(hardState) }
        expect(ready)
        for later in held { stage(later) }
        memberships = [(metadata.index, metadata.membership)]
        followMembership()
        manager.markDirty(self)
        onMembershipChanged?(metadata.membership)
        onApplied?()
    }
}
