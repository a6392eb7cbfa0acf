import Bytes
import Raft
import RaftRuntime

/// A message of a group on the wire, where its body may be missing.
struct WireMessage: ProtobufMessage {
    var group: UInt64 = 0
    var from: UInt64 = 0
    var to: UInt64 = 0
    var term: UInt64 = 0
    var body: Message.Body?

    init() {}

    init(_ message: GroupMessage) {
        group = message.group
        from = message.message.from.rawValue
        to = message.message.to.rawValue
        term = message.message.term.rawValue
        body = message.message.body
    }

    func groupMessage() throws(ProtobufError) -> GroupMessage {
        guard let body else { throw .invalid("a message without a body") }
        let message = Message(
            from: ReplicaID(from),
            to: ReplicaID(to),
            term: Term(term),
            body: body
        )
        return GroupMessage(group: group, message: message)
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, group)
        sink.field(2, from)
        sink.field(3, to)
        sink.field(4, term)
        switch body {
        case .append(let append): sink.field(5, append)
        case .appendResponse(let response): sink.field(6, response)
        case .vote(let request): sink.field(7, request)
        case .voteResponse(let granted, let commit):
            sink.field(8, VoteAnswer(granted: granted, commit: commit))
        case .preVote(let request): sink.field(9, request)
        case .preVoteResponse(let granted, let commit):
            sink.field(10, VoteAnswer(granted: granted, commit: commit))
        case .heartbeat(let heartbeat): sink.field(11, heartbeat)
        case .heartbeatResponse(let round): sink.field(12, Numbers(round))
        case .lostEntries(let last): sink.field(13, Numbers(last.rawValue))
        case .snapshot(let snapshot): sink.field(14, snapshot)
        case .timeoutNow: sink.field(15, Numbers())
        case .transferLeader(let target): sink.field(16, Numbers(target.rawValue))
        case .readIndex(let context): sink.field(17, Numbers(context))
        case .readIndexResponse(let index, let context):
            sink.field(18, Numbers(index.rawValue, context))
        case .propose(let proposals): sink.field(19, Proposals(proposals))
        case nil: break
        }
    }

    /// Of a body given twice the last counts, also when both are of one kind: nobody writes that.
    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&group)
        case 2: field.read(&from)
        case 3: field.read(&to)
        case 4: field.read(&term)
        default: body = try decodeBody(field, &budget) ?? body
        }
    }

    private func decodeBody(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) -> Message.Body? {
        guard case .bytes(let bytes) = field.value else { return nil }
        switch field.number {
        case 5:
            var append = try Message.Append(bytes, &budget)
            append.numberEntries()
            return .append(append)
        case 6: return .appendResponse(try Message.AppendResponse(bytes, &budget))
        case 7: return .vote(try Message.VoteRequest(bytes, &budget))
        case 8:
            let answer = try VoteAnswer(bytes, &budget)
            return .voteResponse(granted: answer.granted, commit: answer.commit)
        case 9: return .preVote(try Message.VoteRequest(bytes, &budget))
        case 10:
            let answer = try VoteAnswer(bytes, &budget)
            return .preVoteResponse(granted: answer.granted, commit: answer.commit)
        case 11: return .heartbeat(try Message.Heartbeat(bytes, &budget))
        case 14: return .snapshot(try Snapshot(bytes, &budget))
        case 19: return .propose(try Proposals(bytes, &budget).proposals)
        case 12, 13, 15...18: return body(field.number, of: try Numbers(bytes, &budget))
        default: return nil
        }
    }

    private func body(_ number: UInt32, of numbers: Numbers) -> Message.Body? {
        switch number {
        case 12: .heartbeatResponse(round: numbers.first)
        case 13: .lostEntries(last: LogIndex(numbers.first))
        case 15: .timeoutNow
        case 16: .transferLeader(to: ReplicaID(numbers.first))
        case 17: .readIndex(context: numbers.first)
        case 18: .readIndexResponse(index: LogIndex(numbers.first), context: numbers.second)
        default: nil
        }
    }
}

extension ProtobufMessage {
    init(_ bytes: ByteSlice, _ budget: inout ProtobufBudget) throws(ProtobufError) {
        self.init()
        try merge(bytes, &budget)
    }
}

/// The messages that are one or two numbers, or nothing.
struct Numbers: ProtobufMessage {
    var first: UInt64 = 0
    var second: UInt64 = 0

    init() {}

    init(_ first: UInt64, _ second: UInt64 = 0) {
        self.first = first
        self.second = second
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, first)
        sink.field(2, second)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&first)
        case 2: field.read(&second)
        default: break
        }
    }
}

private struct Proposals: ProtobufMessage {
    var proposals: [Message.Proposal] = []

    init() {}
    init(_ proposals: [Message.Proposal]) { self.proposals = proposals }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) { sink.field(1, proposals) }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        if field.number == 1 { try field.append(to: &proposals, &budget) }
    }
}
