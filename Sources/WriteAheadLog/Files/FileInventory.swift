internal import Platform
internal import Synchronization

/// The files of the log: those in use, the next one, and those to recycle.
///
/// The next file is made on the preparer, ahead of need, so that the writer only picks it up. A
/// file given back is renamed there too, lowest first and each durably, so that a crash never
/// leaves a hole in the sequence.
final class FileInventory: Sendable {
    private struct State {
        /// By rising sequence; the last is being written.
        var live: [WALFile]
        /// In the log's directory under their final names, without a batch yet.
        var next: [WALFile]
        var free: [String]
        var releasing: [WALFile] = []
        var nextSequence: UInt64
        var generator: SeededGenerator
        var isPreparing = false
        var isReleasing = false
        var isClosed = false
        /// No attempt to make a file before this time.
        var retryAt = Int64.min
    }

    private static let retryNanoseconds = Int64.milliseconds(200)

    private let configuration: WALConfiguration
    private let maker: FileMaker
    private let preparer: Worker
    private let clock: any Clock
    private let metrics: WALMetrics
    private let state: Mutex<State>
    private let live = Atomic<Int>(0)
    /// Live bytes over what leaves room for the next file; 0 while the only file is the one being
    /// written, which cannot be given back.
    private let excess = Atomic<Int>(0)
    /// Called on the preparer when a file has become available.
    private let onAvailable = Mutex(LockedHandler<@Sendable () -> Void>())

    init(
        _ configuration: WALConfiguration,
        maker: FileMaker,
        preparer: Worker,
        clock: any Clock,
        metrics: WALMetrics,
        found: RecoveredFiles,
        generator: SeededGenerator
    ) {
        precondition(!found.live.isEmpty, "a log without a file")
        self.configuration = configuration
        self.maker = maker
        self.preparer = preparer
        self.clock = clock
        self.metrics = metrics
        state = Mutex(
            State(
                live: found.live,
                next: found.next,
                free: found.free,
                nextSequence: found.nextSequence,
                generator: generator
            )
        )
        state.withLock { countLive(&$0) }
    }

    func setAvailabilityHandler(_ handler: @escaping @Sendable () -> Void) {
        onAvailable.withLock { $0.call = handler }
    }

    private func tellAvailable() { onAvailable.withLock { $0.call }?() }

    private func countLive(_ state: inout State) {
        let bytes = state.live.reduce(0) { $0 + $1.capacity }
        live.store(bytes, ordering: .relaxed)
        let over = bytes + configuration.fileBytes - configuration.totalBytes
        excess.store(state.live.count < 2 ? 0 : max(0, over), ordering: .relaxed)
        metrics.liveBytes.set(bytes)
    }

    var liveBytes: Int { live.load(ordering: .relaxed) }

    var oldestSequence: UInt64 { state.withLock { $0.live[0].sequence } }

    /// The file of that sequence while it is in use.
    func file(_ sequence: UInt64) -> WALFile? {
        state.withLock { state in
            // A handful of files, and the one wanted is near the end.
            state.live.last { $0.sequence == sequence }
        }
    }

    func grew() { state.withLock { countLive(&$0) } }

    // MARK: The next file

    /// The file to go on in, if it is ready; it is in use from now on.
    func takeNext() -> WALFile? {
        state.withLock { state in
            guard !state.next.isEmpty else { return nil }
            let file = state.next.removeFirst()
            state.live.append(file)
            countLive(&state)
            return file
        }
    }

    /// Has the next file made unless there is one.
    func wantNext() {
        let now = clock.monotonicNanoseconds
        let shallPrepare = state.withLock { state in
            guard state.next.isEmpty, !state.isPreparing, !state.isClosed, now >= state.retryAt
            else { return false }
            state.isPreparing = true
            return true
        }
        if shallPrepare { preparer.execute { [self] in prepare() } }
    }

    private func prepare() {
        let (sequence, salt, recycled, size) = state.withLock { state in
            (
                state.nextSequence, state.generator.next(),
                state.free.isEmpty ? nil : state.free.removeFirst(), nextSize(&state)
            )
        }
        do {
            if recycled == nil { try checkRoom() } else { CoverageMark.walFileRecycled.hit() }
            let file = try maker.make(
                sequence: sequence,
                salt: salt,
                size: size,
                atMost: configuration.fileBytes,
                recycling: recycled
            )
            state.withLock { state in
                state.next.append(file)
                state.nextSequence = sequence + 1
                state.isPreparing = false
            }
            tellAvailable()
        } catch {
            // The log grows the file it has, or tells that the disk is full, and asks again. Should
            // the rename have happened, the next attempt replaces what it left.
            let now = clock.monotonicNanoseconds
            state.withLock { state in
                state.isPreparing = false
                state.retryAt = now + Self.retryNanoseconds
            }
            if let recycled { try? maker.files.remove(maker.path(recycled)) }
        }
    }

    /// Twice the file that is being written, up to the size of a file: a log that takes little does
    /// not keep the disk from its commits for as long as a large file takes to fill.
    private func nextSize(_ state: inout State) -> Int {
        guard let last = state.live.last else { preconditionFailure("a log without a file") }
        return min(2 * last.capacity, configuration.fileBytes)
    }

    /// Leaves the last of the disk to those who need it now.
    private func checkRoom() throws(FileError) {
        let available = try maker.files.availableBytes(maker.directory)
        guard available >= 2 * configuration.fileBytes else {
            throw FileError(.noSpace, operation: "prepare a file", path: maker.directory)
        }
    }

    // MARK: Giving back

    /// Files below `sequence` are not needed any more; the one being written always is.
    ///
    /// - Returns: Whether any was given back.
    func release(before sequence: UInt64) -> Bool {
        let (hasReleased, shallRelease) = state.withLock { state in
            let count = state.live.count
            while state.live.count > 1, state.live[0].sequence < sequence {
                state.releasing.append(state.live.removeFirst())
            }
            countLive(&state)
            let hasReleased = state.live.count < count
            guard !state.releasing.isEmpty, !state.isReleasing, !state.isClosed else {
                return (hasReleased, false)
            }
            state.isReleasing = true
            return (hasReleased, true)
        }
        if shallRelease { preparer.execute { [self] in giveBack() } }
        return hasReleased
    }

    private func giveBack() {
        var hasFreed = false
        while let file = state.withLock({ $0.releasing.first }) {
            // After an error the rest waits for the next release: never a hole in the sequence.
            let limit = configuration.fileBytes
            guard let name = try? maker.setFree(file, atMost: limit) else { break }
            let keep = state.withLock { state in
                state.releasing.removeFirst()
                let others = state.next.count + state.free.count
                guard liveBytes + (others + 1) * limit <= configuration.totalBytes
                else { return false }
                state.free.append(name)
                return true
            }
            if !keep { try? maker.files.remove(maker.path(name)) }
            hasFreed = true
        }
        state.withLock { state in
            state.isReleasing = false
            if hasFreed { state.retryAt = .min }
        }
        if hasFreed { tellAvailable() }
    }

    // MARK: Space

    /// Bytes in use above the limit, less one file that is kept ready; 0 below it.
    var excessBytes: Int { excess.load(ordering: .relaxed) }

    /// The sequence below which files are wanted back; `nil` while there is space.
    var pressure: UInt64? {
        guard liveBytes > configuration.totalBytes / 2 else { return nil }
        return state.withLock { state in
            state.live.count < 2 ? nil : state.live[max(1, state.live.count / 2)].sequence
        }
    }

    /// Nothing is begun any more; `then` runs once what was begun has ended.
    func close(then: @escaping @Sendable () -> Void) {
        state.withLock { $0.isClosed = true }
        preparer.execute(then)
    }
}
