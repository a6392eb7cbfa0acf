import Platform
package import Raft
package import RaftRuntime
import Synchronization

/// Catches what replicas answer to calls on its way to the wire.
///
/// A replica answers by sending a message to whoever asked. For the duration of a call there is a
/// question here, under group, asker and what would answer it; the first message that does goes to
/// the call and not to the wire, for whoever asked by a call listens there. Everything else passes.
///
/// The node gives its replicas this instead of the transport itself, whichever that is.
package final class CallAnswers: RaftTransport {
    private struct Place: Hashable {
        let group: UInt64
        let peer: ReplicaID
    }

    private struct Question: Sendable {
        let isAnsweredBy: @Sendable (ReplicaAnswer) -> Bool
        let answer: Promise<ReplicaAnswer>
    }

    private let wire: any RaftTransport
    private let questions = Mutex<[Place: [Question]]>([:])
    /// Mostly nobody asks: then `send` does not even take the lock.
    private let count = Atomic(0)

    package init(over wire: any RaftTransport) { self.wire = wire }

    package func send(_ frame: PeerFrame, to peer: ReplicaID) {
        guard count.load(ordering: .acquiring) > 0 else { return wire.send(frame, to: peer) }
        switch frame {
        case .messages(let messages):
            let rest = messages.filter { message in
                !take(.message(message.message), Place(group: message.group, peer: peer))
            }
            if !rest.isEmpty { wire.send(.messages(rest), to: peer) }
        case .snapshotAnswer(let answer):
            if !take(.snapshot(answer), Place(group: answer.group, peer: peer)) {
                wire.send(frame, to: peer)
            }
        case .beat, .snapshotChunk, .call, .answer:
            wire.send(frame, to: peer)
        }
    }

    private func take(_ answer: ReplicaAnswer, _ place: Place) -> Bool {
        let asked = questions.withLock { questions -> Question? in
            guard let found = questions[place]?.firstIndex(where: { $0.isAnsweredBy(answer) })
            else { return nil }
            return remove(found, place, from: &questions)
        }
        asked?.answer.keep(.success(answer))
        return asked != nil
    }

    private func remove(
        _ index: Int,
        _ place: Place,
        from questions: inout [Place: [Question]]
    ) -> Question? {
        let question = questions[place]?.remove(at: index)
        if questions[place]?.isEmpty == true { questions[place] = nil }
        count.subtract(1, ordering: .releasing)
        return question
    }

    /// Asks a replica something and waits for what it answers.
    ///
    /// `deliver` hands the question over; it is called when an answer can be taken.
    func ask(
        group: UInt64,
        as peer: ReplicaID,
        within nanoseconds: Int64,
        on loop: EventLoop,
        isAnsweredBy: @escaping @Sendable (ReplicaAnswer) -> Bool,
        deliver: () async throws(RaftCallError) -> Void
    ) async throws(RaftCallError) -> ReplicaAnswer {
        let question = Question(isAnsweredBy: isAnsweredBy, answer: Promise())
        let place = Place(group: group, peer: peer)
        questions.withLock { $0[place, default: []].append(question) }
        count.add(1, ordering: .releasing)
        defer { forget(question, place) }
        let timer = loop.schedule(after: nanoseconds) {
            question.answer.keep(
                .failure(.noAnswer("group \(group) passed over the call, or was too slow"))
            )
        }
        defer { timer.cancel() }
        try await deliver()
        return try await question.answer.value()
    }

    private func forget(_ question: Question, _ place: Place) {
        questions.withLock { questions in
            let index = questions[place]?.firstIndex { $0.answer === question.answer }
            if let index { _ = remove(index, place, from: &questions) }
        }
    }
}

/// What can be the answer to a call.
enum ReplicaAnswer: Sendable, Equatable {
    case message(Message)
    case snapshot(SnapshotAnswer)
}

extension Message {
    /// Whether a message to the same replica's asker answers this one.
    ///
    /// Raft's answers do not name what they answer, but they can be told by what they say: that is
    /// all that the asker would go by, too.
    func isAnswered(by answer: Message) -> Bool {
        guard answer.to == from, answer.term >= term else { return false }
        switch (body, answer.body) {
        case (.append(let append), .appendResponse(let response)):
            if answer.term > term { return true }
            return response.rejection == nil
                ? response.index >= append.previousIndex
                : response.index == append.previousIndex
        case (.heartbeat(let heartbeat), .heartbeatResponse(let round)):
            return heartbeat.round == round
        case (.heartbeat, .appendResponse): return answer.term > term
        case (.heartbeat, .lostEntries): return true
        case (.vote, .voteResponse), (.preVote, .preVoteResponse): return true
        default: return false
        }
    }
}

/// A value somebody waits for, kept once; later ones are passed over.
final class Promise<Value: Sendable>: Sendable {
    private enum State {
        case empty
        case awaited(UnsafeContinuation<Result<Value, RaftCallError>, Never>)
        case kept(Result<Value, RaftCallError>)
    }

    private let state = Mutex(State.empty)

    func keep(_ result: Result<Value, RaftCallError>) {
        let waiting = state.withLock {
            state -> UnsafeContinuation<Result<Value, RaftCallError>, Never>? in
            switch state {
            case .kept: return nil
            case .empty:
                state = .kept(result)
                return nil
            case .awaited(let continuation):
                state = .kept(result)
                return continuation
            }
        }
        waiting?.resume(returning: result)
    }

    /// One waits at a time.
    func value() async throws(RaftCallError) -> Value {
        let result = await withUnsafeContinuation {
            (continuation: UnsafeContinuation<Result<Value, RaftCallError>, Never>) in
            let kept = state.withLock { state -> Result<Value, RaftCallError>? in
                if case .kept(let result) = state { return result }
                state = .awaited(continuation)
                return nil
            }
            if let kept { continuation.resume(returning: kept) }
        }
        return try result.get()
    }
}
