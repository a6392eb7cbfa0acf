import Bytes
import Platform
import Raft
import RaftRuntime

@testable import RaftTransport

/// A caller that does what it likes, on the loop it is used from.
enum RawCaller {
    static func hello(
        from caller: UInt64 = 1,
        to called: UInt64 = 2,
        cluster: String = "test",
        incarnation: UInt64 = 1,
        versions: ClosedRange<UInt8> = 1...1,
        stream: UInt8 = 0
    ) -> Hello {
        Hello(
            versions: versions,
            stream: stream,
            caller: .init(cluster: cluster, node: ReplicaID(caller), incarnation: incarnation),
            called: ReplicaID(called)
        )
    }

    /// Connects and greets; the answer is read.
    static func call(
        _ address: SocketAddress,
        on loop: EventLoop,
        _ hello: Hello = hello()
    ) async throws -> (socket: Socket, answer: HelloAnswer) {
        let socket = try await loop.connect(address)
        try await socket.write(ByteRope(hello.bytes))
        return (socket, try await answer(from: socket))
    }

    static func answer(from socket: Socket) async throws -> HelloAnswer {
        let header = ByteSlice(try await read(Envelope.headerBytes, from: socket))
        guard header.count == Envelope.headerBytes else { throw GreetingError.ended }
        let length = try Envelope.contentLength(header, magic: Envelope.answer)
        let content = ByteSlice(try await read(length, from: socket))
        try Envelope.check(header, content)
        return try HelloAnswer.read(content)
    }

    /// Reads until `count` bytes are there or the peer has closed.
    static func read(_ count: Int, from socket: Socket) async throws -> [UInt8] {
        let storage = ByteStorage(capacity: max(1, count))
        var done = 0
        while done < count {
            let rest = UnsafeMutableRawBufferPointer(
                start: storage.start + done,
                count: count - done
            )
            let n = try await socket.read(into: rest)
            if n == 0 { break }
            done += n
        }
        return storage.slice(0..<done).array
    }

    /// Reads on until the other side has closed or broken the connection.
    static func waitForEnd(of socket: Socket) async {
        let storage = ByteStorage(capacity: 4096)
        let room = UnsafeMutableRawBufferPointer(start: storage.start, count: 4096)
        while let n = try? await socket.read(into: room), n > 0 {}
        socket.close()
    }

    static func bytes(_ frame: PeerFrame) -> [UInt8] {
        var bytes: [UInt8] = []
        FrameCodec.encode(frame) { bytes += FrameCodec.framed($0, $1).joined()?.array ?? [] }
        return bytes
    }
}
