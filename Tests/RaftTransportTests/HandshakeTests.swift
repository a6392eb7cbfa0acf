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
            let refusal = HandshakeRefusal(
                reason,
                of: hello,
                by: answer.answering,
                answer.versions
            )
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
                answering: .init(cluster: "c", node: ReplicaID(7), incarnation: 8)
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

        @Test func `an older process under the same id is refused while the newer is there`() {
            let wire = Wire(seed: 6)
            let two = wire.boot(2)
            let new = wire.boot(1, incarnation: 20)
            #expect(
                wire.run { two.count("raft_transport_connections{direction=\"incoming\"}") == 4 }
            )
            let old = wire.boot(1, incarnation: 10, host: "elsewhere")
            wire.run(milliseconds: 1_000)
            #expect(two.refused(by: "this_node", .duplicateNode) > 2)
            #expect(old.refused(by: "peer", .duplicateNode) > 2)
            old.transport.send(Numbered.frame(1), to: two.id)
            new.transport.send(Numbered.frame(2), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
            wire.run(milliseconds: 1_000)
            #expect(two.recorder.seen.frames(from: new.id) == [Numbered.frame(2)])
        }

        @Test func `a newer process under the same id takes the place of the older`() {
            let wire = Wire(seed: 7)
            let two = wire.boot(2)
            let old = wire.boot(1, incarnation: 10)
            #expect(
                wire.run { two.count("raft_transport_connections{direction=\"incoming\"}") == 4 }
            )
            let new = wire.boot(1, incarnation: 20, host: "elsewhere")
            #expect(wire.run { old.refused(by: "peer", .duplicateNode) >= 4 })
            new.transport.send(Numbered.frame(2), to: two.id)
            #expect(wire.run { two.recorder.seen.frames.count == 1 })
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
