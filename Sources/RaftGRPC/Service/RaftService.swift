package import Bytes
package import Platform
package import Raft
package import RaftRuntime
import Synchronization

/// Who a node is, to those it calls and those that call it.
package struct ServiceIdentity: Sendable, Equatable {
    package let cluster: String
    package let node: ReplicaID
    /// When this process started, in nanoseconds of the wall clock; 0 if it does not say.
    package let incarnation: UInt64

    package init(cluster: String, node: ReplicaID, incarnation: UInt64 = 0) {
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
    }

    /// What calls of a node start with.
    package func header(to peer: ReplicaID) -> CallHeader {
        CallHeader(
            clusterID: cluster,
            from: node.rawValue,
            to: peer.rawValue,
            incarnation: incarnation
        )
    }
}

/// The calls of `proto/raft_rpc.proto`, on their way from gRPC to the node and back.
///
/// gRPC's thread decodes a call and hands it to an event loop, where it is a task of its own.
package final class RaftService: Sendable {
    enum Method: String, CaseIterable {
        case appendEntries = "/chronik.raft.RaftService/AppendEntries"
        case requestVote = "/chronik.raft.RaftService/RequestVote"
        case installSnapshot = "/chronik.raft.RaftService/InstallSnapshot"
        case readIndex = "/chronik.raft.RaftService/ReadIndex"
        case queryMetadata = "/chronik.raft.RaftService/QueryMetadata"
        case forwardWrite = "/chronik.raft.RaftService/ForwardWrite"
        case stream = "/chronik.raft.RaftService/Stream"
    }

    /// Throws unless a node's certificate, PEM, is what was shown.
    package typealias Vouch = @Sendable (ByteSlice?, ReplicaID) throws -> Void

    let identity: ServiceIdentity
    let handler: any RaftServiceHandler
    let answers: CallAnswers
    let delegate: any RaftTransportDelegate
    private let vouch: Vouch?
    /// Told of a node that has opened a stream.
    let onArrival: @Sendable (ReplicaID) -> Void
    let lives = NodeLives()
    private let loops: [EventLoop]
    private let nextLoop = Atomic(0)
    private let answerTimeout: Int64
    private let installTimeout: Int64
    let malformed: Counter
    let oversized: Counter
    private let refused: Counter

    /// Makes the service of a node.
    ///
    /// - Parameters:
    ///   - identity: Who the node is.
    ///   - handler: What it does for callers.
    ///   - answers: What the replicas send through, so that calls hear what they answer.
    ///   - delegate: Whom the transport would tell what arrived.
    ///   - vouch: Asked whether a caller may call itself the node that it does.
    ///   - onArrival: Told of a node that has opened a stream.
    ///   - metrics: Where refused calls are counted.
    ///   - loops: Where calls are worked on.
    ///   - answerTimeout: How long a replica may take to answer, in nanoseconds; Raft passes over
    ///     much in silence.
    ///   - installTimeout: How long it may take to make a snapshot its state.
    package init(
        identity: ServiceIdentity,
        handler: any RaftServiceHandler,
        answers: CallAnswers,
        delegate: any RaftTransportDelegate,
        vouch: Vouch? = nil,
        onArrival: @escaping @Sendable (ReplicaID) -> Void = { _ in },
        metrics: MetricsRegistry = MetricsRegistry(),
        loops: [EventLoop],
        answerTimeout: Int64 = .seconds(2),
        installTimeout: Int64 = .seconds(60)
    ) {
        precondition(!loops.isEmpty, "a service without a loop")
        self.identity = identity
        self.handler = handler
        self.answers = answers
        self.delegate = delegate
        self.vouch = vouch
        self.onArrival = onArrival
        malformed = metrics.counter(
            "raft_calls_malformed_total",
            "Messages of calls on the Raft port that made no sense."
        )
        oversized = metrics.counter(
            "raft_calls_oversized_total",
            "Messages of calls on the Raft port refused for their length."
        )
        refused = metrics.counter(
            "raft_calls_refused_total",
            "Calls and streams refused for who makes them or whom they are meant for."
        )
        self.loops = loops
        self.answerTimeout = answerTimeout
        self.installTimeout = installTimeout
    }

    /// Frames of one peer stay on one loop, and so in order.
    func loop(of peer: UInt64) -> EventLoop { loops[Int(peer % UInt64(loops.count))] }

    // MARK: On gRPC's thread

    func serve(_ call: ServerCall) {
        switch Method(rawValue: call.path) {
        case .appendEntries: answer(call, appendEntries)
        case .requestVote: answer(call, requestVote)
        case .installSnapshot: SnapshotStream(call, self).receive()
        case .readIndex: answer(call, readIndex)
        case .queryMetadata: answer(call, queryMetadata)
        case .forwardWrite: answer(call, forwardWrite)
        case .stream: FrameStream(call, self).receive()
        case nil: call.finish(.failure(.notSupported("no method \(call.path)")))
        }
    }

    /// How long an answer may take.
    func patience(for call: ServerCall) -> Int64 {
        max(0, min(answerTimeout, call.nanosecondsLeft))
    }

    /// How long a whole snapshot may take to become the state.
    func installPatience(for call: ServerCall) -> Int64 {
        max(0, min(installTimeout, call.nanosecondsLeft))
    }

    /// Waits for the next message of a call; `nil` once its caller has no more.
    func receive<Request: ProtobufMessage & SendableMetatype>(
        from call: ServerCall,
        _ take: @escaping @Sendable (Result<Request?, RaftCallError>) -> Void
    ) {
        call.receive { [self] bytes in
            guard let bytes else { return take(.success(nil)) }
            do throws(ProtobufError) {
                take(.success(try Request(protobuf: bytes)))
            } catch {
                malformed.increment()
                take(.failure(RaftCallError(error)))
            }
        }
    }

    private func answer<
        Request: ProtobufMessage & Sendable,
        Answer: ProtobufMessage & SendableMetatype
    >(
        _ call: ServerCall,
        _ body:
            @escaping @Sendable (Request, Work) async throws(RaftCallError) -> Answer
    ) {
        receive(from: call) { [self] (message: Result<Request?, RaftCallError>) in
            switch message {
            case .failure(let error): call.finish(.failure(error))
            case .success(nil):
                // Not counted: whoever hangs up before asking looks the same.
                call.finish(.failure(.malformed("a call without a request")))
            case .success(let request?):
                let turn = nextLoop.add(1, ordering: .relaxed).newValue
                let loop = loops[Int(UInt(bitPattern: turn) % UInt(loops.count))]
                run(call, on: loop) { work async throws(RaftCallError) in
                    try await body(request, work).encoded()
                }
            }
        }
    }

    /// A call being worked on: on which loop, and for how long at most.
    struct Work: Sendable {
        let call: ServerCall
        let loop: EventLoop
        let patience: Int64
    }

    func run(
        _ call: ServerCall,
        on loop: EventLoop,
        _ body: @escaping @Sendable (Work) async throws(RaftCallError) -> ByteRope
    ) {
        loop.execute { [self] in
            // Nobody waits any more: do not begin.
            guard !call.isOver else { return call.finish(.failure(.cancelled)) }
            let work = Work(call: call, loop: loop, patience: patience(for: call))
            Task.immediate(executorPreference: loop) {
                let result: Result<ByteRope, RaftCallError>
                do throws(RaftCallError) {
                    result = .success(try await body(work))
                } catch {
                    result = .failure(error)
                }
                call.finish(result)
            }
        }
    }

    // MARK: Who calls

    /// Refuses calls meant for others, and of nodes that are none of ours.
    func check(
        _ header: CallHeader,
        of call: ServerCall,
        nodesOnly: Bool = false
    ) async throws(RaftCallError) {
        do throws(RaftCallError) {
            try await admit(header, of: call, nodesOnly: nodesOnly)
        } catch {
            refused.increment()
            throw error
        }
    }

    private func admit(
        _ header: CallHeader,
        of call: ServerCall,
        nodesOnly: Bool
    ) async throws(RaftCallError) {
        guard header.clusterID == identity.cluster else {
            throw .wrongCluster(theirs: header.clusterID, ours: identity.cluster)
        }
        guard header.to == 0 || header.to == identity.node.rawValue else {
            throw .wrongNode(asked: header.to, this: identity.node.rawValue)
        }
        guard header.from != 0 else {
            if nodesOnly { throw .unknownNode(0) }
            return
        }
        guard header.from != identity.node.rawValue else { throw .duplicateNode(header.from) }
        try await handler.admit(ReplicaID(header.from))
        do {
            try vouch?(call.certificate, ReplicaID(header.from))
        } catch {
            throw .status(code: StatusCode.unauthenticated.rawValue, text: "\(error)")
        }
        try lives.check(header)
    }
}

/// Which life each node is in, as far as its open streams tell.
///
/// Two processes under one node id are told apart by when they started. The later one counts, for
/// as long as it has a stream here: a clock set back must not lock a node out for good.
final class NodeLives: Sendable {
    private struct Life {
        var incarnation: UInt64
        var streams: Int
    }

    private let lives = Mutex<[UInt64: Life]>([:])

    func check(_ header: CallHeader) throws(RaftCallError) {
        let latest = lives.withLock { $0[header.from]?.incarnation }
        if let latest, header.incarnation != 0, header.incarnation < latest {
            throw .oldIncarnation(
                node: header.from,
                theirs: header.incarnation,
                latest: latest
            )
        }
    }

    func opened(_ header: CallHeader) {
        guard header.incarnation != 0 else { return }
        lives.withLock { lives in
            var life = lives[header.from] ?? Life(incarnation: header.incarnation, streams: 0)
            if life.incarnation != header.incarnation {
                life = Life(incarnation: header.incarnation, streams: 0)
            }
            life.streams += 1
            lives[header.from] = life
        }
    }

    func closed(_ header: CallHeader) {
        guard header.incarnation != 0 else { return }
        lives.withLock { lives in
            guard var life = lives[header.from], life.incarnation == header.incarnation else {
                return
            }
            life.streams -= 1
            lives[header.from] = life.streams > 0 ? life : nil
        }
    }
}
