import KafkaProtocol

/// A produce request waiting for its batches to be committed.
///
/// Confined to the loop of the shard that appended them. One object a request and shard, however
/// many partitions it has.
final class ProduceWait {
    private(set) var results: [AppendResult]
    private var remaining = 0
    private var done: (([AppendResult]) -> Void)?
    let deadline: Int64

    init(count: Int, deadline: Int64) {
        results = Array(repeating: .init(error: .unknownServerError), count: count)
        self.deadline = deadline
    }

    var isDone: Bool { remaining == 0 }

    /// The outcome of a batch that nobody has to wait for.
    func settle(_ slot: Int, _ result: AppendResult) { results[slot] = result }

    /// The batch in `slot` is appended; `result` holds once it is committed.
    func expect(_ slot: Int, _ result: AppendResult) {
        results[slot] = result
        remaining += 1
    }

    /// One expected batch is committed, or will never be.
    func finish(_ slot: Int, error: ErrorCode? = nil) {
        if let error { results[slot] = AppendResult(error: error) }
        remaining -= 1
        guard remaining == 0, let done else { return }
        self.done = nil
        done(results)
    }

    /// Calls `done` once nothing is waited for any more; no batch may be added after this.
    func whenDone(_ done: @escaping ([AppendResult]) -> Void) {
        if isDone { done(results) } else { self.done = done }
    }

    func wait() async {
        guard !isDone else { return }
        await withUnsafeContinuation { continuation in whenDone { _ in continuation.resume() } }
    }
}

/// What a produce waits for.
enum AppendPoint: Sendable {
    /// This node has it in memory.
    case staged
    /// This node's disk has the batch.
    case written
    /// A majority's disks have it.
    case committed
}

/// What became of one batch.
struct AppendResult: Sendable {
    var error: ErrorCode
    var message: String?
    var baseOffset: Int64 = -1
    /// The broker's timestamp, where the topic uses it.
    var logAppendTime: Int64 = -1
    var logStartOffset: Int64 = -1
    /// Who leads instead, where the client came to the wrong node.
    var leader: KnownLeader?

    init(error: ErrorCode, message: String? = nil) {
        self.error = error
        self.message = message
    }

    init(baseOffset: Int64, logAppendTime: Int64, logStartOffset: Int64) {
        error = .none
        self.baseOffset = baseOffset
        self.logAppendTime = logAppendTime
        self.logStartOffset = logStartOffset
    }
}
