import Bytes
import Platform
import Synchronization

/// Buffers for direct reads of segments, used again and again.
///
/// Data that is read to be sent once gains nothing from the page cache and pushes out what does;
/// and the pages the cache would need for it cost more to get than the copy they save. There are
/// few buffers: while slow clients hold them all, reads go through the page cache.
package final class ReadBuffers: Sendable {
    /// Length of each buffer, in bytes.
    package static let bytes = 4 << 20

    private struct State {
        var free: [ByteStorage] = []
        var inUse = 0
    }

    private let limit: Int
    private let state = Mutex(State())

    /// At most `limit` buffers, made as they are needed.
    package init(limit: Int) {
        precondition(limit > 0, "\(limit) read buffers")
        self.limit = limit
    }

    /// A buffer that comes back when the last slice of it is gone; `nil` while all are in use.
    func take() -> ReadBuffer? {
        let storage: ByteStorage? = state.withLock { state in
            guard state.inUse < limit else { return nil }
            state.inUse += 1
            return state.free.popLast()
                ?? ByteStorage(capacity: Self.bytes, alignment: FileSystem.directAlignment)
        }
        return storage.map { ReadBuffer($0, of: self) }
    }

    fileprivate func giveBack(_ storage: ByteStorage) {
        state.withLock { state in
            state.inUse -= 1
            state.free.append(storage)
        }
    }
}

/// One of the ``ReadBuffers``; its slices own it.
final class ReadBuffer: Sendable {
    let storage: ByteStorage
    private let buffers: ReadBuffers

    fileprivate init(_ storage: ByteStorage, of buffers: ReadBuffers) {
        self.storage = storage
        self.buffers = buffers
    }

    deinit { buffers.giveBack(storage) }

    func slice(_ range: Range<Int>) -> ByteSlice {
        ByteSlice(
            owner: self,
            start: UnsafeRawPointer(storage.start + range.lowerBound),
            count: range.count
        )
    }
}
