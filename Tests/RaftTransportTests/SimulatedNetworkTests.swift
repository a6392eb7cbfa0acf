import Bytes
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing

@testable import RaftTransport

extension Simulations {
    /// Whole transports over a network that cuts, breaks and delays.
    @Suite struct `Nodes over a simulated network` {
        /// The numbers of the frames of a stream, in the order they arrived.
        private static func numbers(
            _ node: Wire.Node,
            from peer: UInt64,
            on stream: PeerFrame.Stream = .messages
        ) -> [UInt64] {
            node.recorder.seen.frames(from: ReplicaID(peer)).compactMap { frame in
                guard frame.stream == stream else { return nil }
                return switch frame {
                case .messages(let messages): messages.first?.group
                case .beat(let beat): beat.sequence
                case .snapshotAnswer(let answer): answer.group
                case .snapshotChunk(let chunk): chunk.group
                case .call(let call): call.id
                case .answer(let answer): answer.id
                }
            }
        }

        private static func isRising(_ numbers: [UInt64]) -> Bool {
            zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }
        }

        @Test(arguments: 1...10)
        func `without faults every frame arrives, in order`(_ seed: UInt64) {
            Self.deliver(over: Wire(seed: seed, nodes: 3))
        }

        @Test(arguments: 1...10)
        func `over ways that lose packets every frame arrives, in order and later`(_ seed: UInt64) {
            let wire = Wire(seed: seed, nodes: 3)
            for (from, to) in [(1, 2), (2, 3), (3, 1)] as [(UInt64, UInt64)] {
                wire.simulation.network.lose(oneOf: 20, from: Wire.host(from), to: Wire.host(to))
            }
            let time = Self.deliver(over: wire)
            #expect(time > .milliseconds(200))
            #expect(time > 2 * Self.deliver(over: Wire(seed: seed, nodes: 3)))
        }

        /// Sends 200 frames on every stream of every node.
        ///
        /// - Returns: How long it took, in virtual time.
        @discardableResult
        private static func deliver(over wire: Wire) -> Int64 {
            let nodes = [wire.boot(1), wire.boot(2), wire.boot(3)]
            // Connections first: what waits for a first attempt that fails is dropped.
            #expect(
                wire.run {
                    nodes.allSatisfy {
                        $0.count("raft_transport_connections{direction=\"outgoing\"}") == 8
                    }
                }
            )
            var generator = wire.simulation.makeGenerator()
            for number in 1...200 {
                for node in nodes {
                    for peer in nodes where peer !== node {
                        for stream in PeerFrame.Stream.allCases {
                            node.transport.send(
                                Numbered.frame(number, on: stream),
                                to: peer.id
                            )
                        }
                    }
                }
                if generator.chance(1, in: 4) { wire.run(milliseconds: 1) }
            }
            #expect(wire.run { nodes.allSatisfy { $0.recorder.seen.frames.count == 1_600 } })
            for node in nodes {
                for peer in nodes where peer !== node {
                    for stream in PeerFrame.Stream.allCases {
                        #expect(
                            numbers(node, from: peer.id.rawValue, on: stream) == Array(1...200)
                        )
                    }
                }
            }
            return wire.simulation.clock.now
        }

        /// Cuts, broken connections and restarts at random moments.
        private static func chaos(_ seed: UInt64) -> (Wire, [UInt64]) {
            let wire = Wire(seed: seed)
            let one = wire.boot(1)
            var two = wire.boot(2)
            var generator = wire.simulation.makeGenerator()
            var life: UInt64 = 1
            var number = 0
            for _ in 0..<60 {
                for _ in 0..<generator.below(20) {
                    number += 1
                    for stream in PeerFrame.Stream.allCases {
                        one.transport.send(Numbered.frame(number, on: stream), to: two.id)
                    }
                }
                wire.run(milliseconds: Int64(generator.below(300)))
                switch generator.below(8) {
                case 0: wire.simulation.network.partition("node-1", "node-2")
                case 1, 2: wire.simulation.network.heal("node-1", "node-2")
                case 3: wire.simulation.network.reset("node-1", "node-2")
                case 4:
                    for stream in PeerFrame.Stream.allCases {
                        #expect(
                            isRising(numbers(two, from: 1, on: stream)),
                            "seed \(seed), \(stream)"
                        )
                    }
                    two.platform.end()
                    life += 1
                    two = wire.boot(2, incarnation: life)
                default: break
                }
            }
            wire.simulation.network.heal("node-1", "node-2")
            let before = wire.simulation.clock.now
            let isBack = {
                number += 1
                one.transport.send(Numbered.frame(number), to: two.id)
                wire.run(milliseconds: 50)
                return numbers(two, from: 1).last.map { $0 > UInt64(number) - 40 } ?? false
            }
            while !isBack() {
                guard wire.simulation.clock.now - before < .seconds(12) else {
                    Issue.record("seed \(seed): not connected 12 s after the last fault")
                    break
                }
            }
            for stream in PeerFrame.Stream.allCases {
                #expect(isRising(numbers(two, from: 1, on: stream)), "seed \(seed), \(stream)")
            }
            return (wire, numbers(two, from: 1))
        }

        @Test(arguments: 1...60)
        func `whatever happens, frames arrive in order or not at all`(_ seed: UInt64) {
            _ = Self.chaos(seed)
        }

        @Test func `two runs of one seed are the same to the last event`() {
            let first = Self.chaos(3)
            let second = Self.chaos(3)
            #expect(first.0.simulation.trace == second.0.simulation.trace)
            #expect(first.1 == second.1)
        }

        @Test func `a partition is noticed, reported, and over soon after it heals`() {
            let wire = Wire(seed: 2)
            let (one, two) = wire.bootPair()
            one.transport.send(Numbered.frame(1), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
            wire.simulation.network.partition("node-1", "node-2")
            one.recorder.forget()
            let before = wire.simulation.clock.now
            one.transport.send(Numbered.frame(2), to: two.id)
            #expect(wire.run(20) { one.recorder.seen.unreachable.contains(two.id) })
            let waited = wire.simulation.clock.now - before
            #expect(waited >= .seconds(4) && waited < .milliseconds(7_100), "\(waited)")
            wire.run(milliseconds: 30_000)
            wire.simulation.network.heal("node-1", "node-2")
            let healed = wire.simulation.clock.now
            var number = 2
            let isBack = {
                number += 1
                one.transport.send(Numbered.frame(number), to: two.id)
                wire.run(milliseconds: 20)
                return two.recorder.seen.frames.count > 2
            }
            while !isBack() && wire.simulation.clock.now - healed < .seconds(20) {}
            #expect(wire.simulation.clock.now - healed < .seconds(4))
        }

        @Test func `a queue that is full drops, counts and reports, and never grows`() {
            let wire = Wire(seed: 3)
            let (one, _) = wire.bootPair { $0.maxQueuedFrames = 100 }
            for number in 0..<500 { one.transport.send(Numbered.frame(number), to: ReplicaID(2)) }
            #expect(one.count("raft_transport_frames_dropped_total{stream=\"messages\"}") == 400)
            #expect(wire.run { one.recorder.seen.unreachable.contains(ReplicaID(2)) })
        }

        @Test func `an overflow is reported by itself, once until the report is made`() {
            let wire = Wire(seed: 4)
            let (one, two) = wire.bootPair { $0.maxQueuedBytes = 1 << 20 }
            for round in 1...3 {
                for _ in 0..<100 {
                    one.transport.send(Numbered.messages(1, bytes: 50_000), to: two.id)
                }
                #expect(wire.run { one.recorder.seen.unreachable.count == round })
                let sent = "raft_transport_frames_sent_total{stream=\"messages\"}"
                let before = one.count(sent)
                #expect(wire.run { one.count(sent) > before })
                wire.run(milliseconds: 500)
                #expect(one.recorder.seen.unreachable.count == round)
            }
        }

        @Test func `a frame beyond the limit is dropped, counted and reported`() {
            let wire = Wire(seed: 5)
            let (one, two) = wire.bootPair { $0.maxFrameBytes = 10_000 }
            one.transport.send(Numbered.messages(1, bytes: 20_000), to: two.id)
            one.transport.send(Numbered.messages(2, bytes: 9_000), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
            #expect(Self.numbers(two, from: 1) == [2])
            #expect(one.count("raft_transport_oversized_frames_sent_total") == 1)
            #expect(one.recorder.seen.unreachable.contains(two.id))
        }

        @Test func `a peer that lets us in and reads nothing is given up`() throws {
            let wire = Wire(seed: 6)
            let loop = wire.stranger.loops[0]
            let held = Held()
            loop.execute { held.listen(on: loop) }
            let one = wire.boot(1, peers: [ReplicaID(2): held.address])
            #expect(
                wire.run { one.count("raft_transport_connections{direction=\"outgoing\"}") == 4 }
            )
            let before = wire.simulation.clock.now
            for number in 0..<40 {
                one.transport.send(
                    Numbered.messages(UInt64(number), bytes: 100_000),
                    to: ReplicaID(2)
                )
            }
            #expect(wire.run(20) { one.stalls() >= 1 })
            let waited = wire.simulation.clock.now - before
            #expect(waited > .seconds(5) && waited < .milliseconds(7_100), "\(waited)")
            #expect(one.recorder.seen.unreachable.contains(ReplicaID(2)))
        }

        @Test func `a stream in use or idle stays connected for minutes`() {
            let wire = Wire(seed: 7)
            let (one, two) = wire.bootPair()
            for number in 0..<120 {
                one.transport.send(Numbered.frame(number), to: two.id)
                wire.run(milliseconds: 1_000)
            }
            wire.run(milliseconds: 120_000)
            #expect(Self.numbers(two, from: 1) == Array(0..<120))
            #expect(one.recorder.seen.unreachable.isEmpty)
            #expect(two.recorder.seen.unreachable.isEmpty)
        }

        @Test func `a snapshot under way does not delay a beat`() {
            let wire = Wire(seed: 8)
            let (one, two) = wire.bootPair()
            let content = ByteSlice([UInt8](repeating: 3, count: 1 << 20))
            for number in 0..<50 {
                let chunk = SnapshotChunk(
                    group: 1,
                    index: LogIndex(5),
                    term: Term(1),
                    content: 0,
                    offset: UInt64(number) << 20,
                    bytes: content,
                    isLast: false
                )
                one.transport.send(.snapshotChunk(chunk), to: two.id)
            }
            let before = wire.simulation.clock.now
            one.transport.send(Numbered.frame(1, on: .liveness), to: two.id)
            #expect(wire.run { !Self.numbers(two, from: 1, on: .liveness).isEmpty })
            #expect(wire.simulation.clock.now - before < .milliseconds(100))
            #expect(Self.numbers(two, from: 1, on: .snapshots).count < 50)
            #expect(wire.run(60) { Self.numbers(two, from: 1, on: .snapshots).count == 50 })
        }

        @Test func `a large answer under way delays neither a message nor a beat`() {
            let wire = Wire(seed: 10)
            let (one, two) = wire.bootPair()
            let payload = ByteSlice([UInt8](repeating: 3, count: 8 << 20))
            for number in 0..<7 {
                let answer = PeerAnswer(id: UInt64(number), isRefused: false, payload: payload)
                one.transport.send(.answer(answer), to: two.id)
            }
            let before = wire.simulation.clock.now
            let others: [PeerFrame.Stream] = [.messages, .liveness]
            for stream in others {
                one.transport.send(Numbered.frame(1, on: stream), to: two.id)
            }
            #expect(
                wire.run { others.allSatisfy { Self.numbers(two, from: 1, on: $0) == [1] } }
            )
            #expect(wire.simulation.clock.now - before < .milliseconds(100))
            #expect(Self.numbers(two, from: 1, on: .calls).count < 7)
            #expect(wire.run(60) { Self.numbers(two, from: 1, on: .calls).count == 7 })
        }

        @Test func `a peer that comes back is dialed when it calls, not when a wait is over`() {
            let wire = Wire(seed: 9)
            let one = wire.boot(1) { $0.maxBackoffNanoseconds = .seconds(600) }
            wire.run(milliseconds: 100_000)
            let before = wire.simulation.clock.now
            let two = wire.boot(2)
            #expect(
                wire.run { one.count("raft_transport_connections{direction=\"outgoing\"}") == 4 }
            )
            #expect(wire.simulation.clock.now - before < .seconds(1))
            one.transport.send(Numbered.frame(1), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
        }
    }
}

/// Accepts connections, greets, and then never reads.
private final class Held: @unchecked Sendable {
    // Unchecked: a simulation runs on one thread.
    let address = SocketAddress(host: "stranger", port: 7000)
    private var sockets: [Socket] = []

    func listen(on loop: EventLoop) {
        Task.immediate(executorPreference: loop) { await self.accept(on: loop) }
    }

    private func accept(on loop: EventLoop) async {
        guard let listener = try? loop.listen(address) else { return }
        while let accepted = try? await listener.accept() {
            guard let socket = try? loop.adopt(accepted) else { continue }
            sockets.append(socket)
            let answer = HelloAnswer(
                versions: 1...1,
                refusal: nil,
                answering: .init(cluster: "test", node: ReplicaID(2), incarnation: 1)
            )
            _ = try? await RawCaller.read(RawCaller.hello().bytes.count, from: socket)
            try? await socket.write(ByteRope(answer.bytes))
        }
    }
}
