import Bytes
import KafkaProtocol
import Platform

/// Cuts a stream into Kafka frames: a 4-byte length, then that many bytes.
///
/// Small frames are copied out of the read buffer, so that a small batch kept in the tail cache
/// does not keep a whole buffer alive; a large frame is read straight into a block of its own size.
final class FrameReader {
    private static let bufferBytes = 32 << 10

    private let limit: Int
    private var buffer: ByteStorage?
    private var start = 0
    private var end = 0

    init(limit: Int) { self.limit = limit }

    /// The next frame without its length; `nil` once the peer has closed at a frame's end.
    func next(from socket: Socket) async throws -> ByteSlice? {
        while end - start < 4 {
            guard try await fill(from: socket) else {
                guard start == end else { throw FrameProblem.cutShort }
                return nil
            }
        }
        guard let buffer else { preconditionFailure("bytes without a buffer") }
        let prefix = buffer.slice(start..<end)
        let length = try FrameLength.check(prefix, limit: limit)
        if end - start >= 4 + length {
            defer { consume(4 + length) }
            return prefix[4..<4 + length].copied()
        }
        start += 4
        return try await large(length, from: socket)
    }

    /// Reads a frame of which the buffer holds only the beginning.
    private func large(_ length: Int, from socket: Socket) async throws -> ByteSlice {
        guard let buffer else { preconditionFailure("bytes without a buffer") }
        // Untouched pages cost nothing, so a peer that announces much and sends little costs little.
        let frame = ByteStorage(capacity: length)
        var filled = end - start
        frame.start.copyMemory(from: buffer.start + start, byteCount: filled)
        consume(filled)
        while filled < length {
            let room = UnsafeMutableRawBufferPointer(
                start: frame.start + filled,
                count: length - filled
            )
            let n = try await socket.read(into: room)
            guard n > 0 else { throw FrameProblem.cutShort }
            filled += n
        }
        return frame.slice(0..<length)
    }

    /// Reads more into the buffer; false when the peer has closed.
    private func fill(from socket: Socket) async throws -> Bool {
        let buffer = buffer ?? ByteStorage(capacity: Self.bufferBytes)
        self.buffer = buffer
        if start > 0 {
            buffer.start.copyMemory(from: buffer.start + start, byteCount: end - start)
            end -= start
            start = 0
        }
        let room = UnsafeMutableRawBufferPointer(
            start: buffer.start + end,
            count: buffer.capacity - end
        )
        let n = try await socket.read(into: room)
        end += n
        return n > 0
    }

    private func consume(_ n: Int) {
        start += n
        if start == end {
            start = 0
            end = 0
        }
    }
}
