internal import Bytes
internal import Platform

/// Cuts a stream into greetings and frames.
///
/// A frame lies in a block of its own, so that a payload keeps no more alive than what came with
/// it; one that is longer than the buffer is read straight into that block.
final class FrameReader {
    struct Frame {
        let kind: FrameHeader.Kind
        let body: ByteSlice
    }

    private let limit: Int
    private let buffer: ByteStorage
    private var start = 0
    private var end = 0
    /// Bytes that have arrived so far.
    private(set) var arrived: UInt64 = 0

    init(limit: Int, bufferBytes: Int) {
        precondition(
            bufferBytes >= Envelope.headerBytes + Envelope.maxContentBytes,
            "a buffer of \(bufferBytes) bytes"
        )
        self.limit = limit
        buffer = ByteStorage(capacity: bufferBytes)
    }

    /// The content of a greeting with that magic.
    func greeting(_ magic: UInt64, from socket: Socket) async throws -> ByteSlice {
        guard try await hold(Envelope.headerBytes, from: socket) else { throw GreetingError.ended }
        let length = try Envelope.contentLength(held, magic: magic)
        guard try await hold(Envelope.headerBytes + length, from: socket) else {
            throw GreetingError.ended
        }
        let content = held[Envelope.headerBytes..<Envelope.headerBytes + length].copied()
        try Envelope.check(held, content)
        consume(Envelope.headerBytes + length)
        return content
    }

    /// The next frame, its checksum checked; `nil` once the peer has closed at a frame's end.
    func frame(from socket: Socket) async throws -> Frame? {
        guard try await hold(FrameHeader.byteCount, from: socket) else {
            guard start == end else { throw FrameError.cutShort }
            return nil
        }
        let header = try FrameHeader(held, limit: limit)
        let length = header.bodyLength
        let body: ByteSlice
        if end - start >= FrameHeader.byteCount + length {
            body = held[FrameHeader.byteCount..<FrameHeader.byteCount + length].copied()
            consume(FrameHeader.byteCount + length)
        } else {
            consume(FrameHeader.byteCount)
            body = try await long(length, from: socket)
        }
        try header.check(body)
        return Frame(kind: header.kind, body: body)
    }

    /// A body of which the buffer holds only the beginning.
    private func long(_ length: Int, from socket: Socket) async throws -> ByteSlice {
        // Untouched pages cost nothing, so a peer that announces much and sends little costs little.
        let block = ByteStorage(capacity: length)
        var filled = end - start
        block.start.copyMemory(from: buffer.start + start, byteCount: filled)
        consume(filled)
        while filled < length {
            let room = UnsafeMutableRawBufferPointer(
                start: block.start + filled,
                count: length - filled
            )
            let count = try await socket.read(into: room)
            guard count > 0 else { throw FrameError.cutShort }
            arrived += UInt64(count)
            filled += count
        }
        return block.slice(0..<length)
    }

    // MARK: The buffer

    private var held: ByteSlice { buffer.slice(start..<end) }

    private func consume(_ count: Int) {
        start += count
        if start == end { (start, end) = (0, 0) }
    }

    /// Reads until that many bytes are held; false when the peer has closed before.
    private func hold(_ count: Int, from socket: Socket) async throws -> Bool {
        while end - start < count {
            if start > 0 {
                buffer.start.copyMemory(from: buffer.start + start, byteCount: end - start)
                (start, end) = (0, end - start)
            }
            let room = UnsafeMutableRawBufferPointer(
                start: buffer.start + end,
                count: buffer.capacity - end
            )
            let read = try await socket.read(into: room)
            guard read > 0 else { return false }
            arrived += UInt64(read)
            end += read
        }
        return true
    }
}
