import Bytes
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing

@testable import RaftTransport

extension Simulations {
    /// Who is let in, and what those are told who are not.
    @Suite struct `The handshake` {
        static let refusals: [(Hello, HandshakeRefusal.Reason)] = [
            (RawCaller.hello(cluster: "other"), .wrongCluster),
            (RawCaller.hello(to: 3), .wrongNode),
            (RawCaller.hello(from: 9), .unknownPeer),
            (RawCaller.hello(from: 2), .duplicateNode),
            (RawCaller.hello(versions: 2...9), .unsupportedVersion),
            (RawCaller.hello(stream: 4), .unknownStream),
        ]

        @Test(arguments: refusals.indices)
        func `a caller that does not belong is refused by name and counted`(
            _ which: Int
        ) throws {
            let (hello, reason) = Self.refusals[which]
            let wire = Wire(seed: UInt64(which) + 1)
            let node = wire.boot(2)
            wire.run(milliseconds: 100)
            let (answer, rest) = try wire.asStranger { loop in
                let (socket, answer) = try await RawCaller.call(Wire.address(2), on: loop, hello)
                return (answer, try await RawCaller.read(1, from: socket))
            }
            #expect(answer.refusal == reason)
            #expect(answer.answering.node == node.id && answer.answering.cluster == "test")
            #expect(rest == [])
            #expect(node.refused(by: "this_node", reason) == 1)
            let refusal = HandshakeRefusal(reason, of: hello, by: answer)
            let text = "\(refusal)"
            #expect(text.contains("node \(hello.caller.node)") && text.contains("node 2"))
        }

        @Test func `a later version that still speaks ours is let in`() throws {
            let wire = Wire(seed: 1)
            wire.boot(2)
            wire.run(milliseconds: 100)
            let answer = try wire.asStranger { loop in
                let hello = RawCaller.hello(versions: 1...7)
                return try await RawCaller.call(Wire.address(2), on: loop, hello).answer
            }
            #expect(answer.refusal == nil)
        }

        @Test func `fields that a later version adds are passed over`() throws {
            let sealed = RawCaller.hello().bytes
            let content = sealed.dropFirst(Envelope.headerBytes).array + [1, 2, 3]
            #expect(try Hello.read(ByteSlice(content)) == RawCaller.hello())
        }

        @Test func `no cut or changed greeting traps, and only a whole one is read`() throws {
            let answer = HelloAnswer(
                versions: 1...2,
                refusal: .duplicateNode,
                answering: .init(cluster: "c", node: ReplicaID(7), incarnation: 8),
                rival: NodeLife(incarnation: 9, directory: "d")
            )
            #expect(
                try HelloAnswer.read(answer.bytes.dropFirst(Envelope.headerBytes)) == answer
            )
            var generator = SeededGenerator(seed: 3)
            for bytes in [RawCaller.hello().bytes.array, answer.bytes.array] {
                let content = bytes.dropFirst(Envelope.headerBytes)
                for place in content.indices {
                    let cut = ByteSlice(Array(content[..<place]))
                    #expect(throws: GreetingError.malformed) { try Hello.read(cut) }
                    var changed = Array(content)
                    changed[place - content.startIndex] = UInt8(generator.below(256))
                    _ = try? Hello.read(ByteSlice(changed))
                    _ = try? HelloAnswer.read(ByteSlice(changed))
                    var whole = bytes
                    whole[place] ^= 1
                    #expect(throws: GreetingError.malformed) {
                        let whole = ByteSlice(whole)
                        try Envelope.check(whole, whole.dropFirst(Envelope.headerBytes))
                    }
                }
            }
        }

        @Test func `the caller learns why, reports the peer unreachable, and backs off`() throws {
            let wire = Wire(seed: 5)
            let one = wire.boot(1) { $0.identity.cluster = "other" }
            let two = wire.boot(2)
            wire.run(milliseconds: 10_000)
            let told = one.refused(by: "peer", .wrongCluster)
            // Four streams, at most one attempt a half second each in the long run.
            #expect(told > 26 && told < 120, "\(told)")
            #expect(abs(told - two.refused(by: "this_node", .wrongCluster)) <= 4)
            #expect(one.recorder.seen.unreachable.contains(two.id))
            #expect(two.recorder.seen.frames.isEmpty)
        }

        static let incoming = "raft_transport_connections{direction=\"incoming\"}"
        static let outgoing = "raft_transport_connections{direction=\"outgoing\"}"

        /// A process of node 1 on the disk `directory`, not where the others look for it.
        private func bootSecond(_ wire: Wire, incarnation: UInt64, directory: String) -> Wire.Node {
            wire.boot(1, incarnation: incarnation, host: "elsewhere") {
                $0.identity.directory = directory
            }
        }

        @Test(arguments: [10, 30] as [UInt64], ["its own", "a copy"])
        func `who is first under an id stays, whoever else starts, earlier or later`(
            incarnation: UInt64,
            disk: String
        ) {
            let wire = Wire(seed: 6)
            let two = wire.boot(2)
            let first = wire.boot(1, incarnation: 20) { $0.identity.directory = "a copy" }
            #expect(wire.run { two.count(Self.incoming) == 4 })
            let second = bootSecond(wire, incarnation: incarnation, directory: disk)
            wire.run(milliseconds: 20_000)
            #expect(two.refused(by: "this_node", .duplicateNode) > 20)
            #expect(second.refused(by: "peer", .duplicateNode) > 20)
            #expect(first.refused(by: "peer", .duplicateNode) == 0)
            second.transport.send(Numbered.frame(1), to: two.id)
            first.transport.send(Numbered.frame(2), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
            wire.run(milliseconds: 1_000)
            #expect(two.recorder.seen.frames(from: first.id) == [Numbered.frame(2)])
        }

        @Test func `a refused second process is told of the first, and the first of none`() throws {
            let wire = Wire(seed: 7)
            let two = wire.boot(2)
            wire.boot(1, incarnation: 20) { $0.identity.directory = "known" }
            #expect(wire.run { two.count(Self.incoming) == 4 })
            var hello = RawCaller.hello(incarnation: 30)
            hello.caller.directory = "other"
            let (sent, answer) = try wire.asStranger { [hello] loop in
                (hello, try await RawCaller.call(Wire.address(2), on: loop, hello).answer)
            }
            #expect(answer.rival == NodeLife(incarnation: 20, directory: "known"))
            let text = "\(HandshakeRefusal(.duplicateNode, of: sent, by: answer))"
            #expect(text.contains("node 1 started at 30 with data directory other"))
            #expect(text.contains("node 1 started at 20 with data directory known"))
        }

        @Test func `a node that is started again is let in at once`() {
            let wire = Wire(seed: 7)
            let two = wire.boot(2)
            let old = wire.boot(1, incarnation: 10)
            #expect(wire.run { two.count(Self.incoming) == 4 })
            old.platform.end()
            let before = wire.simulation.clock.now
            let new = wire.boot(1, incarnation: 20)
            #expect(wire.run { new.count(Self.outgoing) == 4 })
            new.transport.send(Numbered.frame(2), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
            #expect(wire.simulation.clock.now - before < .milliseconds(1_500))
        }

        @Test func `a process that fell silent gives way to the next, whatever its clock says`() {
            let wire = Wire(seed: 8)
            let two = wire.boot(2)
            wire.boot(1, incarnation: 20)
            #expect(wire.run { two.count(Self.incoming) == 4 })
            wire.simulation.network.partition("node-1", "node-2")
            let before = wire.simulation.clock.now
            let new = bootSecond(wire, incarnation: 10, directory: "")
            #expect(
                wire.run { new.count(Self.outgoing) == 4 }
            )
            #expect(wire.simulation.clock.now - before < .milliseconds(5_500))
            wire.simulation.network.heal("node-1", "node-2")
            new.transport.send(Numbered.frame(2), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
        }

        @Test func `who has the directory the cluster knows takes its place back`() {
            let wire = Wire(seed: 9)
            let two = wire.boot(2)
            two.transport.setDirectories([ReplicaID(1): "known"])
            // The node is down; meanwhile another goes by its id.
            let second = bootSecond(wire, incarnation: 30, directory: "other")
            #expect(wire.run { two.count(Self.incoming) == 4 })
            let node = wire.boot(1, incarnation: 20) { $0.identity.directory = "known" }
            #expect(wire.run { second.refused(by: "peer", .duplicateNode) >= 4 })
            #expect(node.refused(by: "peer", .duplicateNode) == 0)
            node.transport.send(Numbered.frame(2), to: two.id)
            second.transport.send(Numbered.frame(1), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
            wire.run(milliseconds: 10_000)
            #expect(two.recorder.seen.frames(from: node.id) == [Numbered.frame(2)])
        }

        @Test func `whoever says nothing is closed when the time for it is over`() throws {
            let wire = Wire(seed: 8)
            let node = wire.boot(2)
            wire.run(milliseconds: 100)
            let before = wire.simulation.clock.now
            try wire.asStranger { loop in
                let socket = try await loop.connect(Wire.address(2))
                try await socket.write(ByteRope(RawCaller.hello().bytes[0..<20]))
                await RawCaller.waitForEnd(of: socket)
            }
            let waited = wire.simulation.clock.now - before
            #expect(waited > .milliseconds(4_900) && waited < .milliseconds(5_200), "\(waited)")
            #expect(node.count("raft_transport_handshake_timeouts_total") == 1)
        }

        @Test func `another protocol is closed at once and counted`() throws {
            let wire = Wire(seed: 9)
            let node = wire.boot(2)
            wire.run(milliseconds: 100)
            let before = wire.simulation.clock.now
            let first = ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\u{16}\u{3}\u{1}", "\0\0\0"]
            for text in first {
                try wire.asStranger { loop in
                    let socket = try await loop.connect(Wire.address(2))
                    try await socket.write(ByteRope(ByteSlice(text)))
                    await RawCaller.waitForEnd(of: socket)
                }
            }
            #expect(wire.simulation.clock.now - before < .seconds(1))
            #expect(node.count("raft_transport_unknown_protocol_total") == 4)
        }

        @Test func `too many that say nothing are closed, and others get in afterwards`() throws {
            let wire = Wire(seed: 10)
            let node = wire.boot(2) { $0.maxUnfinishedHandshakes = 8 }
            wire.run(milliseconds: 100)
            try wire.asStranger { loop in
                var open: [Socket] = []
                for _ in 0..<12 { open.append(try await loop.connect(Wire.address(2))) }
                for socket in open { await RawCaller.waitForEnd(of: socket) }
            }
            #expect(node.count("raft_transport_handshakes_crowded_out_total") == 4)
            let answer = try wire.asStranger {
                try await RawCaller.call(Wire.address(2), on: $0).answer
            }
            #expect(answer.refusal == nil)
        }
    }
}
