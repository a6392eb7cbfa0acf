import Bytes
import Platform

/// Carries the bytes of a connection to where gRPC listens, and back, and changes none.
enum CallRelay {
    private static let blockBytes = 64 << 10

    /// Returns when either side has ended; both are closed then.
    ///
    /// What was read of the connection already, `first`, is carried first.
    static func run(
        _ caller: Socket,
        first: ByteSlice,
        to address: SocketAddress,
        on loop: EventLoop
    ) async {
        let server: Socket
        do {
            server = try await loop.connect(address)
        } catch {
            // Only while gRPC is being stopped.
            return caller.close()
        }
        let back = Task.immediate(executorPreference: loop) { await carry(server, caller) }
        await carry(caller, server, first: first)
        await back.value
    }

    private static func carry(
        _ source: Socket,
        _ sink: Socket,
        first: ByteSlice = ByteSlice()
    ) async {
        let block = ByteStorage(capacity: blockBytes)
        let room = UnsafeMutableRawBufferPointer(start: block.start, count: block.capacity)
        do {
            if !first.isEmpty { try await sink.write(ByteRope(first)) }
            while true {
                let count = try await source.read(into: room)
                if count == 0 { break }
                try await sink.write(ByteRope(block.slice(0..<count)))
            }
        } catch {
            // Whichever side it was, the other learns by the end of its connection.
        }
        source.close()
        sink.close()
    }
}
