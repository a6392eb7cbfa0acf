package import Raft

/// Linearizable reads of one replica on their way: first to be confirmed, then to be applied.
struct PendingReads {
    struct Read {
        /// What the core was last asked with.
        var context: UInt64
        var index: LogIndex?
        let deadline: UInt64
        var nextTry: UInt64
        let resume: (Result<LogIndex, RaftError>) -> Void
    }

    private var reads: [Read] = []
    private var lastContext: UInt64 = 0

    var isEmpty: Bool { reads.isEmpty }

    mutating func nextContext() -> UInt64 {
        lastContext += 1
        return lastContext
    }

    mutating func wait(
        _ context: UInt64,
        until deadline: UInt64,
        nextTry: UInt64,
        _ resume: @escaping (Result<LogIndex, RaftError>) -> Void
    ) {
        reads.append(
            Read(
                context: context,
                index: nil,
                deadline: deadline,
                nextTry: nextTry,
                resume: resume
            )
        )
    }

    mutating func confirmed(_ states: [ReadState]) {
        for state in states {
            for place in reads.indices
            where reads[place].index == nil && reads[place].context == state.context {
                reads[place].index = state.index
            }
        }
    }

    /// Takes out what may be read now.
    mutating func takeServed(applied: LogIndex) -> [Read] {
        take { ($0.index ?? .max) <= applied }
    }

    /// Takes out those whose time is up.
    mutating func takeExpired(_ now: UInt64) -> [Read] { take { $0.deadline <= now } }

    mutating func takeAll() -> [Read] { take { _ in true } }

    private mutating func take(_ isTaken: (Read) -> Bool) -> [Read] {
        guard reads.contains(where: isTaken) else { return [] }
        let taken = reads.filter(isTaken)
        reads.removeAll(where: isTaken)
        return taken
    }

    /// The context to ask the core again with, for those that were not answered in time.
    mutating func retry(_ now: UInt64, after ticks: Int) -> UInt64? {
        guard reads.contains(where: { $0.index == nil && $0.nextTry <= now }) else { return nil }
        let context = nextContext()
        for place in reads.indices
        where reads[place].index == nil && reads[place].nextTry <= now {
            reads[place].context = context
            reads[place].nextTry = now + UInt64(ticks)
        }
        return context
    }
}

extension PartitionReplica {
    /// Waits until everything that was committed when this was called is applied here; returns how
    /// far that is.
    ///
    /// Works on any replica: a follower asks its leader.
    package func readIndex() async throws(RaftError) -> LogIndex {
        let result: Result<LogIndex, RaftError> = await withUnsafeContinuation { continuation in
            readIndex { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Like ``readIndex()``, for callers that do not wait themselves; called on the loop.
    package func readIndex(_ completion: @escaping (Result<LogIndex, RaftError>) -> Void) {
        let context = reads.nextContext()
        do {
            try checkUsable()
            try ask(context)
        } catch {
            completion(.failure(error))
            return
        }
        let now = manager.ticks
        reads.wait(
            context,
            until: now + manager.config.readTimeoutTicks,
            nextTry: now + UInt64(manager.config.electionTicks),
            completion
        )
        idleTicks = 0
        manager.markDirty(self)
    }

    func serveReads() {
        let applied = node.applied
        for read in reads.takeServed(applied: applied) { read.resume(.success(applied)) }
    }

    func failReads(with error: RaftError) {
        for read in reads.takeAll() { read.resume(.failure(error)) }
    }

    /// Gives up what waited too long, and asks again what may have been lost on the way.
    func tickReads(_ now: UInt64) {
        for read in reads.takeExpired(now) { read.resume(.failure(.timedOut)) }
        guard let context = reads.retry(now, after: manager.config.electionTicks) else { return }
        // Without a leader there is nobody to ask; the next try comes.
        try? ask(context)
    }

    func ask(_ context: UInt64) throws(RaftError) {
        if manager.config.usesLeases && manager.isLate { node.onClockStall() }
        do {
            try node.readIndex(context: context)
        } catch {
            throw RaftError(error)
        }
    }
}
