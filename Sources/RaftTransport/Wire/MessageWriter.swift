internal import Bytes
internal import Raft
internal import RaftRuntime

/// Writes the messages of one frame, each relative to the one before; see ``MessageTag``.
struct MessageWriter: ~Copyable {
    private var writer: ByteWriter
    private var group: UInt64 = 0
    private var from = ReplicaID(0)
    private var to = ReplicaID(0)
    private var term = Term.zero

    init(capacity: Int) { writer = ByteWriter(capacity: capacity) }

    var count: Int { writer.count }

    consuming func finish() -> ByteRope { writer.finish() }

    mutating func write(_ item: GroupMessage) {
        switch item.message.body {
        case .append(let append):
            begin(.append, item)
            write(append)
        case .appendResponse(let response):
            begin(.appendResponse, item, flagA: response.rejection != nil)
            writer.write(number: response.index.rawValue)
            guard let rejection = response.rejection else { return }
            writer.write(number: rejection.index.rawValue, near: response.index.rawValue)
            writer.write(number: rejection.term.rawValue)
        case .vote(let request): write(.vote, item, request)
        case .preVote(let request): write(.preVote, item, request)
        case .voteResponse(let granted, let commit): write(.voteResponse, item, granted, commit)
        case .preVoteResponse(let granted, let commit):
            write(.preVoteResponse, item, granted, commit)
        case .heartbeat(let heartbeat):
            begin(.heartbeat, item, flagA: heartbeat.quiesce)
            writer.write(number: heartbeat.commit.rawValue)
            writer.write(number: heartbeat.round)
        case .heartbeatResponse(let round): write(.heartbeatResponse, item, round)
        case .lostEntries(let last): write(.lostEntries, item, last.rawValue)
        case .snapshot(let snapshot): write(snapshot, item)
        case .timeoutNow: begin(.timeoutNow, item)
        case .transferLeader(let replica): write(.transferLeader, item, replica.rawValue)
        case .readIndex(let context): write(.readIndex, item, context)
        case .readIndexResponse(let index, let context):
            write(.readIndexResponse, item, index.rawValue)
            writer.write(number: context)
        case .propose(let proposals):
            write(.propose, item, UInt64(proposals.count))
            for proposal in proposals {
                writer.write(proposal.kind.rawValue)
                writer.write(proposal.payload)
            }
        }
    }

    /// Tag, group, and ends and term where they differ from those before.
    private mutating func begin(
        _ kind: MessageTag.Kind,
        _ item: GroupMessage,
        flagA: Bool = false,
        flagB: Bool = false
    ) {
        let message = item.message
        let otherEnds = message.from != from || message.to != to
        let otherTerm = message.term != term
        var tag = kind.rawValue
        if otherEnds { tag |= MessageTag.otherEnds }
        if otherTerm { tag |= MessageTag.otherTerm }
        if flagA { tag |= MessageTag.flagA }
        if flagB { tag |= MessageTag.flagB }
        writer.write(tag)
        writer.write(number: item.group, near: group)
        if otherEnds {
            writer.write(number: message.from.rawValue)
            writer.write(number: message.to.rawValue)
        }
        if otherTerm { writer.write(number: message.term.rawValue) }
        (group, from, to, term) = (item.group, message.from, message.to, message.term)
    }

    private mutating func write(_ kind: MessageTag.Kind, _ item: GroupMessage, _ number: UInt64) {
        begin(kind, item)
        writer.write(number: number)
    }

    private mutating func write(
        _ kind: MessageTag.Kind,
        _ item: GroupMessage,
        _ request: Message.VoteRequest
    ) {
        begin(kind, item, flagA: request.isTransfer)
        writer.write(number: request.lastIndex.rawValue)
        writer.write(number: request.lastTerm.rawValue)
    }

    private mutating func write(
        _ kind: MessageTag.Kind,
        _ item: GroupMessage,
        _ granted: Bool,
        _ commit: Message.CommitPoint?
    ) {
        begin(kind, item, flagA: granted, flagB: commit != nil)
        guard let commit else { return }
        writer.write(number: commit.index.rawValue)
        writer.write(number: commit.term.rawValue)
    }

    private mutating func write(_ append: Message.Append) {
        writer.write(number: append.previousIndex.rawValue)
        writer.write(number: append.previousTerm.rawValue)
        writer.write(number: append.commit.rawValue, near: append.previousIndex.rawValue)
        writer.write(number: UInt64(append.entries.count))
        var expected = append.previousIndex.rawValue &+ 1
        var before = append.previousTerm
        for entry in append.entries {
            let otherTerm = entry.term != before
            let otherIndex = entry.index.rawValue != expected
            var tag = entry.kind.rawValue
            if otherTerm { tag |= EntryTag.otherTerm }
            if otherIndex { tag |= EntryTag.otherIndex }
            writer.write(tag)
            if otherTerm { writer.write(number: entry.term.rawValue) }
            if otherIndex { writer.write(number: entry.index.rawValue, near: expected) }
            writer.write(entry.payload)
            expected = entry.index.rawValue &+ 1
            before = entry.term
        }
    }

    private mutating func write(_ snapshot: Snapshot, _ item: GroupMessage) {
        let metadata = snapshot.metadata
        let membership = metadata.membership
        begin(.snapshot, item, flagA: membership.autoLeave)
        writer.write(number: metadata.index.rawValue)
        writer.write(number: metadata.term.rawValue)
        write(membership.voters)
        write(membership.outgoingVoters)
        write(membership.learners)
        write(membership.learnersNext)
        writer.write(snapshot.payload)
    }

    private mutating func write(_ replicas: [ReplicaID]) {
        writer.write(number: UInt64(replicas.count))
        var before: UInt64 = 0
        for replica in replicas {
            writer.write(number: replica.rawValue, near: before)
            before = replica.rawValue
        }
    }
}
