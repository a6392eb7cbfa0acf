import Bytes
import Raft
import RaftRuntime

// What each call does.
extension RaftService {
    func appendEntries(
        _ request: AppendEntriesRequest,
        _ work: Work
    ) async throws(RaftCallError) -> AppendEntriesResponse {
        try await check(request.header, of: work.call, nodesOnly: true)
        var response = AppendEntriesResponse()
        response.groups = Array(repeating: GroupAppendAnswer(), count: request.groups.count)
        let from = ReplicaID(request.header.from)
        // All are asked before any is waited for: their logs are written together.
        await withTaskGroup(of: (Int, GroupAppendAnswer).self) { group in
            for (place, append) in request.groups.enumerated() {
                group.addTask(executorPreference: work.loop) { [self] in
                    (place, await answer(append, from: from, work))
                }
            }
            for await (place, answer) in group { response.groups[place] = answer }
        }
        return response
    }

    private func answer(
        _ append: GroupAppend,
        from leader: ReplicaID,
        _ work: Work
    ) async -> GroupAppendAnswer {
        var group = append.route.group ?? 0
        do throws(RaftCallError) {
            guard append.term > 0 else { throw .malformed("a leader without a term") }
            group = try await handler.group(at: append.route)
            let term = try await handler.term(of: group)
            let body: Message.Body
            switch append.body {
            case .append(let append): body = .append(append)
            case .heartbeat(let heartbeat) where heartbeat.quiesce:
                throw .malformed("a heartbeat that silences its group is never answered")
            case .heartbeat(let heartbeat): body = .heartbeat(heartbeat)
            case nil: throw .malformed("neither entries nor a heartbeat for group \(group)")
            }
            guard append.term >= term.rawValue else {
                let stale = Message.AppendResponse(index: .zero)
                return GroupAppendAnswer(group: group, term: term, body: .append(stale))
            }
            let question = Message(
                from: leader,
                to: identity.node,
                term: Term(append.term),
                body: body
            )
            let answer = try await ask(question, of: group, work)
            return GroupAppendAnswer(
                group: group,
                term: answer.term,
                body: try GroupAppendAnswer.Body(answer.body)
            )
        } catch {
            return GroupAppendAnswer(group: group, term: .zero, body: .failed(error))
        }
    }

    func requestVote(
        _ request: RequestVoteRequest,
        _ work: Work
    ) async throws(RaftCallError) -> RequestVoteResponse {
        try await check(request.header, of: work.call, nodesOnly: true)
        guard request.term > 0 else { throw .malformed("a candidate without a term") }
        let group = try await handler.group(at: request.route)
        var response = RequestVoteResponse()
        let term = try await handler.term(of: group)
        // To a candidate of an earlier term a replica says nothing: here is its term, then.
        guard request.term >= term.rawValue else {
            response.term = term.rawValue
            return response
        }
        let question = Message(
            from: ReplicaID(request.header.from),
            to: identity.node,
            term: Term(request.term),
            body: request.isPreVote ? .preVote(request.vote) : .vote(request.vote)
        )
        let answer = try await ask(question, of: group, work)
        response.term = answer.term.rawValue
        switch answer.body {
        case .voteResponse(let granted, let commit), .preVoteResponse(let granted, let commit):
            response.vote = VoteAnswer(granted: granted, commit: commit)
        default: throw .status(code: StatusCode.internal.rawValue, text: "\(answer)")
        }
        return response
    }

    private func ask(
        _ question: Message,
        of group: UInt64,
        _ work: Work
    ) async throws(RaftCallError) -> Message {
        let answer = try await answers.ask(
            group: group,
            as: question.from,
            within: work.patience,
            on: work.loop,
            isAnsweredBy: { answer in
                if case .message(let message) = answer {
                    question.isAnswered(by: message)
                } else {
                    false
                }
            },
            deliver: { () async throws(RaftCallError) in
                try await handler.step(GroupMessage(group: group, message: question))
            }
        )
        guard case .message(let message) = answer else {
            throw .status(code: StatusCode.internal.rawValue, text: "\(answer)")
        }
        return message
    }

    func readIndex(
        _ request: ReadIndexRequest,
        _ work: Work
    ) async throws(RaftCallError) -> ReadIndexResponse {
        try await check(request.header, of: work.call)
        return try await handler.readIndex(of: try await handler.group(at: request.route))
    }

    func queryMetadata(
        _ request: QueryMetadataRequest,
        _ work: Work
    ) async throws(RaftCallError) -> QueryMetadataResponse {
        try await check(request.header, of: work.call)
        return try await handler.metadata(request)
    }

    func forwardWrite(
        _ request: ForwardWriteRequest,
        _ work: Work
    ) async throws(RaftCallError) -> ForwardWriteResponse {
        try await check(request.header, of: work.call)
        guard !request.payload.isEmpty else { throw .malformed("nothing to write") }
        let group = try await handler.group(at: request.route)
        return try await handler.write(request.payload, to: group)
    }
}

extension GroupAppendAnswer.Body {
    fileprivate init(_ body: Message.Body) throws(RaftCallError) {
        switch body {
        case .appendResponse(let response): self = .append(response)
        case .heartbeatResponse(let round): self = .heartbeat(round: round)
        case .lostEntries(let last):
            throw .status(
                code: StatusCode.dataLoss.rawValue,
                text: "the follower has lost entries; its log ends at \(last)"
            )
        default: throw .status(code: StatusCode.internal.rawValue, text: "\(body)")
        }
    }
}
