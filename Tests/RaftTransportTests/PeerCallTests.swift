import Bytes
import Platform
import Raft
import RaftRuntime
import Synchronization
import Testing

@testable import RaftTransport

/// Nodes that ask each other over real sockets.
@Suite(.timeLimit(.minutes(10))) struct `Calls over loopback` {
    @Test func `answers come back, small and large, until the peer is gone`() async throws {
        let one = try await Asking(1)
        let two = try await Asking(2)
        let addresses = [one.id: one.address, two.id: two.address]
        for node in [one, two] { node.transport.setPeers(addresses) }
        two.calls.serve { peer, call in
            guard call.operation == 1 else { return nil }
            return ByteSlice([UInt8(peer.rawValue)] + call.wholePayload.array)
        }
        // What waits for a first attempt that fails is lost.
        while (try? await one.ask(two, ByteSlice("first"))) == nil {}
        for size in [0, 1, 1_000, 3_000_000] {
            let payload = ByteSlice((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            let answer = try await one.ask(two, payload)
            #expect(answer == ByteSlice([1] + payload.array))
        }
        await #expect(throws: PeerCallError.refused) { try await one.ask(two, operation: 2) }
        await #expect(throws: PeerCallError.refused) { try await two.ask(one) }
        await two.transport.stop()
        await #expect(throws: PeerCallError.unreachable) { try await one.ask(two) }
        await one.transport.stop()
    }

    @Test func `a peer that hears a call and never answers is waited for no longer than asked`()
        async throws
    {
        let one = try await Asking(1)
        let two = try await Asking(2)
        let addresses = [one.id: one.address, two.id: two.address]
        for node in [one, two] { node.transport.setPeers(addresses) }
        two.calls.serve { _, call in call.wholePayload }
        while (try? await one.ask(two)) == nil {}
        let heard = two.heard
        two.isSilent = true
        let clock = ContinuousClock()
        let waited = await clock.measure {
            await #expect(throws: PeerCallError.timedOut) {
                try await one.ask(two, within: .milliseconds(300))
            }
        }
        #expect(waited >= .milliseconds(300) && two.heard == heard + 1)
        // The connection is as good as before, and what comes too late is nobody's answer.
        two.isSilent = false
        #expect(try await one.ask(two, ByteSlice("again")) == ByteSlice("again"))
        for node in [one, two] { await node.transport.stop() }
    }
}

private final class Asking: RaftTransportDelegate {
    let id: ReplicaID
    let transport: FramedTransport
    let calls: PeerCalls
    private let bound = Mutex(SocketAddress(host: "", port: 0))
    private let silence = Mutex((isKept: false, heard: 0))

    /// Whether calls are heard and left alone.
    var isSilent: Bool {
        get { silence.withLock { $0.isKept } }
        set { silence.withLock { $0.isKept = newValue } }
    }

    /// Calls that arrived.
    var heard: Int { silence.withLock { $0.heard } }

    var address: SocketAddress { bound.withLock { $0 } }

    init(_ number: UInt64) async throws {
        id = ReplicaID(number)
        var configuration = FramedTransportConfiguration(
            identity: .init(cluster: "test", node: id, incarnation: 1),
            listenAddress: SocketAddress(host: "127.0.0.1", port: 0)
        )
        configuration.maxBackoffNanoseconds = .milliseconds(50)
        let transport = FramedTransport(
            configuration,
            loops: Machine.platform.loops,
            generator: Machine.platform.makeGenerator(),
            metrics: MetricsRegistry()
        )
        self.transport = transport
        calls = PeerCalls(
            transport: transport,
            loop: Machine.loop,
            generator: Machine.platform.makeGenerator()
        )
        let address = try await Machine.on { [self] in try transport.start(delegate: self) }
        bound.withLock { $0 = address }
    }

    func ask(
        _ peer: Asking,
        _ payload: ByteSlice = ByteSlice(),
        operation: UInt8 = 1,
        within patience: Int64 = .seconds(30)
    ) async throws -> ByteSlice {
        // From the other loop than that of the calls.
        let (calls, peer) = (calls, peer.id)
        return try await Task(executorPreference: Machine.platform.loops[1]) {
            try await calls.call(peer, operation, payload, within: patience)
        }.value
    }

    func received(_ frame: PeerFrame, from peer: ReplicaID) {
        switch frame {
        case .call(let call):
            let isIgnored = silence.withLock { silence in
                silence.heard += 1
                return silence.isKept
            }
            if !isIgnored { calls.received(call, from: peer) }
        case .answer(let answer): calls.received(answer, from: peer)
        case .messages, .beat, .snapshotChunk, .snapshotAnswer: break
        }
    }

    func peerIsUnreachable(_ peer: ReplicaID) { calls.peerIsUnreachable(peer) }
}
