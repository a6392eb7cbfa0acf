import Bytes
import Platform
import Raft
import Simulator
import Testing

@testable import RaftRuntime

/// Nodes that ask each other, in virtual time.
@Suite struct PeerCallsTests {
    private static let operation: UInt8 = 7

    /// What a call came to, once it did.
    private final class Asked: @unchecked Sendable {
        // Unchecked: the simulation runs on one thread.
        var result: Result<ByteSlice, PeerCallError>?
        /// Whether the caller went on where it was.
        var isOnItsLoop = false
    }

    private static func ask(
        _ peer: SimulatedNode,
        from node: SimulatedNode,
        on loop: Int = 0,
        _ payload: ByteSlice = ByteSlice("question"),
        operation: UInt8 = operation,
        milliseconds: Int64 = 1_000
    ) throws -> Asked {
        let asked = Asked()
        let calls = try #require(node.calls)
        let home = try #require(node.platform?.loops[loop])
        let id = peer.id
        Task(executorPreference: home) {
            do throws(PeerCallError) {
                let answer = try await calls.call(
                    id,
                    operation,
                    payload,
                    within: .milliseconds(milliseconds)
                )
                asked.result = .success(answer)
            } catch {
                asked.result = .failure(error)
            }
            asked.isOnItsLoop = home.isCurrent
        }
        return asked
    }

    /// Answers with the operation, who asked and the question.
    private static func serve(_ node: SimulatedNode, _ seen: Seen = Seen()) {
        node.calls?.serve { peer, call in
            seen.calls.append(call)
            guard call.operation == operation else { return nil }
            return ByteSlice([call.operation, UInt8(peer.rawValue)] + call.wholePayload.array)
        }
    }

    private final class Seen: @unchecked Sendable {
        // Unchecked: the simulation runs on one thread.
        var calls: [PeerCall] = []
    }

    private static func pair(
        seed: UInt64 = 1,
        loops: Int = 1
    ) throws -> (
        Cluster, SimulatedNode, SimulatedNode
    ) {
        let cluster = try Cluster(2, seed: seed, loops: loops)
        return (cluster, cluster.nodes[0], cluster.nodes[1])
    }

    @Test(arguments: 1...5)
    func `whoever asks is answered, on the loop it asked from`(_ seed: UInt64) throws {
        let (cluster, one, two) = try Self.pair(seed: seed, loops: 3)
        Self.serve(one)
        Self.serve(two)
        cluster.run(10)
        var asked: [(Asked, ByteSlice)] = []
        for number in 0..<60 {
            let (from, to) = number % 2 == 0 ? (one, two) : (two, one)
            let question = ByteSlice([UInt8(number)])
            let expected = ByteSlice([Self.operation, UInt8(from.id.rawValue), UInt8(number)])
            asked.append((try Self.ask(to, from: from, on: number % 3, question), expected))
        }
        #expect(cluster.run(900) { asked.allSatisfy { $0.0.result != nil } })
        for (call, expected) in asked {
            #expect(call.result == .success(expected))
            #expect(call.isOnItsLoop)
        }
    }

    @Test func `calls are refused before the peer serves, and unknown operations always`() throws {
        let (cluster, one, two) = try Self.pair()
        let early = try Self.ask(two, from: one)
        #expect(cluster.run(500) { early.result != nil })
        #expect(early.result == .failure(.refused))
        Self.serve(two)
        cluster.run(10)
        let unknown = try Self.ask(two, from: one, operation: 200)
        let known = try Self.ask(two, from: one)
        #expect(cluster.run(500) { unknown.result != nil && known.result != nil })
        #expect(unknown.result == .failure(.refused))
        #expect(known.result == .success(ByteSlice([7, 1] + Array("question".utf8))))
    }

    @Test func `a lost question and a lost answer time out`() throws {
        let (cluster, one, two) = try Self.pair()
        let seen = Seen()
        Self.serve(two, seen)
        for (from, to, arrived) in [(one, two, 0), (two, one, 1)] {
            cluster.wire.cut(from.id, to.id)
            let begun = cluster.simulation.clock.now
            let asked = try Self.ask(two, from: one, milliseconds: 700)
            #expect(cluster.run(5_000) { asked.result != nil })
            #expect(asked.result == .failure(.timedOut))
            let waited = cluster.simulation.clock.now - begun
            #expect(waited >= .milliseconds(700) && waited < .milliseconds(800), "\(waited)")
            #expect(seen.calls.count == arrived)
            cluster.wire.heal()
        }
    }

    @Test func `no time is no call that waits`() throws {
        let (cluster, one, two) = try Self.pair()
        let asked = try Self.ask(two, from: one, milliseconds: -5)
        #expect(cluster.run(100) { asked.result != nil })
        #expect(asked.result == .failure(.timedOut))
    }

    @Test(arguments: 1...5)
    func `late and repeated answers find nobody`(_ seed: UInt64) throws {
        let (cluster, one, two) = try Self.pair(seed: seed)
        let seen = Seen()
        Self.serve(two, seen)
        cluster.wire.duplicationPercent = 100
        cluster.wire.maxDelay = .seconds(3)
        cluster.wire.reorders = true
        let asked = try (0..<100).map { number in
            try Self.ask(two, from: one, ByteSlice([UInt8(number)]), milliseconds: 2_500)
        }
        cluster.run(20_000)
        #expect(seen.calls.count == 200)
        var late = 0
        for (number, call) in asked.enumerated() {
            if call.result == .failure(.timedOut) { late += 1; continue }
            #expect(call.result == .success(ByteSlice([7, 1, UInt8(number)])))
        }
        #expect(late > 5 && late < 95, "\(late)")
    }

    @Test func `an unreachable peer ends its calls at once, and no others`() throws {
        let cluster = try Cluster(3)
        let nodes = cluster.nodes
        for node in nodes {
            node.calls?.serve { _, _ in
                // Never: whoever asks waits.
                await withUnsafeContinuation { (_: UnsafeContinuation<ByteSlice?, Never>) in }
            }
        }
        let gone = try Self.ask(nodes[1], from: nodes[0])
        let there = try Self.ask(nodes[2], from: nodes[0])
        cluster.run(100)
        #expect(gone.result == nil && there.result == nil)
        nodes[0].dispatcher?.peerIsUnreachable(nodes[1].id)
        #expect(cluster.run(100) { gone.result != nil })
        #expect(gone.result == .failure(.unreachable))
        #expect(there.result == nil)
        #expect(cluster.run(1_000) { there.result == .failure(.timedOut) })
    }

    @Test func `a peer that restarts ends what its last life was asked`() throws {
        let (cluster, one, two) = try Self.pair()
        two.calls?.serve { _, _ in
            await withUnsafeContinuation { (_: UnsafeContinuation<ByteSlice?, Never>) in }
        }
        cluster.run(1_000)
        let before = try Self.ask(two, from: one, milliseconds: 60_000)
        cluster.run(500)
        #expect(before.result == nil)
        try two.restart()
        Self.serve(two)
        #expect(cluster.run(2_000) { before.result != nil })
        #expect(before.result == .failure(.unreachable))
        let after = try Self.ask(two, from: one)
        #expect(cluster.run(500) { after.result != nil })
        #expect(after.result == .success(ByteSlice([7, 1] + Array("question".utf8))))
    }

    @Test func `more calls than may wait are turned away, each peer by itself`() throws {
        let cluster = try Cluster(3)
        for node in cluster.nodes { node.callLimits.maxWaiting = 5 }
        let (one, two, three) = (cluster.nodes[0], cluster.nodes[1], cluster.nodes[2])
        try one.restart()
        cluster.run(1_000)
        cluster.wire.cut(two.id, one.id)
        Self.serve(three)
        let asked = try (0..<8).map { _ in try Self.ask(two, from: one) }
        let other = try Self.ask(three, from: one)
        cluster.run(500)
        #expect(asked.count { $0.result == nil } == 5)
        #expect(asked.count { $0.result == .failure(.overloaded) } == 3)
        #expect((try other.result?.get()) != nil)
        #expect(cluster.run(2_000) { asked.allSatisfy { $0.result != nil } })
        // Their places are free again.
        cluster.wire.heal()
        Self.serve(two)
        let again = try (0..<5).map { _ in try Self.ask(two, from: one) }
        #expect(cluster.run(500) { again.allSatisfy { (try? $0.result?.get()) != nil } })
    }

    @Test func `more calls than are served at once are refused, each peer by itself`() throws {
        let cluster = try Cluster(3)
        for node in cluster.nodes { node.callLimits.maxServing = 4 }
        let (one, two, three) = (cluster.nodes[0], cluster.nodes[1], cluster.nodes[2])
        try two.restart()
        cluster.run(1_000)
        let held = Held()
        two.calls?.serve { _, _ in await held.wait() }
        let asked = try (0..<6).map { _ in try Self.ask(two, from: one, milliseconds: 9_000) }
        let other = try Self.ask(two, from: three, milliseconds: 9_000)
        cluster.run(500)
        #expect(asked.count { $0.result == .failure(.refused) } == 2)
        #expect(held.waiting.count == 5 && other.result == nil)
        held.open()
        #expect(cluster.run(500) { asked.allSatisfy { $0.result != nil } && other.result != nil })
        #expect(asked.count { $0.result == .success(ByteSlice("held")) } == 4)
        let again = try Self.ask(two, from: one)
        cluster.run(500)
        #expect(again.result == nil)
        held.open()
        #expect(cluster.run(500) { again.result == .success(ByteSlice("held")) })
    }

    private final class Held: @unchecked Sendable {
        // Unchecked: the simulation runs on one thread.
        var waiting: [UnsafeContinuation<ByteSlice?, Never>] = []

        func wait() async -> ByteSlice? { await withUnsafeContinuation { waiting.append($0) } }

        func open() {
            for one in waiting { one.resume(returning: ByteSlice("held")) }
            waiting = []
        }
    }

    @Test func `payloads beyond the limit are not sent`() throws {
        let cluster = try Cluster(2)
        for node in cluster.nodes {
            node.callLimits.maxPayloadBytes = 10
            try node.restart()
        }
        let (one, two) = (cluster.nodes[0], cluster.nodes[1])
        cluster.run(1_000)
        let seen = Seen()
        Self.serve(two, seen)
        let long = try Self.ask(two, from: one, ByteSlice([UInt8](repeating: 0, count: 11)))
        let answeredLong = try Self.ask(two, from: one, ByteSlice([UInt8](repeating: 0, count: 9)))
        let fits = try Self.ask(two, from: one, ByteSlice([UInt8](repeating: 0, count: 8)))
        #expect(cluster.run(2_000) { answeredLong.result != nil })
        #expect(long.result == .failure(.tooLarge(bytes: 11, limit: 10)))
        #expect(answeredLong.result == .failure(.timedOut))
        #expect((try fits.result?.get())?.count == 10)
        #expect(seen.calls.count == 2)
    }

    @Test func `a node that stops ends what waits and refuses the others`() throws {
        let (cluster, one, two) = try Self.pair()
        Self.serve(one)
        cluster.wire.cut(two.id, one.id)
        let asked = try Self.ask(two, from: one)
        cluster.run(100)
        one.calls?.stop()
        #expect(cluster.run(100) { asked.result == .failure(.unreachable) })
        cluster.wire.heal()
        let late = try Self.ask(two, from: one)
        let ofOther = try Self.ask(one, from: two)
        #expect(cluster.run(100) { late.result != nil && ofOther.result != nil })
        #expect(late.result == .failure(.unreachable))
        #expect(ofOther.result == .failure(.refused))
    }

    @Test func `what another peer or an earlier life is answered is nobody's answer`() throws {
        let (cluster, one, two) = try Self.pair()
        let seen = Seen()
        Self.serve(two, seen)
        cluster.wire.cut(two.id, one.id)
        let first = try Self.ask(two, from: one, milliseconds: 100)
        #expect(cluster.run(1_000) { first.result != nil })
        cluster.wire.heal()
        try one.restart()
        cluster.wire.cut(two.id, one.id)
        let second = try Self.ask(two, from: one, milliseconds: 2_000)
        #expect(cluster.run(1_000) { seen.calls.count == 2 })
        let (old, new) = (seen.calls[0].id, seen.calls[1].id)
        #expect(old &- new > 1 << 32 && new &- old > 1 << 32, "\(old), \(new)")
        let dispatcher = try #require(one.dispatcher)
        let answer = { PeerAnswer(id: $0, isRefused: false, payload: ByteSlice($1 as String)) }
        dispatcher.received(.answer(answer(old, "of an earlier life")), from: two.id)
        dispatcher.received(.answer(answer(new, "of another peer")), from: ReplicaID(3))
        cluster.run(500)
        #expect(second.result == nil)
        dispatcher.received(.answer(answer(new, "right")), from: two.id)
        #expect(cluster.run(500) { second.result == .success(ByteSlice("right")) })
    }
}
