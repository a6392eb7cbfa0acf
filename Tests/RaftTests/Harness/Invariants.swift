@testable import Raft

/// What must hold of a group at every moment, checked after every event.
///
/// The names are those of the project's list of Raft invariants. A violation is a sentence.
struct Invariants {
    /// A committed entry, as first seen.
    private struct Committed {
        var term: Term
        var hash: UInt64
    }

    private struct Seen {
        var term = Term.zero
        var vote: ReplicaID?
        var commit = LogIndex.zero
        var applied = LogIndex.zero
        var last = LogIndex.zero
        var role = RaftRole.follower
    }

    private var leaders: [Term: ReplicaID] = [:]
    private var votes: [ReplicaID: [Term: ReplicaID]] = [:]
    /// Every entry ever written, by index and term, with the term before it.
    private var entries: [LogIndex: [Term: (hash: UInt64, previous: Term)]] = [:]
    private var committed: [LogIndex: Committed] = [:]
    /// The state machine's hash after each index.
    private var states: [LogIndex: UInt64] = [:]
    private var seen: [ReplicaID: Seen] = [:]
    /// The group starts from a snapshot at 1.
    private(set) var highestCommit = LogIndex(1)
    private(set) var violations: [String] = []

    private mutating func violate(_ name: String, _ what: String) {
        if violations.count < 8 { violations.append("\(name): \(what)") }
    }

    // MARK: - When a Ready is taken

    mutating func check(_ ready: Ready, of replica: SimulatedReplica) {
        for message in ready.messages {
            switch message.body {
            case .voteResponse(granted: true, _):
                violate("I9", "\(replica.id) sends a vote before it is durable")
            case .appendResponse(let response) where response.rejection == nil:
                violate("I9", "\(replica.id) acknowledges \(response.index) before it is durable")
            case .vote, .preVote, .propose, .readIndex, .transferLeader:
                break
            default:
                if message.term > replica.durableTerm {
                    violate("I11", "\(replica.id) speaks in term \(message.term): \(message.body)")
                }
            }
        }
        for entry in ready.entries { record(entry, of: replica) }
    }

    private mutating func record(_ entry: RaftEntry, of replica: SimulatedReplica) {
        guard let node = replica.node else { return }
        let hash = StateMachine.mix(0, entry)
        let previous = (try? node.log.term(at: entry.index - 1)) ?? .zero
        if let known = entries[entry.index]?[entry.term] {
            if known.hash != hash {
                violate("I2", "two entries at \(entry.index) in term \(entry.term)")
            } else if known.previous != previous && previous != .zero && known.previous != .zero {
                violate("I2", "\(entry.index) of term \(entry.term) follows two different terms")
            }
        } else {
            entries[entry.index, default: [:]][entry.term] = (hash, previous)
        }
    }

    // MARK: - When something became durable

    mutating func check(released messages: [Message], of replica: SimulatedReplica) {
        for message in messages {
            switch message.body {
            case .voteResponse(granted: true, _):
                // A node may be in a later term by now; the disk may not be in an earlier one.
                if replica.durableTerm < message.term {
                    violate("I9", "\(replica.id) voted in \(message.term), not durable")
                }
                if let other = votes[replica.id]?[message.term], other != message.to {
                    violate("I1", "\(replica.id) voted for \(other) and \(message.to)")
                }
                votes[replica.id, default: [:]][message.term] = message.to
            case .appendResponse(let response) where response.rejection == nil:
                if replica.disk.lastIndex < response.index {
                    violate("I9", "\(replica.id) acknowledges \(response.index), not durable")
                }
            default:
                break
            }
        }
    }

    // MARK: - After every event

    mutating func check(_ replica: SimulatedReplica, of cluster: [SimulatedReplica]) {
        guard let node = replica.node else {
            seen[replica.id]?.role = .follower
            return
        }
        let before = seen[replica.id] ?? Seen()
        checkMonotone(node, before)
        if node.role == .leader { checkLeader(node, before) }
        if node.commit > highestCommit { checkCommit(node, cluster) }
        recordCommitted(node, from: before.commit)
        checkState(replica)
        seen[replica.id] = Seen(
            term: node.term,
            vote: node.vote,
            commit: node.commit,
            applied: node.applied,
            last: node.lastIndex,
            role: node.role
        )
    }

    /// A crash may take back what was not durable; it is what the disk says that counts then.
    mutating func forget(_ replica: SimulatedReplica) {
        seen[replica.id] = Seen(term: replica.durable.term, vote: replica.durable.vote)
    }

    private mutating func checkMonotone(_ node: RaftNode, _ before: Seen) {
        if node.term < before.term { violate("I7", "\(node.id) fell to term \(node.term)") }
        if node.term == before.term, let vote = before.vote, node.vote != vote {
            violate("I7", "\(node.id) changed its vote in term \(node.term)")
        }
        if node.commit < before.commit { violate("I7", "\(node.id) commit \(node.commit)") }
        if node.applied < before.applied { violate("I7", "\(node.id) applied \(node.applied)") }
        // A snapshot on its way to disk stands for a log that is not readable yet.
        if node.log.pendingSnapshot == nil {
            let holds =
                node.firstIndex <= node.applied + 1 && node.applied <= node.commit
                && node.commit <= node.lastIndex
            if !holds {
                violate(
                    "I8",
                    "\(node.id) \(node.firstIndex) \(node.applied) \(node.commit) \(node.lastIndex)"
                )
            }
        }
    }

    private mutating func checkLeader(_ node: RaftNode, _ before: Seen) {
        if let other = leaders[node.term], other != node.id {
            violate("I1", "\(other) and \(node.id) lead term \(node.term)")
        }
        leaders[node.term] = node.id
        if before.role == .leader && before.term == node.term {
            if node.lastIndex < before.last { violate("I10", "\(node.id) cut its log") }
            return
        }
        if let entry = committed[highestCommit] {
            if (try? node.log.term(at: highestCommit)) != entry.term
                && node.firstIndex <= highestCommit
            {
                violate("I3", "\(node.id) leads \(node.term) without entry \(highestCommit)")
            }
        }
    }

    private mutating func checkCommit(_ node: RaftNode, _ cluster: [SimulatedReplica]) {
        guard node.role == .leader else {
            violate("I5", "\(node.id) commits \(node.commit) before any leader")
            return
        }
        let index = node.commit
        let term = try? node.log.term(at: index)
        let result = node.membership.voteResult { voter in
            let disk = cluster.first { $0.id == voter }?.disk
            return disk.map { disk in
                (try? disk.term(at: index)) == term || disk.firstIndex > index
            } ?? false
        }
        if term != node.term {
            violate("I5", "\(node.id) commits \(index) of an earlier term by counting (3.6.2)")
        }
        if result != .won && !node.membership.voters.isEmpty {
            violate("I5", "\(node.id) commits \(index) without a durable majority")
        }
        highestCommit = index
    }

    private mutating func recordCommitted(_ node: RaftNode, from start: LogIndex) {
        var index = max(start + 1, node.firstIndex)
        while index <= node.commit {
            defer { index = index + 1 }
            guard let entry = try? node.log.entries(in: index..<(index + 1), maxBytes: 1).first
            else { continue }
            let hash = StateMachine.mix(0, entry)
            if let known = committed[index] {
                if known.term != entry.term || known.hash != hash {
                    violate("I6", "\(node.id) committed another entry at \(index)")
                }
            } else {
                committed[index] = Committed(term: entry.term, hash: hash)
            }
        }
    }

    private mutating func checkState(_ replica: SimulatedReplica) {
        let machine = replica.machine
        if let known = states[machine.index] {
            if known != machine.hash { violate("I4", "\(replica.id) differs at \(machine.index)") }
        } else {
            states[machine.index] = machine.hash
        }
    }

    /// I12: one uncommitted change of membership at most, in any log.
    mutating func checkChanges(_ replica: SimulatedReplica) {
        guard let node = replica.node else { return }
        var changes = 0
        var index = max(highestCommit + 1, node.firstIndex)
        while index <= node.lastIndex {
            if let entry = try? node.log.entries(in: index..<(index + 1), maxBytes: 1).first,
                entry.kind == .configuration
            {
                changes += 1
            }
            index = index + 1
        }
        if changes > 1 { violate("I12", "\(node.id) has \(changes) uncommitted changes") }
    }

    mutating func read(_ name: String, index: LogIndex, issuedAt commit: LogIndex) {
        if index < commit { violate("I15", "\(name) answers \(index), \(commit) was committed") }
    }

    mutating func report(_ name: String, _ what: String) { violate(name, what) }
}
