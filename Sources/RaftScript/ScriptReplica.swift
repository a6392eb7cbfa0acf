internal import Raft

/// What travels in a scripted network: a message between replicas, or word from a replica's own
/// threads, which only exist when storage writes are asynchronous.
struct ScriptMessage {
    enum Content {
        case message(Message)
        /// A replica's acknowledgement to itself, as it would come from a peer.
        case ownVote(ready: UInt64, isPreVote: Bool)
        case ownAppend(ready: UInt64, through: LogIndex)
        /// The writes of a Ready are durable; the log ended so when it was taken.
        case written(ready: UInt64, lastIndex: LogIndex, lastTerm: Term)
        case applied([RaftEntry])
    }

    var to: ReplicaID
    var term: Term
    var content: Content

    /// Local messages are never lost.
    var isLocal: Bool {
        if case .message = content { return false }
        return true
    }
}

/// One replica of a script: the node, its disk, its state machine, and the work of its threads.
struct ScriptReplica {
    struct AppendWork {
        var ready: Ready
        var responses: [ScriptMessage]
    }

    var node: RaftNode
    let log: ScriptLog
    let isAsynchronous: Bool
    var appendWork: [AppendWork] = []
    var applyWork: [[RaftEntry]] = []

    /// The last entry that a `written` message has covered.
    var writtenIndex: LogIndex

    /// The membership the state machine has seen, as its snapshots carry it.
    private var applied = SnapshotMetadata(index: .zero, term: .zero, membership: Membership())

    init(node: RaftNode, log: ScriptLog, isAsynchronous: Bool) {
        self.node = node
        self.log = log
        self.isAsynchronous = isAsynchronous
        writtenIndex = log.lastIndex
    }

    var id: ReplicaID { node.id }

    /// Takes a Ready, and unless threads do that work writes and applies it at once.
    mutating func processReady() -> [ScriptMessage] {
        let ready = node.ready()
        if isAsynchronous { return handOut(ready) }
        write(ready)
        let messages = (ready.messages + ready.persistedMessages).map(wrap)
        // Changes of membership take effect while entries are applied, before the node hears that
        // its own entries are durable.
        apply(ready.committedEntries)
        if let last = ready.committedEntries.last { node.onApplied(last.index) }
        node.onPersisted(ready.number)
        return messages
    }

    private func wrap(_ message: Message) -> ScriptMessage {
        ScriptMessage(to: message.to, term: message.term, content: .message(message))
    }

    private mutating func handOut(_ ready: Ready) -> [ScriptMessage] {
        var responses = ready.persistedMessages.map(wrap)
        if node.role == .leader {
            responses += ready.entries.map { entry in
                own(.ownAppend(ready: ready.number, through: entry.index))
            }
        }
        if node.role == .candidate && ready.hardState?.vote == id {
            responses.append(own(.ownVote(ready: ready.number, isPreVote: false)))
        }
        let needsWriting = ready.hasWrites || !responses.isEmpty
        if needsWriting && (node.lastIndex > writtenIndex || ready.snapshot != nil) {
            let lastTerm =
                ready.entries.last?.term ?? ready.snapshot?.metadata.term
                ?? (try? log.term(at: node.lastIndex)) ?? appendWorkTerm(at: node.lastIndex)
            responses.append(
                own(
                    .written(
                        ready: ready.number,
                        lastIndex: node.lastIndex,
                        lastTerm: lastTerm
                    )
                )
            )
        }
        if needsWriting {
            appendWork.append(AppendWork(ready: ready, responses: responses))
        }
        if !ready.committedEntries.isEmpty { applyWork.append(ready.committedEntries) }
        return ready.messages.map(wrap)
    }

    /// The term of an entry whose write is still waiting.
    private func appendWorkTerm(at index: LogIndex) -> Term {
        for work in appendWork.reversed() {
            if let entry = work.ready.entries.first(where: { $0.index == index }) {
                return entry.term
            }
        }
        return node.term
    }

    private func own(_ content: ScriptMessage.Content) -> ScriptMessage {
        ScriptMessage(to: id, term: node.term, content: content)
    }

    mutating func processAppendThread() -> [ScriptMessage] {
        guard !appendWork.isEmpty else { return [] }
        let work = appendWork.removeFirst()
        write(work.ready)
        if !work.responses.contains(where: \.isLocal) { node.onPersisted(work.ready.number) }
        return work.responses
    }

    mutating func processApplyThread() -> [ScriptMessage] {
        guard !applyWork.isEmpty else { return [] }
        let entries = applyWork.removeFirst()
        apply(entries)
        return [ScriptMessage(to: id, term: .zero, content: .applied(entries))]
    }

    mutating func deliver(_ message: ScriptMessage) {
        switch message.content {
        case .message(let message):
            // A refused message changes nothing; scripts do not look at why.
            try? node.step(message)
        case .ownVote(let ready, _), .ownAppend(let ready, _):
            node.onPersisted(ready)
        case .written(let ready, let lastIndex, let lastTerm):
            node.onPersisted(ready)
            if (try? log.term(at: lastIndex)) == lastTerm {
                writtenIndex = max(writtenIndex, lastIndex)
            }
        case .applied(let entries):
            if let last = entries.last { node.onApplied(last.index) }
        }
    }

    private mutating func write(_ ready: Ready) {
        if let snapshot = ready.snapshot {
            log.install(snapshot)
            applied = snapshot.metadata
            writtenIndex = snapshot.metadata.index
        }
        if let first = ready.entries.first { writtenIndex = min(writtenIndex, first.index - 1) }
        log.write(ready.entries)
    }

    private mutating func apply(_ entries: [RaftEntry]) {
        for entry in entries {
            if entry.kind == .configuration,
                let change = try? ConfigurationChange(decoding: entry.payload),
                let next = try? applied.membership.applying(change)
            {
                applied.membership = next
            }
            applied.index = entry.index
            applied.term = entry.term
        }
        if !entries.isEmpty { log.latestSnapshot = Snapshot(metadata: applied, payload: .empty) }
    }

    mutating func start(from metadata: SnapshotMetadata) { applied = metadata }
}
