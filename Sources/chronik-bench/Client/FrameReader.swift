import Bytes
import Platform

/// Cuts what a socket delivers into frames, in one buffer that is used again and again.
struct FrameReader {
    private static let largestFrame = 1 << 30

    private var storage: ByteStorage
    private var start = 0
    private var end = 0

    init(capacity: Int) { storage = ByteStorage(capacity: capacity) }

    /// The next frame without its length, if all of it has arrived.
    ///
    /// Its bytes are overwritten once `receive` is called again: keep nothing of it.
    mutating func next() throws(BenchError) -> ByteSlice? {
        guard end - start >= 4 else { return nil }
        let length = try frameLength()
        guard end - start >= 4 + length else { return nil }
        let frame = storage.slice(start + 4..<start + 4 + length)
        start += 4 + length
        return frame
    }

    /// Waits for more bytes; false when the peer has closed.
    mutating func receive(from socket: Socket) async throws(BenchError) -> Bool {
        try makeRoom()
        let room = UnsafeMutableRawBufferPointer(
            start: storage.start + end,
            count: storage.capacity - end
        )
        do {
            let count = try await socket.read(into: room)
            end += count
            return count > 0
        } catch {
            if error == .closed { return false }
            throw .network("\(error)")
        }
    }

    private func frameLength() throws(BenchError) -> Int {
        let length: Int32 = storage.slice(start..<start + 4).loadBigEndian(at: 0)
        guard length >= 4, length <= Self.largestFrame else {
            throw .protocolViolation("a frame of \(length) bytes")
        }
        return Int(length)
    }

    /// Moves what is left to the front, into a larger block if the frame needs one.
    private mutating func makeRoom() throws(BenchError) {
        let left = end - start
        if left == 0 {
            (start, end) = (0, 0)
            return
        }
        let needed = left >= 4 ? try frameLength() + 4 : 4
        if start + needed <= storage.capacity && end < storage.capacity { return }
        let source = storage
        if needed > storage.capacity { storage = ByteStorage(capacity: needed + needed / 4) }
        // The blocks may be one and the same; memmove allows it.
        storage.start.copyMemory(from: source.start + start, byteCount: left)
        (start, end) = (0, left)
    }
}
