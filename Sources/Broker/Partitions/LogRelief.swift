import Platform
import Synchronization
import WriteAheadLog

/// Makes room in the write-ahead log when it asks for it: has the shards move what they need out of
/// its oldest files, and gives those back.
///
/// One round at a time; what is asked for meanwhile is done in the next.
actor LogRelief {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let shards: [PartitionShard]
    private let wal: GroupCommitWAL
    private let gate: ProduceGate
    private let log: Logger
    private let limiter: LogLimiter
    private var wanted: UInt64 = 0
    private var relieved: UInt64 = 0
    private var isRunning = false
    /// The oldest file of each group that could not be started: its entries are nowhere else.
    private var pins: [UInt64: UInt64] = [:]
    /// The oldest file of those that were pinned and run now, and were not asked to move yet.
    private var unasked = UInt64.max

    init(
        loop: EventLoop,
        shards: [PartitionShard],
        wal: GroupCommitWAL,
        gate: ProduceGate,
        log: Logger
    ) {
        self.loop = loop
        self.shards = shards
        self.wal = wal
        self.gate = gate
        self.log = log
        limiter = LogLimiter(every: .seconds(30), clock: loop.clock)
    }

    /// Takes up the log's wishes; call once every group that it remembers is started or pinned.
    nonisolated func begin() {
        let loop = loop
        wal.onPressure { [weak self] file in
            guard let self else { return }
            loop.execute {
                Task.immediate(executorPreference: loop) { await self.relieve(below: file) }
            }
        }
    }

    /// Keeps the log from `file` on for the sake of a group.
    func pin(_ group: UInt64, from file: UInt64) { pins[group] = file }

    /// The group runs, or is not wanted any more: it is asked for room as others are.
    func unpin(_ group: UInt64) {
        guard let file = pins.removeValue(forKey: group) else { return }
        unasked = min(unasked, file)
        guard unasked < wanted, !isRunning else { return }
        Task.immediate(executorPreference: loop) { await self.relieve(below: self.wanted) }
    }

    private func relieve(below file: UInt64) async {
        wanted = max(wanted, file)
        guard !isRunning else { return }
        isRunning = true
        while relieved < wanted || unasked < wanted {
            let below = wanted
            unasked = .max
            for shard in shards { await shard.relieve(below: below) }
            relieved = below
            giveBack()
        }
        isRunning = false
    }

    private func giveBack() {
        let pinned = pins.values.min() ?? .max
        wal.release(before: min(relieved, pinned, unasked))
        gate.open()
        guard pinned < relieved, wal.isOverLimit else { return }
        limiter.limited { suppressed in
            log.error(
                "the write-ahead log is full of what partitions need that could not be started; "
                    + "repair or delete them",
                ["partitions": "\(pins.count)", "suppressed": "\(suppressed)"]
            )
        }
    }
}

/// Holds connections that produce back while the write-ahead log is at its limit.
///
/// A produce waits here before it is appended, so that the order of a connection's requests stays.
/// Whoever has waited in vain goes on and is refused.
final class ProduceGate: Sendable {
    private static let patience = Int64.seconds(5)

    private let wal: GroupCommitWAL
    private let waiting = Mutex<[FetchSignal]>([])

    init(_ wal: GroupCommitWAL) {
        self.wal = wal
        wal.onPoisoned { [weak self] in self?.open() }
    }

    var isClosed: Bool { wal.isOverLimit }

    func wait(on loop: EventLoop) async {
        guard isClosed else { return }
        let signal = FetchSignal()
        waiting.withLock { $0.append(signal) }
        // Room may have come between the look and the wait.
        if !isClosed { open() }
        let timer = loop.schedule(after: Self.patience) { signal.fire() }
        await signal.wait()
        timer.cancel()
        waiting.withLock { $0.removeAll { $0 === signal } }
    }

    /// Call when there may be room.
    func open() {
        guard !isClosed else { return }
        let all = waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
        for signal in all { signal.fire() }
    }
}
