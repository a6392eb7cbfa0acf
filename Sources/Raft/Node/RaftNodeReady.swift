extension RaftNode {
    /// Whether `ready()` has something to say.
    public var hasReady: Bool {
        log.tail.hasPending || !messages.isEmpty || !persistedMessages.isEmpty
            || !readStates.isEmpty || owesAppends || log.hasUnwrittenSnapshot
            || log.hasCommitted(
                unpersisted: configuration.appliesWithinReady,
                maxBytes: configuration.maxCommittedBytesPerReady
            )
            || handedHardState != currentHardState || handedSoftState != currentSoftState
    }

    var currentHardState: HardState { HardState(term: term, vote: vote, commit: log.commit) }

    var currentSoftState: SoftState { SoftState(role: role, leader: leader) }

    /// Everything that is to be done since the last Ready; see `Ready` for the order.
    public mutating func ready() -> Ready {
        readyNumber += 1
        var ready = Ready(number: readyNumber)
        ready.entries = log.takePending()
        sendOwedAppends()
        ready.snapshot = log.takeSnapshot()
        ready.committedEntries = takeCommitted()
        handOverState(to: &ready)
        ready.messages = messages
        messages = []
        ready.persistedMessages = persistedMessages
        persistedMessages = []
        if !readStates.isEmpty {
            ready.readStates = readStates
            readStates = []
        }
        reads.closeRound()
        log.wrote(
            readyNumber,
            lastEntry: ready.entries.last?.index,
            snapshot: ready.snapshot?.metadata.index,
            hardState: ready.hardState
        )
        return ready
    }

    private mutating func handOverState(to ready: inout Ready) {
        let softState = currentSoftState
        if softState != handedSoftState {
            ready.softState = softState
            handedSoftState = softState
        }
        let hardState = currentHardState
        if hardState != handedHardState {
            ready.hardState = hardState
            ready.mustSync =
                hardState.term != handedHardState.term || hardState.vote != handedHardState.vote
            handedHardState = hardState
        }
        if !ready.entries.isEmpty || ready.snapshot != nil { ready.mustSync = true }
    }

    private mutating func takeCommitted() -> [RaftEntry] {
        let entries = log.takeCommitted(
            unpersisted: configuration.appliesWithinReady,
            maxBytes: configuration.maxCommittedBytesPerReady
        )
        guard !entries.isEmpty else { return [] }
        var bytes = 0
        for entry in entries {
            bytes += entry.payload.count
            if entry.kind == .configuration { remember(entry) }
        }
        // Entries of earlier terms were never counted.
        uncommittedBytes = max(0, uncommittedBytes - bytes)
        log.dropTail()
        return entries
    }

    /// A change that cannot be read changes nothing, on every replica alike.
    private mutating func remember(_ entry: RaftEntry) {
        guard let change = try? ConfigurationChange(decoding: entry.payload) else { return }
        handedChanges.append((entry.index, change))
    }

    /// Everything up to and including this Ready is durable, and its snapshot installed.
    ///
    /// This is where the node acknowledges to itself: its own vote and its own entries count from
    /// here, and no earlier.
    ///
    /// - Parameter number: The number of a Ready; it covers those before it.
    public mutating func onPersisted(_ number: UInt64) {
        precondition(number <= readyNumber, "Ready \(number) persisted, \(readyNumber) handed out")
        if let state = log.persisted(through: number) {
            durableTerm = state.term
            durableVote = state.vote
        }
        switch role {
        case .leader: acknowledgeOwnEntries()
        case .candidate where durableTerm == term && durableVote == id && !hasVoted(id):
            record(vote: true, of: id)
        default: break
        }
    }

    private mutating func acknowledgeOwnEntries() {
        guard let own = progress.place(of: id), progress[own].acknowledge(log.stable) else {
            return
        }
        if advanceCommit() { broadcastAppends() }
    }

    /// The state machine has applied everything up to an index.
    ///
    /// Changes of membership up to there take effect here.
    ///
    /// - Parameter index: At most the last of the committed entries handed out.
    public mutating func onApplied(_ index: LogIndex) {
        carryOutChanges(through: index)
        log.applied(through: index)
        leaveJointIfDue()
    }

    /// The reader can deliver what it could not before.
    public mutating func onLogReadable() {
        log.waitsForReader = false
        guard role == .leader else { return }
        for place in progress.replicas.indices where progress[place].id != id {
            while sendAppend(to: place, evenIfEmpty: false) {}
        }
    }
}
