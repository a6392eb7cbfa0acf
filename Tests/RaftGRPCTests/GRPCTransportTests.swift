import Bytes
import Platform
import Raft
import RaftRuntime
import Synchronization
import Testing

@testable import RaftGRPC
@testable import grpc_probe

/// Nodes in one process over loopback; one loop each.
@Suite(.serialized) struct GRPCTransportTests {
    private static let platform = RealPlatform(loopCount: 3)
    private static let orders = ProbeGroup("orders", 0, group: 7, voters: [1, 2, 3])

    private static func node(
        _ id: UInt64,
        _ groups: [ProbeGroup],
        ticks: Int = 20
    ) async throws -> ProbeNode {
        let loop = platform.loops[Int(id) - 1]
        return try await on(loop) {
            var config = RaftConfig()
            config.electionTicks = ticks
            return try ProbeNode(
                id,
                members: [1, 2, 3],
                groups: groups,
                platform: platform,
                loop: loop,
                config: config
            )
        }
    }

    /// Whoever comes to lead group 7, and one who follows it.
    private static func leader(
        among nodes: [ProbeNode]
    ) async throws -> (leader: ProbeNode, follower: ProbeNode) {
        while true {
            for node in nodes where try await on(node.loop, { node.info(7)?.isLeader ?? false }) {
                let other = nodes.first { $0.id != node.id }
                return (node, try #require(other))
            }
            await Task.yield()
        }
    }

    private func address(_ node: ProbeNode) throws -> SocketAddress {
        let any = SocketAddress(host: "127.0.0.1", port: 0)
        return SocketAddress(host: "127.0.0.1", port: try node.server.listen(on: any))
    }

    private static func write(_ key: String) -> ForwardWriteRequest {
        var request = ForwardWriteRequest()
        request.header = CallHeader(clusterID: ProbeNode.cluster, from: 0)
        request.route = GroupRoute(group: 7)
        request.payload = MemoryStateMachine.Command.set(key: key, value: "v").encoded
        return request
    }

    @Test(.timeLimit(.minutes(10)))
    func `three nodes elect a leader and commit over gRPC alone`() async throws {
        var nodes: [ProbeNode] = []
        for id: UInt64 in 1...3 { nodes.append(try await Self.node(id, [Self.orders])) }
        var addresses: [UInt64: SocketAddress] = [:]
        for node in nodes { addresses[node.id.rawValue] = try address(node) }
        for node in nodes {
            node.connect(addresses.filter { $0.key != node.id.rawValue })
        }
        let (leader, follower) = try await Self.leader(among: nodes)
        let client = RaftServiceClient(at: try #require(addresses[leader.id.rawValue]))
        var last = ForwardWriteResponse()
        for number in 0..<100 {
            last = try await client.forwardWrite(Self.write("k\(number)"), within: .seconds(10))
        }
        // Who does not lead says who does.
        let other = RaftServiceClient(at: try #require(addresses[follower.id.rawValue]))
        await #expect(throws: RaftCallError.raft(.notLeader(leader: leader.id))) {
            try await other.forwardWrite(Self.write("x"), within: .seconds(10))
        }
        // A later write is committed only with what came before it, and so it is everywhere soon.
        for node in nodes {
            let wanted = last.index
            var applied: UInt64 = 0
            while applied < wanted {
                applied = try await on(node.loop) { node.info(7)?.applied.rawValue ?? 0 }
                await Task.yield()
            }
            #expect(try await on(node.loop) { node.states[7]?.values.count } == 100)
        }
        for node in nodes { node.stop() }
    }

    @Test(.timeLimit(.minutes(10)))
    func `frames of each stream arrive in order and unchanged`() async throws {
        let sink = FrameLog()
        let (server, port) = try serve(sink)
        let loop = Self.platform.loops[1]
        let transport = GRPCTransport(identity: Self.identity(2), loop: loop)
        transport.start(delegate: sink)
        transport.setPeers([ReplicaID(1): SocketAddress(host: "127.0.0.1", port: port)])
        var draw = RandomFrames(seed: 11)
        var sent: [PeerFrame] = []
        for _ in 0..<1_000 { sent.append(draw.frame()) }
        for frame in sent { transport.send(frame, to: ReplicaID(1)) }
        for stream in PeerFrame.Stream.allCases {
            let expected = flat(sent.filter { $0.stream == stream })
            while sink.flat(stream).count < expected.count { await Task.yield() }
            #expect(sink.flat(stream) == expected)
        }
        #expect(transport.droppedFrames == 0)
        transport.stop()
        server.stop()
        #expect(server.callCount == 0)
    }

    @Test(.timeLimit(.minutes(10)))
    func `nobody there is reported, and the peer is reached once it is there`() async throws {
        let sink = FrameLog()
        let (first, port) = try serve(sink)
        first.stop()
        let transport = GRPCTransport(identity: Self.identity(2), loop: Self.platform.loops[1])
        transport.start(delegate: sink)
        let peer = ReplicaID(1)
        transport.setPeers([peer: SocketAddress(host: "127.0.0.1", port: port)])
        let beat = PeerFrame.beat(NodeBeat(sequence: 1, answered: 0, incarnation: 1))
        transport.send(beat, to: peer)
        while sink.unreachable.isEmpty { await Task.yield() }
        #expect(sink.unreachable.allSatisfy { $0 == peer })
        let (second, _) = try serve(sink, port: port)
        while sink.flat(.liveness).isEmpty {
            transport.send(beat, to: peer)
            await Task.yield()
        }
        transport.stop()
        second.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `the first frame to a peer that has just called arrives, however often it was not there`()
        async throws
    {
        let sink = FrameLog()
        let (first, port) = try serve(sink)
        first.stop()
        let transport = GRPCTransport(identity: Self.identity(2), loop: Self.platform.loops[1])
        transport.start(delegate: sink)
        let peer = ReplicaID(1)
        transport.setPeers([peer: SocketAddress(host: "127.0.0.1", port: port)])
        let beat = PeerFrame.beat(NodeBeat(sequence: 1, answered: 0, incarnation: 1))
        for _ in 0..<3 {
            let known = sink.unreachable.count
            transport.send(beat, to: peer)
            while sink.unreachable.count == known { await Task.yield() }
        }
        let (second, _) = try serve(sink, port: port)
        let dropped = transport.droppedFrames
        transport.peerIsAlive(peer)
        transport.send(beat, to: peer)
        while sink.flat(.liveness).isEmpty, transport.droppedFrames == dropped {
            await Task.yield()
        }
        #expect(sink.flat(.liveness) == [beat] && transport.droppedFrames == dropped)
        transport.stop()
        second.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `a refused stream names both clusters and is not hammered`() async throws {
        let metrics = MetricsRegistry()
        let sink = FrameLog()
        let (server, port) = try serve(sink, metrics: metrics)
        let refusals = Mutex<[RaftCallError]>([])
        var configuration = GRPCTransport.Configuration()
        configuration.refusalPause = .seconds(3_600)
        let transport = GRPCTransport(
            identity: ServiceIdentity(cluster: "another", node: ReplicaID(2)),
            loop: Self.platform.loops[1],
            configuration: configuration,
            onFailure: { _, error in refusals.withLock { $0.append(error) } }
        )
        transport.start(delegate: sink)
        let peer = ReplicaID(1)
        transport.setPeers([peer: SocketAddress(host: "127.0.0.1", port: port)])
        let beat = PeerFrame.beat(NodeBeat(sequence: 1, answered: 0, incarnation: 1))
        transport.send(beat, to: peer)
        while refusals.withLock({ $0.isEmpty }) { await Task.yield() }
        let dropped = transport.droppedFrames
        for _ in 0..<100 { transport.send(beat, to: peer) }
        #expect(transport.droppedFrames == dropped + 100)
        let reason = RaftCallError.wrongCluster(theirs: "another", ours: ProbeNode.cluster)
        #expect(refusals.withLock { $0 } == [reason] && sink.flat(.liveness).isEmpty)
        transport.stop()
        server.stop()
        let counted = metrics.prometheusText().split(separator: "\n").first {
            $0.hasPrefix("raft_calls_refused_total ")
        }
        #expect(try #require(counted) != "raft_calls_refused_total 0")
    }

    @Test(.timeLimit(.minutes(10)))
    func `a queue that is full drops and reports`() async throws {
        let sink = FrameLog()
        var configuration = GRPCTransport.Configuration()
        configuration.maxQueuedBytes = 100_000
        let transport = GRPCTransport(
            identity: Self.identity(2),
            loop: Self.platform.loops[1],
            configuration: configuration
        )
        transport.start(delegate: sink)
        let peer = ReplicaID(1)
        // It takes connections and never says a word on them.
        let silent = try await on(Self.platform.loops[0]) {
            try Self.platform.loops[0].listen(SocketAddress(host: "127.0.0.1", port: 0))
        }
        let port = try await on(Self.platform.loops[0]) { silent.address.port }
        transport.setPeers([peer: SocketAddress(host: "127.0.0.1", port: port)])
        let content = [UInt8](repeating: 1, count: 9_000)
        let message = Message(
            from: ReplicaID(2),
            to: peer,
            term: Term(1),
            body: .propose([Message.Proposal(payload: RaftPayload(copying: content))])
        )
        let frame = PeerFrame.messages([GroupMessage(group: 1, message: message)])
        for _ in 0..<100 { transport.send(frame, to: peer) }
        #expect(transport.droppedFrames >= 80)
        while sink.unreachable.isEmpty { await Task.yield() }
        transport.stop()
        try await on(Self.platform.loops[0]) { silent.close() }
    }

    @Test(.timeLimit(.minutes(10)))
    func `a snapshot sent by a call becomes the follower's state`() async throws {
        let orders = ProbeGroup("orders", 1, group: 9, voters: [])
        let node = try await Self.node(1, [orders], ticks: 100_000)
        let client = RaftServiceClient(at: try address(node))
        var writer = ByteWriter()
        writer.write(UInt32(1))
        for text in ["key", "value"] {
            writer.write(UInt32(text.utf8.count))
            writer.write(utf8: text)
        }
        let content = writer.finishContiguous()
        let metadata = SnapshotMetadata(
            index: LogIndex(50),
            term: Term(3),
            membership: Membership(voters: [1, 2].map { ReplicaID($0) })
        )
        var offset = 0
        let answer = try await client.installSnapshot(
            CallHeader(clusterID: ProbeNode.cluster, from: 2),
            GroupRoute(topic: "orders", partition: 1),
            term: Term(4),
            metadata,
            within: .seconds(20)
        ) {
            guard offset < content.count else { return nil }
            let piece = content.dropFirst(offset).prefix(5)
            defer { offset += piece.count }
            return SnapshotChunk(
                group: 0,
                index: .zero,
                term: .zero,
                content: 0,
                offset: UInt64(offset),
                bytes: piece,
                isLast: offset + piece.count == content.count
            )
        }
        #expect(answer.installed?.index == LogIndex(50) && answer.term == 4)
        #expect(try await on(node.loop) { node.states[9]?.values } == ["key": "value"])
        node.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `a server that stops ends its calls, and late answers harm nobody`() async throws {
        let node = try await Self.node(1, [Self.orders], ticks: 100_000)
        let client = RaftServiceClient(at: try address(node))
        var request = RequestVoteRequest()
        request.header = CallHeader(clusterID: ProbeNode.cluster, from: 2)
        request.route = GroupRoute(group: 7)
        request.term = 5
        // A vote the replica will not answer: it has a leader.
        var append = AppendEntriesRequest()
        append.header = request.header
        append.groups = [
            GroupAppend(
                route: request.route,
                term: Term(2),
                body: .append(Message.Append())
            )
        ]
        _ = try await client.appendEntries(append, within: .seconds(10))
        let vote = request
        let failure = Task { () -> RaftCallError? in
            do throws(RaftCallError) {
                _ = try await client.requestVote(vote, within: .seconds(30))
                return nil
            } catch {
                return error
            }
        }
        while node.server.callCount == 0 { await Task.yield() }
        node.stop()
        let error = await failure.value
        switch error {
        case .raft(.stopped), .unreachable, .cancelled, .noAnswer: break
        default: Issue.record("\(String(describing: error))")
        }
    }

    // MARK: Parts

    private static func identity(_ node: UInt64) -> ServiceIdentity {
        ServiceIdentity(cluster: ProbeNode.cluster, node: ReplicaID(node), incarnation: 5)
    }

    private func serve(
        _ sink: FrameLog,
        port: UInt16 = 0,
        metrics: MetricsRegistry = MetricsRegistry()
    ) throws -> (GRPCServer, UInt16) {
        let service = RaftService(
            identity: Self.identity(1),
            handler: Strangers(),
            answers: CallAnswers(over: NoWire()),
            delegate: sink,
            metrics: metrics,
            loops: [Self.platform.loops[0]]
        )
        let server = GRPCServer(service)
        return (server, try server.listen(on: SocketAddress(host: "127.0.0.1", port: port)))
    }
}

/// Messages one by one, however they were put into frames.
private func flat(_ frames: [PeerFrame]) -> [PeerFrame] {
    frames.flatMap { frame -> [PeerFrame] in
        if case .messages(let messages) = frame { return messages.map { .messages([$0]) } }
        return [frame]
    }
}

/// Remembers what it was told.
private final class FrameLog: RaftTransportDelegate {
    private let frames = Mutex<[PeerFrame]>([])
    private let lost = Mutex<[ReplicaID]>([])

    var unreachable: [ReplicaID] { lost.withLock { $0 } }

    func flat(_ stream: PeerFrame.Stream) -> [PeerFrame] {
        RaftGRPCTests.flat(frames.withLock { $0.filter { $0.stream == stream } })
    }

    func received(_ frame: PeerFrame, from peer: ReplicaID) { frames.withLock { $0.append(frame) } }
    func peerIsUnreachable(_ peer: ReplicaID) { lost.withLock { $0.append(peer) } }
}

private final class NoWire: RaftTransport {
    func send(_ frame: PeerFrame, to peer: ReplicaID) {}
}

/// Knows every node, and no group.
private final class Strangers: RaftServiceHandler {
    func admit(_ node: ReplicaID) async throws(RaftCallError) {}
    func group(at route: GroupRoute) async throws(RaftCallError) -> UInt64 {
        throw .unknownPartition(route.topic)
    }
    func term(of group: UInt64) async throws(RaftCallError) -> Term { .zero }
    func step(_ message: GroupMessage) async throws(RaftCallError) {}
    func readIndex(of group: UInt64) async throws(RaftCallError) -> ReadIndexResponse {
        ReadIndexResponse()
    }
    func write(
        _ payload: ByteSlice,
        to group: UInt64
    ) async throws(RaftCallError) -> ForwardWriteResponse { ForwardWriteResponse() }
    func metadata(
        _ request: QueryMetadataRequest
    ) async throws(RaftCallError) -> QueryMetadataResponse { QueryMetadataResponse() }
}
