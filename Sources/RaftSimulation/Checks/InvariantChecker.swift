internal import Raft

/// Holds a group to the invariants, event by event; each check looks only at what has changed.
struct InvariantChecker {
    private(set) var violations: [Violation] = []
    private(set) var ledger: EntryLedger
    private var leaders: [Term: ReplicaID] = [:]
    private var memberships: [LogIndex: Membership] = [:]
    private(set) var elections = 0
    private(set) var changes = 0
    /// The number of the event that is being checked.
    var event = 0

    init(start: LogIndex, term: Term) { ledger = EntryLedger(start: start, term: term) }

    var highestCommit: LogIndex { ledger.highestCommit }

    mutating func violate(_ invariant: Invariant, _ what: @autoclosure () -> String) {
        guard violations.count < 8 else { return }
        violations.append(Violation(invariant: invariant, what: what(), event: event))
    }

    // MARK: - What a replica wants done

    /// A Ready, before its writes reach the disk.
    mutating func check(_ ready: Ready, of replica: SimulatedReplica, role: RaftRole) {
        for message in ready.messages { check(unpromising: message, of: replica) }
        if role == .leader, let first = ready.entries.first,
            first.index <= replica.disk.written.lastIndex
        {
            violate(.leaderAppendsOnly, "replica \(replica.id) cuts its log at \(first.index)")
        }
        if role == .leader, ready.snapshot != nil {
            violate(.leaderAppendsOnly, "replica \(replica.id) leads and takes a snapshot")
        }
        if let snapshot = ready.snapshot { restart(replica, from: snapshot.metadata) }
        var previous = ready.snapshot?.metadata.term
        for entry in ready.entries {
            let before = previous ?? replica.disk.written.term(at: entry.index - 1)
            note(entry, previousTerm: before, of: replica)
            previous = entry.term
        }
    }

    private mutating func check(unpromising message: Message, of replica: SimulatedReplica) {
        switch message.body {
        case .voteResponse(granted: true, _):
            violate(.durableBeforeObservable, "replica \(replica.id) votes, to be sent at once")
        case .appendResponse(let response) where response.rejection == nil:
            violate(
                .durableBeforeObservable,
                "replica \(replica.id) acknowledges \(response.index), to be sent at once"
            )
        case .vote, .preVote, .propose, .readIndex, .transferLeader:
            break
        default:
            if message.term > replica.disk.durable.hardState.term {
                violate(
                    .durableTermBeforeSpeaking,
                    "replica \(replica.id) speaks in term \(message.term): \(message.body)"
                )
            }
        }
    }

    private mutating func restart(_ replica: SimulatedReplica, from metadata: SnapshotMetadata) {
        replica.changes.removeAll()
        guard let term = ledger.committedTerm(at: metadata.index) else { return }
        if term != metadata.term {
            violate(
                .committedNeverChanges,
                "snapshot at \(metadata.index) of term \(metadata.term), committed was \(term)"
            )
        }
    }

    private mutating func note(
        _ entry: RaftEntry,
        previousTerm: Term?,
        of replica: SimulatedReplica
    ) {
        let hash = entry.contentHash
        if let wrong = ledger.note(entry, hash: hash, previousTerm: previousTerm) {
            violate(.logMatching, "replica \(replica.id): \(wrong)")
        }
        while let last = replica.changes.last, last >= entry.index { replica.changes.removeLast() }
        guard entry.kind == .configuration else { return }
        replica.changes.removeAll { $0 <= highestCommit }
        replica.changes.append(entry.index)
        if replica.changes.count > 1 {
            violate(.oneChangeAtATime, "replica \(replica.id) has \(replica.changes) uncommitted")
        }
    }

    // MARK: - What the disk promised

    /// Messages that waited for the disk, as they leave.
    mutating func check(released messages: [Message], of replica: SimulatedReplica) {
        let durable = replica.disk.durable
        for message in messages {
            // A pre-vote is granted in the term it was asked for, where nobody is yet.
            if case .preVoteResponse(granted: true, _) = message.body { continue }
            if message.term > durable.hardState.term {
                violate(
                    .durableTermBeforeSpeaking,
                    "replica \(replica.id) speaks in \(message.term), durable is "
                        + "\(durable.hardState.term)"
                )
            }
            switch message.body {
            case .voteResponse(granted: true, _):
                check(voteIn: message.term, for: message.to, of: replica)
            case .appendResponse(let response) where response.rejection == nil:
                // What a later leader has replaced since was promised to an earlier one only.
                let isCurrent = message.term == durable.hardState.term
                if isCurrent && response.index > durable.lastIndex {
                    violate(
                        .durableBeforeObservable,
                        "replica \(replica.id) acknowledges \(response.index), durable is "
                            + "\(durable.lastIndex)"
                    )
                }
            default:
                break
            }
        }
    }

    private mutating func check(
        voteIn term: Term,
        for candidate: ReplicaID,
        of replica: SimulatedReplica
    ) {
        let durable = replica.disk.durable.hardState
        if durable.term < term || (durable.term == term && durable.vote != candidate) {
            violate(
                .durableBeforeObservable,
                "replica \(replica.id) votes for \(candidate) in \(term), which is not durable"
            )
        }
        if let other = replica.votes[term], other != candidate {
            violate(
                .electionSafety,
                "replica \(replica.id) votes for \(other) and \(candidate) in \(term)"
            )
        }
        replica.votes[term] = candidate
    }

    // MARK: - After every event

    mutating func check(_ replica: SimulatedReplica, of group: [SimulatedReplica]) {
        guard let node = replica.node else { return }
        let before = replica.seen
        let now = SimulatedReplica.Seen(
            role: node.role,
            term: node.term,
            vote: node.vote,
            commit: node.commit,
            applied: node.applied
        )
        checkMonotone(replica.id, before, now)
        if now.role == .leader && (before.role != .leader || before.term != now.term) {
            checkNewLeader(node, replica)
        }
        if now.commit > before.commit {
            if now.commit > highestCommit { checkCommit(node, replica, group) }
            noteCommitted(replica, from: before.commit, to: now.commit)
        }
        let last = node.lastIndex
        if now.applied > now.commit || now.commit > last || replica.machine.index < now.applied {
            violate(
                .orderedIndexes,
                "replica \(replica.id): applied \(now.applied), commit \(now.commit), last \(last)"
            )
        }
        replica.seen = now
    }

    /// A replica has come back: what its disk says counts, and it must be a log that can be.
    mutating func restarted(_ replica: SimulatedReplica) {
        let image = replica.disk.durable
        let state = image.hardState
        replica.seen = SimulatedReplica.Seen(term: state.term, vote: state.vote)
        replica.changes.removeAll()
        for entry in image.entries where entry.kind == .configuration {
            if entry.index > highestCommit { replica.changes.append(entry.index) }
        }
        checkDisk(of: replica)
        guard let node = replica.node else { return }
        if node.term < state.term {
            violate(.monotoneState, "replica \(replica.id) comes back in term \(node.term)")
        }
        if node.firstIndex > replica.machine.index + 1 {
            violate(
                .orderedIndexes,
                "replica \(replica.id): first \(node.firstIndex), snapshot \(replica.machine.index)"
            )
        }
    }

    /// What is durable must be a log, as it would be read after a crash.
    mutating func checkDisk(of replica: SimulatedReplica) {
        let image = replica.disk.durable
        var previous = image.startTerm
        for entry in image.entries {
            let hash = entry.contentHash
            if let wrong = ledger.note(entry, hash: hash, previousTerm: previous) {
                violate(.logMatching, "on the disk of replica \(replica.id): \(wrong)")
            }
            previous = entry.term
        }
    }

    private mutating func checkMonotone(
        _ id: ReplicaID,
        _ before: SimulatedReplica.Seen,
        _ now: SimulatedReplica.Seen
    ) {
        if now.term < before.term {
            violate(.monotoneState, "replica \(id) went from term \(before.term) to \(now.term)")
        }
        if now.term == before.term, let vote = before.vote, now.vote != vote {
            violate(.monotoneState, "replica \(id) changed its vote in term \(now.term)")
        }
        if now.commit < before.commit {
            violate(.monotoneState, "replica \(id) commit \(before.commit) to \(now.commit)")
        }
        if now.applied < before.applied {
            violate(.monotoneState, "replica \(id) applied \(before.applied) to \(now.applied)")
        }
    }

    private mutating func checkNewLeader(_ node: RaftNode, _ replica: SimulatedReplica) {
        elections += 1
        if let other = leaders[node.term], other != node.id {
            violate(.electionSafety, "replicas \(other) and \(node.id) lead term \(node.term)")
        }
        leaders[node.term] = node.id
        if !node.membership.isVoter(node.id) {
            violate(.onlyVotersCount, "replica \(node.id) leads and is no voter")
        }
        if node.isAbstaining {
            violate(.durableBeforeObservable, "replica \(node.id) leads with a damaged log")
        }
        guard let needed = ledger.frontier(before: node.term) else { return }
        let image = replica.disk.written
        if needed.index > image.startIndex && image.term(at: needed.index) != needed.term {
            violate(
                .leaderCompleteness,
                "replica \(node.id) leads \(node.term) without entry \(needed.index) of term "
                    + "\(needed.term)"
            )
        }
    }

    private mutating func checkCommit(
        _ node: RaftNode,
        _ replica: SimulatedReplica,
        _ group: [SimulatedReplica]
    ) {
        let index = node.commit
        guard node.role == .leader else {
            violate(.commitOnQuorum, "replica \(node.id) commits \(index), no leader has")
            return
        }
        guard let term = replica.disk.written.term(at: index) else {
            violate(.orderedIndexes, "replica \(node.id) commits \(index), which it has not")
            return
        }
        if term != node.term {
            violate(
                .commitOnQuorum,
                "replica \(node.id) commits \(index) of term \(term) by counting in \(node.term)"
            )
        }
        func holds(_ id: ReplicaID) -> Bool {
            group.contains { $0.id == id && $0.disk.hasHeld(index, term) }
        }
        if !node.membership.isDecided(by: holds) {
            let membership = node.membership
            let others = membership.learners.count(where: holds)
            let voters = membership.voters
            violate(
                others > 0 ? .onlyVotersCount : .commitOnQuorum,
                "replica \(node.id) commits \(index), durable on \(voters.filter(holds)) of "
                    + "\(voters) and \(membership.outgoingVoters)"
            )
        }
        ledger.advance(to: index, inTerm: node.term)
    }

    private mutating func noteCommitted(
        _ replica: SimulatedReplica,
        from start: LogIndex,
        to end: LogIndex
    ) {
        let image = replica.disk.written
        var index = max(start, image.startIndex, ledger.start) + 1
        while index <= end {
            if let term = image.term(at: index),
                let other = ledger.commit(index, term: term)
            {
                violate(
                    .committedNeverChanges,
                    "replica \(replica.id) commits \(index) of term \(term), committed was \(other)"
                )
            }
            index = index + 1
        }
    }

    // MARK: - What the state machines do

    mutating func checkApplied(_ entry: RaftEntry, after index: LogIndex, by id: ReplicaID) {
        if entry.index != index + 1 {
            violate(.stateMachineSafety, "replica \(id) applies \(entry.index) after \(index)")
        }
    }

    mutating func checkState(of replica: SimulatedReplica, changed: Bool) {
        let machine = replica.machine
        if !ledger.state(at: machine.index, hash: machine.hash) {
            violate(.stateMachineSafety, "replica \(replica.id) differs at \(machine.index)")
        }
        guard changed else { return }
        if let known = memberships[machine.index] {
            if known != machine.membership {
                violate(.stateMachineSafety, "two memberships at \(machine.index)")
            }
            return
        }
        memberships[machine.index] = machine.membership
    }

    /// A change of membership took effect for the first time.
    mutating func checkChange(from old: Membership, to new: Membership, at index: LogIndex) {
        guard memberships[index] == nil, old != new, !old.voters.isEmpty else { return }
        changes += 1
        if !old.overlaps(new) {
            violate(.oneChangeAtATime, "majorities of \(old) and \(new) need not meet")
        }
    }

    mutating func checkRead(index: LogIndex, committed: LogIndex, by id: ReplicaID) {
        if index < committed {
            violate(
                .linearizableReads,
                "replica \(id) reads at \(index); \(committed) was committed before"
            )
        }
    }
}
