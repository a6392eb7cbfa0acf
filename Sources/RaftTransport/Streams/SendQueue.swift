internal import Bytes
internal import Synchronization

/// Frames on their way to the writer of one stream; given in on any loop, taken on the writer's.
///
/// Bounded by bytes and frames, those being written included. An empty queue takes any frame.
final class SendQueue: Sendable {
    struct Given: Equatable {
        /// Dropped, because there is no room.
        var isDropped = false
        /// The writer waits and must be told.
        var wakes = false
        /// The first dropped since somebody was told.
        var reports = false
    }

    struct Batch {
        let rope: ByteRope
        let frames: Int
    }

    private struct State: ~Copyable {
        var writer = ByteWriter(capacity: 1024)
        /// In `writer`.
        var queuedFrames = 0
        /// In `writer` and being written.
        var frames = 0
        var bytes = 0
        var isWriterWaiting = false
        var isReportDue = false
        var isClosed = false
    }

    private let maxBytes: Int
    private let maxFrames: Int
    private let state = Mutex(State())

    init(maxBytes: Int, maxFrames: Int) {
        self.maxBytes = maxBytes
        self.maxFrames = maxFrames
    }

    func give(_ kind: FrameHeader.Kind, _ body: ByteRope) -> Given {
        let header = FrameHeader(kind: kind, body: body)
        let length = FrameHeader.byteCount + body.count
        return state.withLock { state in
            guard !state.isClosed else { return Given(isDropped: true) }
            let fits =
                state.frames < maxFrames && (state.bytes == 0 || state.bytes + length <= maxBytes)
            guard fits else { return Self.drop(&state) }
            header.write(to: &state.writer)
            state.writer.write(body)
            state.queuedFrames += 1
            state.frames += 1
            state.bytes += length
            let wakes = state.isWriterWaiting
            state.isWriterWaiting = false
            return Given(wakes: wakes)
        }
    }

    /// A frame that is not even tried.
    func drop() -> Given { state.withLock { Self.drop(&$0) } }

    private static func drop(_ state: inout State) -> Given {
        let reports = !state.isReportDue && !state.isClosed
        state.isReportDue = true
        return Given(isDropped: true, reports: reports)
    }

    /// From now on a dropped frame is worth a report again.
    func willReport() { state.withLock { $0.isReportDue = false } }

    /// Everything that waits; `nil` if nothing does, and then the next frame wakes the writer.
    func take() -> Batch? {
        state.withLock { state in
            guard state.queuedFrames > 0 else {
                state.isWriterWaiting = true
                return nil
            }
            var full = ByteWriter(capacity: 1024)
            swap(&full, &state.writer)
            let frames = state.queuedFrames
            state.queuedFrames = 0
            return Batch(rope: full.finish(), frames: frames)
        }
    }

    /// A batch is out, or lost.
    func finished(_ batch: Batch) {
        state.withLock { state in
            state.frames -= batch.frames
            state.bytes -= batch.rope.count
        }
    }

    /// Throws away what waits; how many frames that were.
    func clear() -> Int {
        guard let batch = take() else { return 0 }
        finished(batch)
        return batch.frames
    }

    func close() { state.withLock { $0.isClosed = true } }

    var isEmpty: Bool { state.withLock { $0.frames == 0 } }
}
