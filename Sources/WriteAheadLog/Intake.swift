internal import Platform

/// What waits to be written, and when the worker looks at it.
///
/// | phase | a run is | left when |
/// |---|---|---|
/// | idle | not planned | something is submitted |
/// | scheduled | planned or under way | it found nothing, or everything is written |
/// | gathering | planned for the end of the wait | enough is there, or the wait ends |
/// | stalled | planned for the next attempt | the disk has room again |
/// | ended | not planned | never |
///
/// Every plan has a ticket, and a later plan makes an earlier one void.
struct Intake {
    enum Phase: Equatable {
        case idle
        case scheduled
        case gathering
        case stalled
        case ended(WALError)
    }

    /// What to do after something changed.
    enum Action {
        case nothing
        case run(ticket: UInt64)
        case refuse(WALError)
    }

    /// What a run does.
    enum Step {
        case nothing
        case commit([WALBatch])
        case wait(nanoseconds: Int64)
        case close
    }

    private static let firstRetry = Int64.milliseconds(5)
    private static let lastRetry = Int64.milliseconds(500)

    private(set) var phase = Phase.idle
    private(set) var policy: GatherPolicy
    private let maxGroupBytes: Int
    private var pending: [WALBatch] = []
    private var records = 0
    private var bytes = 0
    private var ticket: UInt64 = 0
    private var retryDelay = Intake.firstRetry
    private(set) var isClosing = false

    init(_ profile: WALProfile) {
        policy = GatherPolicy(profile)
        maxGroupBytes = profile.maxGroupBytes
    }

    // MARK: From any thread

    mutating func accept(_ batch: WALBatch) -> Action {
        if case .ended(let error) = phase { return .refuse(error) }
        guard !isClosing else { return .refuse(.closed) }
        pending.append(batch)
        records += batch.records.count
        bytes += batch.bytes
        switch phase {
        case .idle: return plan()
        case .gathering where policy.isEnough(records: records, bytes: bytes): return plan()
        default: return .nothing
        }
    }

    /// There may be room on the disk again.
    mutating func retry() -> Action { phase == .stalled ? plan() : .nothing }

    mutating func close() -> Action {
        if case .ended(let error) = phase { return .refuse(error) }
        guard !isClosing else { return .refuse(.closed) }
        isClosing = true
        return phase == .scheduled ? .nothing : plan()
    }

    private mutating func plan() -> Action {
        phase = .scheduled
        ticket += 1
        return .run(ticket: ticket)
    }

    // MARK: From the worker

    mutating func next(_ ticket: UInt64, now: Int64) -> Step {
        guard ticket == self.ticket else { return .nothing }
        guard !pending.isEmpty else {
            phase = .idle
            return isClosing ? .close : .nothing
        }
        switch phase {
        case .idle, .ended: return .nothing
        case .gathering: policy.timedOut(records: records)
        case .stalled: break
        case .scheduled:
            let decision = policy.decide(records: records, bytes: bytes, now: now)
            if case .wait(let nanoseconds) = decision, !isClosing {
                phase = .gathering
                return .wait(nanoseconds: nanoseconds)
            }
        }
        phase = .scheduled
        return .commit(takeGroup())
    }

    /// The oldest batches, up to the bound of a group but at least one.
    private mutating func takeGroup() -> [WALBatch] {
        var taken = 0
        var end = 0
        while end < pending.count && (end == 0 || taken + pending[end].bytes <= maxGroupBytes) {
            taken += pending[end].bytes
            records -= pending[end].records.count
            end += 1
        }
        bytes -= taken
        guard end < pending.count else {
            let group = pending
            pending = []
            return group
        }
        let group = Array(pending[..<end])
        pending.removeFirst(end)
        return group
    }

    /// A group is durable; the answer plans the next run, if there is something to do.
    mutating func committed(_ group: [WALBatch], now: Int64) -> Action {
        policy.committed(
            records: group.reduce(0) { $0 + $1.records.count },
            pending: records,
            now: now
        )
        retryDelay = Self.firstRetry
        guard pending.isEmpty && !isClosing else { return plan() }
        phase = .idle
        return .nothing
    }

    /// The disk had no room for a group, which goes back to the front.
    mutating func stall(_ group: [WALBatch]) -> (ticket: UInt64, delay: Int64) {
        pending.insert(contentsOf: group, at: 0)
        for batch in group {
            records += batch.records.count
            bytes += batch.bytes
        }
        phase = .stalled
        ticket += 1
        let delay = retryDelay
        retryDelay = min(2 * delay, Self.lastRetry)
        return (ticket, delay)
    }

    /// Nothing is accepted any more; returns what was not written.
    mutating func end(_ error: WALError) -> [WALBatch] {
        let left = pending
        pending = []
        records = 0
        bytes = 0
        ticket += 1
        phase = .ended(error)
        return left
    }
}
