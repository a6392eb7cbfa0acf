package import Bytes
package import Platform
internal import Synchronization

/// The write-ahead log that all Raft groups of a node share.
///
/// Whatever was submitted while one fdatasync ran is written with one write and made durable with
/// one more. What blocks runs on the worker it is given, except that on a fast disk a small group is
/// written by the event loop that submits it; making and recycling files runs on another worker, the
/// preparer.
///
/// | state | batches | left when |
/// |---|---|---|
/// | writing | are written | – |
/// | full | wait; nothing of them was written | the disk has room again |
/// | poisoned | fail | never: a write or fdatasync failed, and what is on disk is unknown |
/// | closed | fail | never |
package final class GroupCommitWAL: Sendable {
    package enum State: UInt8, Sendable {
        case writing
        case full
        case poisoned
        case closed
    }

    package typealias PressureHandler = @Sendable (_ below: UInt64) -> Void

    private let configuration: WALConfiguration
    private let worker: Worker
    private let clock: any Clock
    package let metrics: WALMetrics
    private let maker: FileMaker
    let inventory: FileInventory
    private let writer: GroupWriter
    /// There was no log before this one was opened.
    package let isNew: Bool
    private let intake: Mutex<Intake>
    private let visibleState = Atomic(State.writing.rawValue)
    private let inlineSync: Int64
    private let typicalSync = Atomic(Int64.max)
    private let poisonHandler = Mutex(LockedHandler<@Sendable () -> Void>())
    private let pressureHandler = Mutex(LockedHandler<PressureHandler>())
    private let closeCompletion = Mutex<(@Sendable (WALError?) -> Void)?>(nil)

    private init(
        _ configuration: WALConfiguration,
        maker: FileMaker,
        workers: (writing: Worker, preparing: Worker),
        clock: any Clock,
        metrics: WALMetrics,
        recovered: (files: RecoveredFiles, end: LogEnd),
        isNew: Bool,
        generator: SeededGenerator
    ) {
        var generator = generator
        self.configuration = configuration
        self.isNew = isNew
        worker = workers.writing
        self.clock = clock
        self.metrics = metrics
        self.maker = maker
        inlineSync = configuration.inlineSyncNanoseconds
        intake = Mutex(Intake(configuration.profile))
        inventory = FileInventory(
            configuration,
            maker: maker,
            preparer: workers.preparing,
            clock: clock,
            metrics: metrics,
            found: recovered.files,
            generator: generator.fork()
        )
        writer = GroupWriter(
            configuration,
            inventory: inventory,
            clock: clock,
            metrics: metrics,
            end: recovered.end,
            life: generator.next()
        )
        inventory.setAvailabilityHandler { [weak self] in self?.retry() }
    }

    // MARK: Opening

    /// Recovers the log and makes it ready to be written; blocks.
    ///
    /// `generator` salts the files, so that nobody outside can forge a batch. `onRecord` gets every
    /// record in the order of writing; its payload shares memory with its neighbours, so copy what
    /// is kept. What it throws ends recovery.
    ///
    /// Where records that were durable once are damaged, `onDamage` is told so, between those
    /// before and those behind, and recovery goes on; without it, and where it cannot be known what
    /// was lost, the log refuses to open.
    package static func open(
        _ configuration: WALConfiguration,
        files: FileSystem,
        worker: Worker,
        preparer: Worker,
        clock: any Clock,
        generator: SeededGenerator,
        metrics: WALMetrics = WALMetrics(),
        onDamage: ((WALDamage) throws -> Void)? = nil,
        onRecord: (WALRecordHeader, ByteSlice, WALPosition) throws -> Void
    ) throws(WALError) -> GroupCommitWAL {
        var generator = generator
        let maker = FileMaker(files: files, directory: configuration.directory)
        do {
            try files.createDirectory(configuration.directory)
            // A process that was killed may have left files under names that are not durable.
            try files.syncDirectory(configuration.directory)
        } catch {
            throw .file(error)
        }
        let found = try WALRecovery.run(files, configuration.directory, onDamage, onRecord)
        let recovered: (files: RecoveredFiles, end: LogEnd)
        do {
            for name in try files.list(configuration.directory) where name.hasSuffix(".new") {
                try files.remove(maker.path(name))
            }
            if let found {
                recovered = found
                try found.end.makeDurable()
                try removeMarker(maker)
            } else {
                recovered = try begin(configuration, maker, salt: generator.next())
            }
        } catch {
            throw .file(error)
        }
        return GroupCommitWAL(
            configuration,
            maker: maker,
            workers: (worker, preparer),
            clock: clock,
            metrics: metrics,
            recovered: recovered,
            isNew: found == nil,
            generator: generator.fork()
        )
    }

    private static func removeMarker(_ maker: FileMaker) throws(FileError) {
        let path = maker.path(FileName.cleanShutdown)
        guard maker.files.exists(path) else { return }
        try maker.files.remove(path)
        try maker.files.syncDirectory(maker.directory)
    }

    private static func begin(
        _ configuration: WALConfiguration,
        _ maker: FileMaker,
        salt: UInt64
    ) throws(FileError) -> (files: RecoveredFiles, end: LogEnd) {
        let size = max(WALBlock.roundedUp(configuration.firstFileBytes), 2 * WALBlock.size)
        let file = try maker.make(sequence: 1, salt: salt, size: size, atMost: size)
        let found = RecoveredFiles(live: [file], nextSequence: 2)
        let end = LogEnd(
            file: file,
            offset: WALBlock.size,
            nextNumber: 1,
            lastBatch: WALBlock.size,
            highestTerm: 0
        )
        return (found, end)
    }

    // MARK: Writing

    /// Hands over a batch; batches become durable in the order they were handed over.
    ///
    /// Never blocks, callable from any thread.
    package func submit(_ batch: WALBatch) {
        guard batch.bytes <= WALConfiguration.maxBatchBytes else {
            batch.loop.execute { batch.completion(.failure(.tooLarge(bytes: batch.bytes))) }
            return
        }
        let action = intake.withLock { $0.accept(batch) }
        if case .run(let ticket) = action, mayWriteInline(batch) {
            runInline(ticket, on: batch.loop)
            return
        }
        perform(action) { error in
            batch.loop.execute { batch.completion(.failure(error)) }
        }
    }

    private func retry() { perform(intake.withLock { $0.retry() }) { _ in } }

    private func perform(_ action: Intake.Action, orRefuse refuse: (WALError) -> Void) {
        switch action {
        case .nothing: return
        case .run(let ticket): worker.execute { [self] in run(ticket) }
        case .refuse(let error): refuse(error)
        }
    }

    private func run(_ ticket: UInt64) {
        let now = clock.monotonicNanoseconds
        switch intake.withLock({ $0.next(ticket, now: now) }) {
        case .nothing: return
        case .wait(let nanoseconds):
            worker.execute(after: nanoseconds) { [self] in run(ticket) }
        case .commit(let group): commit(group)
        case .close: finishClosing()
        }
    }

    // MARK: Writing on the loop

    private func mayWriteInline(_ batch: WALBatch) -> Bool {
        typicalSync.load(ordering: .relaxed) < inlineSync
            && batch.bytes <= WALConfiguration.maxInlineBytes && batch.loop.isCurrent
    }

    /// Like ``run(_:)``, on a loop; what would hold the loop up for long goes to the worker.
    private func runInline(_ ticket: UInt64, on loop: EventLoop) {
        let now = clock.monotonicNanoseconds
        switch intake.withLock({ $0.next(ticket, now: now) }) {
        case .nothing: return
        case .wait(let nanoseconds):
            _ = loop.schedule(after: nanoseconds) { [self] in runInline(ticket, on: loop) }
        case .commit(let group):
            let bytes = group.reduce(0) { $0 + $1.bytes }
            if bytes <= WALConfiguration.maxInlineBytes {
                commit(group)
            } else {
                worker.execute { [self] in commit(group) }
            }
        case .close: worker.execute { [self] in finishClosing() }
        }
    }

    private func commit(_ group: [WALBatch]) {
        switch writer.commit(group) {
        case .durable(let positions):
            setState(.writing)
            typicalSync.store(writer.typicalSync, ordering: .relaxed)
            Self.complete(group) { .success(positions[$0]) }
            let now = clock.monotonicNanoseconds
            perform(intake.withLock { $0.committed(group, now: now) }) { _ in }
            if writer.takeHasGrown() { askForSpace() }
        case .full(let error):
            setState(.full)
            let retry = intake.withLock { $0.isClosing ? nil : $0.stall(group) }
            guard let retry else {
                fail(group, .file(error))
                return
            }
            worker.execute(after: retry.delay) { [self] in run(retry.ticket) }
        case .failed(let error):
            CoverageMark.walPoisoned.hit()
            fail(group, .poisoned(error))
        }
    }

    /// Nothing is ever written again: `group` and all behind it fail.
    private func fail(_ group: [WALBatch], _ error: WALError) {
        if case .poisoned = error { setState(.poisoned) } else { setState(.closed) }
        let all = group + intake.withLock { $0.end(error) }
        Self.complete(all) { _ in .failure(error) }
        if isPoisoned, let handler = poisonHandler.withLock({ $0.call }) { handler() }
        finishClose(error)
    }

    /// Runs the completions, waking each loop once.
    private static func complete(
        _ group: [WALBatch],
        _ result: (Int) -> Result<[WALPosition], WALError>
    ) {
        typealias Completed = (completion: WALBatch.Completion, Result<[WALPosition], WALError>)
        var byLoop: [(loop: EventLoop, completed: [Completed])] = []
        for (index, batch) in group.enumerated() {
            let completed = (batch.completion, result(index))
            if let at = byLoop.firstIndex(where: { $0.loop === batch.loop }) {
                byLoop[at].completed.append(completed)
            } else {
                byLoop.append((batch.loop, [completed]))
            }
        }
        for (loop, completed) in byLoop {
            loop.execute {
                for (completion, result) in completed { completion(result) }
            }
        }
    }

    // MARK: State

    package var state: State {
        State(rawValue: visibleState.load(ordering: .relaxed)) ?? .poisoned
    }

    /// The disk has no room; what is submitted waits until it has.
    package var isFull: Bool { state == .full }

    package var isPoisoned: Bool { state == .poisoned }

    /// Has `handler` called, on any thread, once the log is poisoned.
    package func onPoisoned(_ handler: @escaping @Sendable () -> Void) {
        poisonHandler.withLock { $0.call = handler }
        if isPoisoned { handler() }
    }

    /// As many files are in use as the log may have: take in nothing more until some are given back.
    ///
    /// Never of a poisoned log: it takes nothing in, and waiting would not help.
    package var isOverLimit: Bool { !isPoisoned && inventory.excessBytes > 0 }

    /// Even what cannot be put off takes more than a quarter over the limit.
    package var isFarOverLimit: Bool { inventory.excessBytes > configuration.totalBytes / 4 }

    private func setState(_ state: State) {
        if visibleState.load(ordering: .relaxed) != state.rawValue {
            visibleState.store(state.rawValue, ordering: .relaxed)
        }
    }

    // MARK: Space

    /// Sets who is asked, on the worker, to move what it needs out of the files below a sequence
    /// and then to call ``release(before:)``.
    ///
    /// Asked each time a file is begun or grows while more than half of the log's space is in use, and again
    /// after a release that leaves the log over its limit.
    package func onPressure(_ handler: @escaping PressureHandler) {
        pressureHandler.withLock { $0.call = handler }
        worker.execute { [self] in askForSpace() }
    }

    private func askForSpace() {
        guard let below = inventory.pressure, let handler = pressureHandler.withLock({ $0.call })
        else { return }
        handler(below)
    }

    /// Says that nobody needs the files below `file` any more; callable from any thread.
    package func release(before file: UInt64) {
        // Over the limit no file may be begun, so nothing else would ask again.
        if inventory.release(before: file) && isOverLimit {
            worker.execute { [self] in askForSpace() }
        }
    }

    /// Sequence of the oldest file in use.
    package var oldestFile: UInt64 { inventory.oldestSequence }

    /// Size of the files it may have; see ``isOverLimit``.
    package var totalBytes: Int { configuration.totalBytes }

    /// Size of the files in use.
    package var liveBytes: Int { inventory.liveBytes }

    // MARK: Closing

    /// Writes what was submitted, and then where the log ends; calls `completion` once, on a worker,
    /// when no file is touched any more.
    package func close(_ completion: @escaping @Sendable (WALError?) -> Void) {
        let action = intake.withLock { intake in
            let action = intake.close()
            if case .refuse = action { return action }
            closeCompletion.withLock { $0 = completion }
            return action
        }
        perform(action) { error in inventory.close { completion(error) } }
    }

    /// Like ``close(_:)``.
    package func close() async throws(WALError) {
        let error = await withUnsafeContinuation { continuation in
            close { continuation.resume(returning: $0) }
        }
        if let error { throw error }
    }

    private func finishClosing() {
        var failure: WALError?
        do {
            try maker.files.replaceAtomically(
                maker.path(FileName.cleanShutdown),
                with: writer.marker.encoded()
            )
        } catch {
            failure = .file(error)
        }
        setState(.closed)
        let left = intake.withLock { $0.end(.closed) }
        precondition(left.isEmpty, "\(left.count) batches behind the end of the log")
        finishClose(failure)
    }

    private func finishClose(_ error: WALError?) {
        let completion = closeCompletion.withLock { waiting in
            defer { waiting = nil }
            return waiting
        }
        guard let completion else { return }
        inventory.close { completion(error) }
    }
}
