extension RaftNode {
    mutating func stepLeader(_ message: Message) throws(RaftStepError) {
        guard role == .leader else { return }
        guard message.from != id, let place = progress.place(of: message.from) else {
            throw .unknownPeer(message.from)
        }
        progress[place].isRecentlyActive = true
        switch message.body {
        case .appendResponse(let response):
            guard response.index <= log.lastIndex else {
                throw .malformed("acknowledges \(response.index), last is \(log.lastIndex)")
            }
            if let rejection = response.rejection {
                retreat(place, rejected: response.index, hint: rejection)
            } else {
                advance(place, to: response.index)
            }
        case .heartbeatResponse(let round):
            takeHeartbeatResponse(place, round: round)
        case .lostEntries(let last):
            // Only while it counts on them: once it does not, the search for where the logs match
            // is under way, and must not start over with every answer.
            guard progress[place].match > last else { break }
            progress[place].restart(next: min(last, log.lastIndex) + 1)
            sendAppend(to: place, evenIfEmpty: true)
        default:
            break
        }
    }

    /// The follower's log does not match there: find where it does.
    private mutating func retreat(
        _ place: Int,
        rejected: LogIndex,
        hint: Message.Rejection
    ) {
        var index = hint.index
        if hint.term > .zero { (index, _) = log.lastIndex(upTo: hint.index, termAtMost: hint.term) }
        guard progress[place].decrease(rejected: rejected, hint: index) else { return }
        if progress[place].state == .replicate { progress[place].becomeProbe() }
        sendAppend(to: place, evenIfEmpty: true)
    }

    private mutating func advance(_ place: Int, to index: LogIndex) {
        let isNews = progress[place].acknowledge(index)
        guard isNews || (progress[place].match == index && progress[place].state == .probe) else {
            return
        }
        switch progress[place].state {
        case .probe:
            progress[place].becomeReplicate()
        case .replicate:
            progress[place].freeInflight(through: index)
        case .snapshot(let pending):
            // Whether or not a report of the snapshot ever comes: the logs are connected.
            if progress[place].match + 1 >= log.firstIndex {
                progress[place].becomeReplicate()
            } else if progress[place].match >= pending {
                // It has all of it, and the log begins later by now: it needs a newer one.
                progress[place].becomeProbe()
            }
        }
        if advanceCommit() {
            broadcastAppends()
        } else if configuration.broadcastsCommit && !configuration.batchesAppends
            && progress[place].canLearnCommit(log.commit)
        {
            sendAppend(to: place, evenIfEmpty: true)
        }
        if configuration.batchesAppends {
            owesAppends = true
        } else {
            while sendAppend(to: place, evenIfEmpty: false) {}
        }
        finishTransfer(to: place)
    }

    private mutating func takeHeartbeatResponse(_ place: Int, round: UInt64) {
        if progress[place].pendingSnapshot != nil,
            tickCount - progress[place].snapshotTick >= UInt64(configuration.snapshotTicks)
        {
            // Neither an answer nor a report: it was lost, or its report was.
            reportSnapshot(progress[place].id, success: false)
        }
        if progress[place].snapshotBlockedUntil <= tickCount {
            progress[place].isFlowPaused = false
        }
        // Whatever was in flight may be lost: without this nobody would find out.
        if progress[place].match < log.lastIndex || progress[place].state == .probe {
            sendAppend(to: place, evenIfEmpty: true)
        }
        if round > progress[place].answeredRound {
            progress[place].answeredRound = round
            confirmReads()
        }
    }

    /// Commits what a majority of each voter set holds, if it is of this term (3.6.2).
    ///
    /// - Returns: Whether the commit index moved.
    mutating func advanceCommit() -> Bool {
        guard !membership.voters.isEmpty else { return false }
        let index = membership.committedIndex { progress.match(of: $0) }
        guard index >= firstCountable, index > log.commit else { return false }
        log.commit(through: index)
        releasePostponedReads()
        return true
    }

    /// Where counting replicas begins to commit.
    private var firstCountable: LogIndex {
        #if CHRONIK_PLANT
        if PlantedFault.inForce == .commitOfOldTerm { return .zero }
        #endif
        return termStart
    }

    /// Brings news to all followers: now, or with the next Ready.
    mutating func broadcastAppends() {
        if configuration.batchesAppends {
            owesAppends = true
            return
        }
        for place in progress.replicas.indices where progress[place].id != id {
            sendAppend(to: place, evenIfEmpty: true)
        }
    }

    /// Sends what gathered since the last Ready, one stream a follower.
    mutating func sendOwedAppends() {
        guard owesAppends else { return }
        owesAppends = false
        guard role == .leader else { return }
        for place in progress.replicas.indices where progress[place].id != id {
            while sendAppend(to: place, evenIfEmpty: false) {}
            if configuration.broadcastsCommit && progress[place].canLearnCommit(log.commit) {
                sendAppend(to: place, evenIfEmpty: true)
            }
        }
    }

    /// Sends one append, or the snapshot if the log does not reach back far enough.
    @discardableResult
    mutating func sendAppend(to place: Int, evenIfEmpty: Bool) -> Bool {
        guard !progress[place].isPaused else { return false }
        let previous = progress[place].next - 1
        let append: Message.Append
        do throws(RaftLogReadError) {
            let previousTerm = try log.term(at: previous)
            var entries: [RaftEntry] = []
            if progress[place].state != .replicate || !progress[place].inflight.isFull {
                entries = try log.entries(
                    in: progress[place].next..<(log.lastIndex + 1),
                    maxBytes: configuration.maxMessageBytes
                )
            }
            if entries.isEmpty && !evenIfEmpty { return false }
            append = Message.Append(
                previousIndex: previous,
                previousTerm: previousTerm,
                entries: entries,
                commit: log.commit
            )
        } catch .temporarilyUnavailable {
            return false
        } catch {
            return sendSnapshot(to: place)
        }
        let bytes = append.entries.reduce(0) { $0 + $1.byteCount }
        progress[place].sent(entries: append.entries.count, bytes: bytes)
        progress[place].sentCommit = max(progress[place].sentCommit, log.commit)
        send(.append(append), to: progress[place].id)
        return true
    }

    private mutating func sendSnapshot(to place: Int) -> Bool {
        // A replica nobody hears from would not get it, and snapshots are large.
        guard progress[place].isRecentlyActive,
            progress[place].snapshotBlockedUntil <= tickCount,
            let snapshot = try? log.reader.snapshot(),
            snapshot.metadata.index > .zero
        else { return false }
        progress[place].becomeSnapshot(at: snapshot.metadata.index)
        progress[place].snapshotTick = tickCount
        send(.snapshot(snapshot), to: progress[place].id)
        return true
    }

    mutating func broadcastHeartbeats(quiesce: Bool = false, except: [ReplicaID] = []) {
        for place in progress.replicas.indices {
            let peer = progress[place].id
            if peer == id || except.contains(peer) { continue }
            // The follower may not have more than match: it must not commit what it has not.
            let commit = min(progress[place].match, log.commit)
            progress[place].sentCommit = max(progress[place].sentCommit, commit)
            let heartbeat = Message.Heartbeat(
                commit: commit,
                round: reads.currentRound,
                quiesce: quiesce
            )
            send(.heartbeat(heartbeat), to: peer)
        }
    }

    // MARK: - What the transport reports

    /// A message to a replica was lost for sure: stop streaming until it answers.
    public mutating func reportUnreachable(_ peer: ReplicaID) {
        guard role == .leader, let place = progress.place(of: peer) else { return }
        if progress[place].state == .replicate { progress[place].becomeProbe() }
    }

    /// A snapshot was delivered, or was not.
    ///
    /// The next append waits for the replica's answer or a heartbeat; after failures in a row for
    /// twice as long each time, up to sixteen election timeouts.
    ///
    /// - Parameters:
    ///   - peer: The replica it was for.
    ///   - success: Whether it arrived; that it was installed the replica itself will say.
    public mutating func reportSnapshot(_ peer: ReplicaID, success: Bool) {
        guard role == .leader, let place = progress.place(of: peer),
            progress[place].pendingSnapshot != nil
        else { return }
        if success {
            progress[place].becomeProbe()
        } else {
            progress[place].abortSnapshot()
            let failures = progress[place].snapshotFailures
            let ticks = configuration.heartbeatTicks << min(failures, 16)
            progress[place].snapshotFailures = failures + 1
            progress[place].snapshotBlockedUntil =
                tickCount + UInt64(min(ticks, 16 * configuration.electionTicks))
        }
        progress[place].isFlowPaused = true
    }

    /// Part of a snapshot was delivered: it is not lost yet.
    public mutating func reportSnapshotProgress(_ peer: ReplicaID) {
        guard let place = progress.place(of: peer) else { return }
        progress[place].snapshotTick = tickCount
    }

    // MARK: - Handing over leadership (3.10)

    /// Hands leadership to a voter, once that has the whole log.
    ///
    /// Proposals are refused meanwhile; after an election timeout they are taken again. A follower
    /// passes the wish on to its leader.
    public mutating func transferLeadership(to target: ReplicaID) throws(RaftProposalError) {
        wake()
        guard role == .leader else {
            guard let leader else { throw .notLeader(leader: nil) }
            if leader != target { send(.transferLeader(to: target), to: leader, term: .zero) }
            return
        }
        guard let place = progress.place(of: target), !progress[place].isLearner else {
            throw .notAVoter(target)
        }
        guard target != id, target != transferee else { throw .nothingToTransfer }
        electionElapsed = 0
        transferee = target
        if progress[place].match == log.lastIndex {
            sendTimeoutNow(to: target)
        } else {
            sendAppend(to: place, evenIfEmpty: true)
        }
    }

    private mutating func finishTransfer(to place: Int) {
        guard let transferee, progress[place].id == transferee,
            progress[place].match == log.lastIndex
        else { return }
        sendTimeoutNow(to: transferee)
    }

    /// Asks again: the request may be lost, and proposals are refused meanwhile.
    ///
    /// One that was not belongs to a term that is over for the replica that took it.
    mutating func repeatTransfer() {
        guard let transferee, let place = progress.place(of: transferee) else { return }
        finishTransfer(to: place)
    }

    private mutating func sendTimeoutNow(to target: ReplicaID) {
        // Its election ignores leases, whenever it may come.
        reads.forfeitLease()
        send(.timeoutNow, to: target)
    }

    /// Gives up handing over leadership.
    public mutating func abortTransfer() { transferee = nil }

    /// Lets a follower vote as if its leader were gone, without a new term.
    ///
    /// For a caller that knows the leader is dead; its election timeout runs on unchanged.
    public mutating func forgetLeader() {
        wake()
        guard role == .follower, configuration.readMode != .lease else { return }
        leader = nil
    }
}
