internal import Bytes
internal import Raft
internal import RaftRuntime

/// Reads the messages of one frame; see ``MessageTag``.
///
/// Payloads stay in the memory the frame came in and keep it alive.
struct MessageReader {
    /// A tag and a group.
    private static let leastBytes = 2
    /// A tag and a length.
    private static let leastEntryBytes = 2

    private var reader: BodyReader
    private var group: UInt64 = 0
    private var from = ReplicaID(0)
    private var to = ReplicaID(0)
    private var term = Term.zero

    private init(_ reader: BodyReader) { self.reader = reader }

    /// The body of a frame of messages: how many, then one behind the other.
    static func read(_ body: ByteSlice) throws(FrameError) -> [GroupMessage] {
        var reader = BodyReader(body)
        let count = try reader.count(ofSize: leastBytes)
        var messages = MessageReader(reader)
        var found: [GroupMessage] = []
        found.reserveCapacity(count)
        for _ in 0..<count { found.append(try messages.next()) }
        try messages.reader.end()
        return found
    }

    private mutating func next() throws(FrameError) -> GroupMessage {
        let tag = try reader.byte()
        guard let kind = MessageTag.Kind(rawValue: tag & 0xf) else {
            throw .unknownMessageKind(tag & 0xf)
        }
        group = try reader.number(near: group)
        if tag & MessageTag.otherEnds != 0 {
            from = ReplicaID(try reader.number())
            to = ReplicaID(try reader.number())
        }
        if tag & MessageTag.otherTerm != 0 { term = try readTerm() }
        let body = try readBody(
            kind,
            flagA: tag & MessageTag.flagA != 0,
            flagB: tag & MessageTag.flagB != 0
        )
        let message = Message(from: from, to: to, term: term, body: body)
        return GroupMessage(group: group, message: message)
    }

    private mutating func readBody(
        _ kind: MessageTag.Kind,
        flagA: Bool,
        flagB: Bool
    ) throws(FrameError) -> Message.Body {
        switch kind {
        case .append: .append(try readAppend())
        case .appendResponse: .appendResponse(try readAppendResponse(isRejection: flagA))
        case .vote: .vote(try readVote(isTransfer: flagA))
        case .preVote: .preVote(try readVote(isTransfer: flagA))
        case .voteResponse:
            .voteResponse(granted: flagA, commit: try readCommitPoint(isThere: flagB))
        case .preVoteResponse:
            .preVoteResponse(granted: flagA, commit: try readCommitPoint(isThere: flagB))
        case .heartbeat:
            .heartbeat(.init(commit: try index(), round: try reader.number(), quiesce: flagA))
        case .heartbeatResponse: .heartbeatResponse(round: try reader.number())
        case .lostEntries: .lostEntries(last: try index())
        case .snapshot: .snapshot(try readSnapshot(autoLeave: flagA))
        case .timeoutNow: .timeoutNow
        case .transferLeader: .transferLeader(to: ReplicaID(try reader.number()))
        case .readIndex: .readIndex(context: try reader.number())
        case .readIndexResponse:
            .readIndexResponse(index: try index(), context: try reader.number())
        case .propose: .propose(try readProposals())
        }
    }

    private mutating func index() throws(FrameError) -> LogIndex {
        LogIndex(try reader.number())
    }

    private mutating func readTerm() throws(FrameError) -> Term { Term(try reader.number()) }

    private mutating func readAppend() throws(FrameError) -> Message.Append {
        let previousIndex = try index()
        let previousTerm = try readTerm()
        let commit = LogIndex(try reader.number(near: previousIndex.rawValue))
        let count = try reader.count(ofSize: Self.leastEntryBytes)
        var entries: [RaftEntry] = []
        entries.reserveCapacity(count)
        var expected = previousIndex.rawValue &+ 1
        var before = previousTerm
        for _ in 0..<count {
            let tag = try reader.byte()
            let kind = try entryKind(tag & EntryTag.kindMask)
            if tag & EntryTag.otherTerm != 0 { before = try readTerm() }
            if tag & EntryTag.otherIndex != 0 { expected = try reader.number(near: expected) }
            entries.append(
                RaftEntry(
                    index: LogIndex(expected),
                    term: before,
                    kind: kind,
                    payload: try reader.payload()
                )
            )
            expected &+= 1
        }
        return Message.Append(
            previousIndex: previousIndex,
            previousTerm: previousTerm,
            entries: entries,
            commit: commit
        )
    }

    private func entryKind(_ number: UInt8) throws(FrameError) -> RaftEntry.Kind {
        guard let kind = RaftEntry.Kind(rawValue: number) else { throw .unknownEntryKind(number) }
        return kind
    }

    private mutating func readAppendResponse(
        isRejection: Bool
    ) throws(FrameError) -> Message.AppendResponse {
        let matched = try index()
        guard isRejection else { return Message.AppendResponse(index: matched) }
        let rejection = Message.Rejection(
            index: LogIndex(try reader.number(near: matched.rawValue)),
            term: try readTerm()
        )
        return Message.AppendResponse(index: matched, rejection: rejection)
    }

    private mutating func readVote(isTransfer: Bool) throws(FrameError) -> Message.VoteRequest {
        Message.VoteRequest(
            lastIndex: try index(),
            lastTerm: try readTerm(),
            isTransfer: isTransfer
        )
    }

    private mutating func readCommitPoint(
        isThere: Bool
    ) throws(FrameError) -> Message.CommitPoint? {
        guard isThere else { return nil }
        return Message.CommitPoint(index: try index(), term: try readTerm())
    }

    private mutating func readSnapshot(autoLeave: Bool) throws(FrameError) -> Snapshot {
        let last = try index()
        let lastTerm = try readTerm()
        let membership = Membership(
            voters: try readReplicas(),
            outgoingVoters: try readReplicas(),
            learners: try readReplicas(),
            learnersNext: try readReplicas(),
            autoLeave: autoLeave
        )
        return Snapshot(
            metadata: SnapshotMetadata(index: last, term: lastTerm, membership: membership),
            payload: try reader.payload()
        )
    }

    private mutating func readReplicas() throws(FrameError) -> [ReplicaID] {
        let count = try reader.count(ofSize: 1)
        var found: [ReplicaID] = []
        found.reserveCapacity(count)
        var before: UInt64 = 0
        for _ in 0..<count {
            before = try reader.number(near: before)
            found.append(ReplicaID(before))
        }
        return found
    }

    private mutating func readProposals() throws(FrameError) -> [Message.Proposal] {
        let count = try reader.count(ofSize: Self.leastEntryBytes)
        var found: [Message.Proposal] = []
        found.reserveCapacity(count)
        for _ in 0..<count {
            let kind = try entryKind(try reader.byte())
            found.append(Message.Proposal(kind: kind, payload: try reader.payload()))
        }
        return found
    }
}
