package import Raft
package import RaftRuntime

// The calls by which replicas talk; see `proto/raft_rpc.proto`.

/// Entries or heartbeats of a leader for any number of groups.
package struct AppendEntriesRequest: ProtobufMessage, Equatable, Sendable {
    package var header: CallHeader = CallHeader()
    package var groups: [GroupAppend] = []

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, header)
        sink.field(2, groups)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&header, &budget)
        case 2: try field.append(to: &groups, &budget)
        default: break
        }
    }
}

/// What a leader has to say to its follower in one group.
package struct GroupAppend: ProtobufMessage, Equatable, Sendable {
    package enum Body: Equatable, Sendable {
        case append(Message.Append)
        case heartbeat(Message.Heartbeat)
    }

    package var route = GroupRoute()
    package var term: UInt64 = 0
    package var body: Body?

    package init() {}

    package init(route: GroupRoute, term: Term, body: Body) {
        self.route = route
        self.term = term.rawValue
        self.body = body
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, route)
        sink.field(2, term)
        switch body {
        case .append(let append): sink.field(3, append)
        case .heartbeat(let heartbeat): sink.field(4, heartbeat)
        case nil: break
        }
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch (field.number, field.value) {
        case (1, _): try field.read(&route, &budget)
        case (2, _): field.read(&term)
        case (3, .bytes(let bytes)):
            var append = try Message.Append(bytes, &budget)
            append.numberEntries()
            body = .append(append)
        case (4, .bytes(let bytes)): body = .heartbeat(try Message.Heartbeat(bytes, &budget))
        default: break
        }
    }
}

/// What the groups answered, in the order they were asked.
package struct AppendEntriesResponse: ProtobufMessage, Equatable, Sendable {
    package var groups: [GroupAppendAnswer] = []

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, groups)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.append(to: &groups, &budget)
        default: break
        }
    }
}

/// What one group answered to its leader.
package struct GroupAppendAnswer: ProtobufMessage, Equatable, Sendable {
    package enum Body: Equatable, Sendable {
        case append(Message.AppendResponse)
        case heartbeat(round: UInt64)
        case failed(RaftCallError)
    }

    package var group: UInt64 = 0
    package var term: UInt64 = 0
    package var body: Body?

    package init() {}

    package init(group: UInt64, term: Term, body: Body) {
        self.group = group
        self.term = term.rawValue
        self.body = body
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, group)
        sink.field(2, term)
        switch body {
        case .append(let response): sink.field(3, response)
        case .heartbeat(let round): sink.field(4, Numbers(round))
        case .failed(let error):
            let status = error.status
            var detail = status.detail ?? ErrorDetail(.none)
            detail.status = status.code.rawValue
            if detail.code == 0 { detail.actualText = status.text }
            sink.field(5, detail)
        case nil: break
        }
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch (field.number, field.value) {
        case (1, _): field.read(&group)
        case (2, _): field.read(&term)
        case (3, .bytes(let bytes)):
            body = .append(try Message.AppendResponse(bytes, &budget))
        case (4, .bytes(let bytes)): body = .heartbeat(round: try Numbers(bytes, &budget).first)
        case (5, .bytes(let bytes)):
            let detail = try ErrorDetail(bytes, &budget)
            body = .failed(RaftCallError(detail.status, detail.actualText, detail))
        default: break
        }
    }
}

/// Asks a replica for its vote.
package struct RequestVoteRequest: ProtobufMessage, Equatable, Sendable {
    package var header: CallHeader = CallHeader()
    package var route: GroupRoute = GroupRoute()
    package var term: UInt64 = 0
    package var vote: Message.VoteRequest = Message.VoteRequest()
    /// Only asks whether it would be granted.
    package var isPreVote: Bool = false

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, header)
        sink.field(2, route)
        sink.field(3, term)
        sink.field(4, vote)
        sink.field(5, isPreVote)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&header, &budget)
        case 2: try field.read(&route, &budget)
        case 3: field.read(&term)
        case 4: try field.read(&vote, &budget)
        case 5: field.read(&isPreVote)
        default: break
        }
    }
}

/// A replica's vote.
package struct RequestVoteResponse: ProtobufMessage, Equatable, Sendable {
    package var term: UInt64 = 0
    package var vote: VoteAnswer = VoteAnswer()

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, term)
        sink.field(2, vote)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&term)
        case 2: try field.read(&vote, &budget)
        default: break
        }
    }
}

/// A piece of a snapshot; in the first message what it is and who offers it.
package struct InstallSnapshotRequest: ProtobufMessage, Equatable, Sendable {
    package var header: CallHeader?
    package var route: GroupRoute?
    package var term: UInt64 = 0
    package var snapshot: Snapshot?
    package var chunk: SnapshotChunk?

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, header)
        sink.field(2, route)
        sink.field(3, term)
        sink.field(4, snapshot)
        sink.field(5, chunk)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&header, &budget)
        case 2: try field.read(&route, &budget)
        case 3: field.read(&term)
        case 4: try field.read(&snapshot, &budget)
        case 5: try field.read(&chunk, &budget)
        default: break
        }
    }
}

/// How far the follower has the snapshot.
package struct InstallSnapshotResponse: ProtobufMessage, Equatable, Sendable {
    package var answer: SnapshotAnswer?
    /// Set once the follower's log is durable through the snapshot.
    package var installed: Message.AppendResponse?
    package var term: UInt64 = 0

    package init() {}

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, answer)
        sink.field(2, installed)
        sink.field(3, term)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&answer, &budget)
        case 2: try field.read(&installed, &budget)
        case 3: field.read(&term)
        default: break
        }
    }
}
