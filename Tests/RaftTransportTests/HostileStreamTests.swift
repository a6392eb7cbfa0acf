import Bytes
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing

@testable import RaftTransport

extension Simulations {
    /// A peer that was let in and then sends what it likes.
    @Suite struct `What arrives on a stream` {
        /// Lets a caller in, has it send those pieces, and waits until the node hangs up.
        private static func send(
            _ pieces: [[UInt8]],
            on wire: Wire,
            stream: UInt8 = 0,
            thenLeave: Bool = false
        ) throws {
            try wire.asStranger { loop in
                let (socket, answer) = try await RawCaller.call(
                    Wire.address(2),
                    on: loop,
                    RawCaller.hello(stream: stream)
                )
                #expect(answer.refusal == nil)
                for piece in pieces { try await socket.write(ByteRope(ByteSlice(piece))) }
                if thenLeave { socket.close() } else { await RawCaller.waitForEnd(of: socket) }
            }
        }

        private static func served(_ seed: UInt64) -> (Wire, Wire.Node) {
            let wire = Wire(seed: seed)
            let node = wire.boot(2)
            wire.run(milliseconds: 100)
            return (wire, node)
        }

        @Test(arguments: 1...3)
        func `one byte at a time is as good as any`(_ seed: UInt64) throws {
            let (wire, node) = Self.served(seed)
            let frames = (0..<20).map { Numbered.frame($0) }
            let bytes = frames.flatMap { RawCaller.bytes($0) }
            try Self.send(bytes.map { [$0] }, on: wire, thenLeave: true)
            #expect(wire.run { node.recorder.seen.frames.count == 20 })
            #expect(node.recorder.seen.frames(from: ReplicaID(1)) == frames)
        }

        @Test func `half a frame and then silence is closed after a while`() throws {
            let (wire, node) = Self.served(4)
            let whole = RawCaller.bytes(Numbered.frame(1))
            let before = wire.simulation.clock.now
            try Self.send([whole, Array(whole.dropLast(3))], on: wire)
            let waited = wire.simulation.clock.now - before
            #expect(waited > .seconds(5) && waited < .seconds(8), "\(waited)")
            #expect(node.stalls() == 1)
            #expect(node.recorder.seen.frames.count == 1)
        }

        @Test func `silence is closed after a while, and keep-alives are not silence`() throws {
            let (wire, node) = Self.served(5)
            let before = wire.simulation.clock.now
            try wire.asStranger { loop in
                let (socket, _) = try await RawCaller.call(Wire.address(2), on: loop)
                for _ in 0..<10 {
                    await loop.sleep(nanoseconds: .seconds(1))
                    try await socket.write(FrameCodec.framed(.keepAlive, ByteRope()))
                }
                await RawCaller.waitForEnd(of: socket)
            }
            let waited = wire.simulation.clock.now - before
            #expect(waited > .seconds(15) && waited < .seconds(18), "\(waited)")
            #expect(node.stalls() == 1 && node.recorder.seen.frames.isEmpty)
        }

        @Test func `a frame with a wrong checksum closes the connection and is counted`() throws {
            let (wire, node) = Self.served(6)
            let good = RawCaller.bytes(Numbered.frame(1))
            var bad = good
            bad[bad.count - 1] ^= 1
            let before = wire.simulation.clock.now
            try Self.send([good, bad, good], on: wire)
            #expect(wire.simulation.clock.now - before < .seconds(1))
            #expect(node.malformed() == 1)
            #expect(node.recorder.seen.frames.count == 1)
        }

        @Test func `garbage closes the connection and is counted`() throws {
            for seed in UInt64(1)...20 {
                let (wire, node) = Self.served(seed)
                var generator = SeededGenerator(seed: seed)
                let garbage = (0..<100).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
                try Self.send([garbage], on: wire)
                let oversized = node.count("raft_transport_oversized_frames_received_total")
                #expect(node.malformed() + oversized == 1, "seed \(seed)")
                #expect(node.recorder.seen.frames.isEmpty)
            }
        }

        @Test func `an oversized frame is refused by its header`() throws {
            let (wire, node) = Self.served(7)
            var bytes = RawCaller.bytes(Numbered.frame(1))
            bytes[0] = 0x7f
            let before = wire.simulation.clock.now
            try Self.send([bytes], on: wire)
            #expect(wire.simulation.clock.now - before < .seconds(1))
            #expect(node.count("raft_transport_oversized_frames_received_total") == 1)
        }

        @Test(arguments: [UInt8(0), 1, 2, 3])
        func `a frame on a stream it does not belong on closes the connection`(
            _ stream: UInt8
        ) throws {
            let (wire, node) = Self.served(8)
            let others = PeerFrame.Stream.allCases.filter { $0.rawValue != stream }
            for (number, other) in others.enumerated() {
                let bytes = RawCaller.bytes(Numbered.frame(1, on: other))
                try Self.send([bytes], on: wire, stream: stream)
                #expect(node.malformed() == number + 1)
            }
            try Self.send([FrameCodec.receipt(0).joined()?.array ?? []], on: wire, stream: stream)
            #expect(node.malformed() == others.count + 1)
            #expect(node.recorder.seen.frames.isEmpty)
        }

        @Test func `a second connection of a stream takes the place of the first`() throws {
            let (wire, node) = Self.served(9)
            try wire.asStranger { loop in
                let (first, _) = try await RawCaller.call(Wire.address(2), on: loop)
                try await first.write(ByteRope(ByteSlice(RawCaller.bytes(Numbered.frame(1)))))
                let (second, _) = try await RawCaller.call(Wire.address(2), on: loop)
                // The first is closed before the second is answered.
                await RawCaller.waitForEnd(of: first)
                try await second.write(ByteRope(ByteSlice(RawCaller.bytes(Numbered.frame(2)))))
                second.close()
            }
            #expect(wire.run { node.recorder.seen.frames.last?.frame == Numbered.frame(2) })
        }
    }
}
