import Bytes
import Platform
import Raft
import Simulator
import Testing

@testable import RaftTransport

extension Simulations {
    /// What TLS will be: a stage that changes every byte.
    @Suite struct `A stage between socket and frames` {
        @Test func `both sides speak through it, and nobody gets past it`() throws {
            let wire = Wire(seed: 1)
            let one = wire.boot(1) { $0.stage = Masking() }
            let two = wire.boot(2) { $0.stage = Masking() }
            let line = "raft_transport_connections{direction=\"outgoing\"}"
            #expect(wire.run { one.count(line) == 4 && two.count(line) == 4 })
            for number in 0..<100 { one.transport.send(Numbered.frame(number), to: two.id) }
            #expect(wire.run { two.recorder.seen.frames.count == 100 })
            #expect(
                two.recorder.seen.frames(from: one.id) == (0..<100).map { Numbered.frame($0) }
            )
            try wire.asStranger { loop in
                let socket = try await loop.connect(Wire.address(2))
                try await socket.write(ByteRope(RawCaller.hello().bytes))
                await RawCaller.waitForEnd(of: socket)
            }
            #expect(two.count("raft_transport_unknown_protocol_total") == 1)
        }
    }
}

/// Turns the first byte of a hello into that of a TLS record, and all others likewise.
private let mask = Envelope.firstByte ^ 0x16

private struct Masking: StreamStage {
    func dialed(_ socket: Socket, to peer: ReplicaID) -> Socket { MaskedSocket(socket) }
    func accepted(_ socket: Socket) -> Socket { MaskedSocket(socket) }
    func check(_ socket: Socket, isOf peer: ReplicaID) {}
}

private final class MaskedSocket: Socket, @unchecked Sendable {
    // Unchecked: confined to the loop of the socket behind it.
    private let plain: Socket

    init(_ plain: Socket) { self.plain = plain }

    override var peer: String { plain.peer }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int {
        let count = try await plain.read(into: buffer)
        for place in 0..<count { buffer[place] ^= mask }
        return count
    }

    override func peek() async throws(NetworkError) -> UInt8? {
        try await plain.peek().map { $0 ^ mask }
    }

    override func write(_ rope: ByteRope) async throws(NetworkError) {
        let bytes = rope.joined()?.array ?? []
        try await plain.write(ByteRope(ByteSlice(bytes.map { $0 ^ mask })))
    }

    override func close() { plain.close() }
}
