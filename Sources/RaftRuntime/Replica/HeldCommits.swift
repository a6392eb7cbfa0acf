import Raft

/// News of what is committed, which can wait a little for the next entries to carry it.
///
/// Under load there are always next entries, and half of all messages are saved. A message may be
/// late or lost at any time, so neither waiting nor being overtaken needs the core's leave.
struct HeldCommits {
    /// One a peer at most.
    private var messages: [Message] = []

    var isEmpty: Bool { messages.isEmpty }

    mutating func hold(_ message: Message) {
        drop(for: message.to)
        messages.append(message)
    }

    /// A later append says the same and more.
    mutating func drop(for peer: ReplicaID) {
        if let place = messages.firstIndex(where: { $0.to == peer }) { messages.remove(at: place) }
    }

    mutating func takeAll() -> [Message] {
        defer { messages = [] }
        return messages
    }
}

extension PartitionReplica {
    /// Posts an append, at once or a little later.
    func sendAppend(_ message: Message, isEmpty: Bool) {
        guard isEmpty && !tellsCommitsAtOnce && manager.config.commitDelayMilliseconds > 0 else {
            if !heldCommits.isEmpty { heldCommits.drop(for: message.to) }
            manager.post(message, of: group)
            return
        }
        if heldCommits.isEmpty { manager.holdsCommits(self) }
        heldCommits.hold(message)
    }

    /// Posts what was held; nobody's entries came along.
    func tellCommits() {
        let messages = heldCommits.takeAll()
        guard !isStopped && !hasFailed else { return }
        for message in messages { manager.post(message, of: group) }
    }
}
