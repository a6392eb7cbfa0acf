import Bytes
import Platform
import Raft
import RaftRuntime
import Synchronization

/// The server's end of a snapshot sent by a call.
///
/// The offer and each piece are answered by the follower before the next is read: nothing piles up.
final class SnapshotStream: Sendable {
    private struct Offer: Sendable {
        let group: UInt64
        let message: Message
        let metadata: SnapshotMetadata
        let content: UInt64

        var from: ReplicaID { message.from }

        func isAnswered(by answer: ReplicaAnswer) -> Bool {
            switch answer {
            case .snapshot(let answer):
                return answer.index == metadata.index && answer.term == metadata.term
                    && answer.content == content
            case .message(let answer):
                guard case .appendResponse(let response) = answer.body else { return false }
                return answer.term > message.term || response.index >= metadata.index
            }
        }
    }

    private enum Step {
        /// The follower goes on where the pieces do.
        case goesOn
        case ends(InstallSnapshotResponse)
    }

    private let call: ServerCall
    private let service: RaftService
    /// Set with the first message.
    private let offer = Mutex<Offer?>(nil)
    private let lastAnswer = Mutex<SnapshotAnswer?>(nil)

    init(_ call: ServerCall, _ service: RaftService) {
        self.call = call
        self.service = service
    }

    func receive() { service.receive(from: call) { [self] in received($0) } }

    private func received(_ message: Result<InstallSnapshotRequest?, RaftCallError>) {
        switch message {
        case .failure(let error): call.finish(.failure(error))
        case .success(nil): end()
        case .success(let request?):
            let from = request.header?.from ?? offer.withLock { $0?.from.rawValue ?? 0 }
            let loop = service.loop(of: from)
            loop.execute { [self] in
                Task.immediate(executorPreference: loop) {
                    do throws(RaftCallError) {
                        try await take(request, on: loop)
                    } catch {
                        if case .malformed = error { service.malformed.increment() }
                        call.finish(.failure(error))
                    }
                }
            }
        }
    }

    /// The sender stops before the snapshot is complete.
    private func end() {
        guard let answer = lastAnswer.withLock({ $0 }) else {
            return call.finish(.failure(.malformed("nothing was offered")))
        }
        var response = InstallSnapshotResponse()
        response.answer = answer
        call.finish(.success(response.encoded()))
    }

    private func take(
        _ request: InstallSnapshotRequest,
        on loop: EventLoop
    ) async throws(RaftCallError) {
        var step = Step.goesOn
        let offer: Offer
        if let known = self.offer.withLock({ $0 }) {
            guard request.header == nil, request.snapshot == nil, request.chunk != nil else {
                throw .malformed("a piece, and nothing else, is what follows an offer")
            }
            offer = known
        } else {
            offer = try await makeOffer(request)
            self.offer.withLock { $0 = offer }
            step = try await deliver(offer, on: loop, next: request.chunk?.offset)
        }
        if case .goesOn = step, let chunk = request.chunk {
            step = try await deliver(chunk, of: offer, on: loop)
        }
        switch step {
        case .goesOn: receive()
        case .ends(let response): call.finish(.success(response.encoded()))
        }
    }

    /// Who offers what, checked once for the whole call.
    private func makeOffer(
        _ request: InstallSnapshotRequest
    ) async throws(RaftCallError) -> Offer {
        guard let header = request.header, let route = request.route,
            let snapshot = request.snapshot
        else { throw .malformed("a snapshot without header, route and what it is") }
        guard request.term > 0 else { throw .malformed("a leader without a term") }
        guard let content = snapshot.contentID else {
            throw .malformed("a snapshot's payload of \(snapshot.payload.count) bytes, more than 8")
        }
        try await service.check(header, of: call, nodesOnly: true)
        let group = try await service.handler.group(at: route)
        let term = try await service.handler.term(of: group)
        guard request.term >= term.rawValue else {
            throw .raft(.rejected(.notLeader(leader: nil)))
        }
        let message = Message(
            from: ReplicaID(header.from),
            to: service.identity.node,
            term: Term(request.term),
            body: .snapshot(snapshot)
        )
        return Offer(
            group: group,
            message: message,
            metadata: snapshot.metadata,
            content: content
        )
    }

    private func deliver(
        _ offer: Offer,
        on loop: EventLoop,
        next: UInt64?
    ) async throws(RaftCallError) -> Step {
        let message = GroupMessage(group: offer.group, message: offer.message)
        let answer = try await service.answers.ask(
            group: offer.group,
            as: offer.from,
            within: service.patience(for: call),
            on: loop,
            isAnsweredBy: { offer.isAnswered(by: $0) },
            deliver: { () async throws(RaftCallError) in
                try await service.handler.step(message)
            }
        )
        return step(after: answer, next: next)
    }

    private func deliver(
        _ chunk: SnapshotChunk,
        of offer: Offer,
        on loop: EventLoop
    ) async throws(RaftCallError) -> Step {
        var piece = chunk
        piece.group = offer.group
        piece.index = offer.metadata.index
        piece.term = offer.metadata.term
        piece.content = offer.content
        let end = piece.offset &+ UInt64(piece.bytes.count)
        let isLast = piece.isLast
        let delivered = piece
        let answer = try await service.answers.ask(
            group: offer.group,
            as: offer.from,
            within: isLast ? service.installPatience(for: call) : service.patience(for: call),
            on: loop,
            isAnsweredBy: { answer in
                // That the last piece is there says less than that the whole is installed.
                if isLast, case .snapshot(let taken) = answer, taken.received == end,
                    !taken.isRefused
                {
                    return false
                }
                return offer.isAnswered(by: answer)
            },
            deliver: { () async throws(RaftCallError) in
                service.delegate.received(.snapshotChunk(delivered), from: offer.from)
            }
        )
        return step(after: answer, next: end)
    }

    /// What follows from an answer, if the next piece is the one at `next`.
    private func step(after answer: ReplicaAnswer, next: UInt64?) -> Step {
        var response = InstallSnapshotResponse()
        switch answer {
        case .snapshot(let taken):
            lastAnswer.withLock { $0 = taken }
            if !taken.isRefused, let next, taken.received == next { return .goesOn }
            response.answer = taken
        case .message(let message):
            response.term = message.term.rawValue
            if case .appendResponse(let installed) = message.body {
                response.installed = installed
            }
        }
        return .ends(response)
    }
}
