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
        sink.install { [self] result in
            precondition(manager.loop.isCurrent, "a snapshot installed outside the loop")
            receiving.finished(in: manager)
            guard !isStopped && !hasFailed else { return }
            switch result {
            case .success: installed(metadata)
            case .failure(let error): fail(.snapshotFailed("\(error)"), because: error)
            }
        }
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
