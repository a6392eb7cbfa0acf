import Bytes
import CGRPC
import Glibc
import Synchronization

/// One call at the server, from any thread.
///
/// What gRPC writes to lives until the call is finished and every batch was reported; a batch that
/// would come after that is not started.
final class ServerCall: @unchecked Sendable {
    // Unchecked: gRPC's calls are safe to use from any thread; `message` is only looked at by the
    // report of the one receive under way, the rest before the call is handed on.
    private let call: UnsafeMutablePointer<cgrpc_call>
    private let isFinished = Atomic(false)
    private let hasEnded = Atomic(false)
    /// Batches under way, and one more until the call is finished.
    private let uses = Atomic(1)
    private let onOversized: @Sendable () -> Void
    private let onRelease: @Sendable (ServerCall) -> Void

    /// What is called; known once it has begun.
    private(set) var path = ""
    private var deadline = gpr_timespec()

    /// - Parameters:
    ///   - onOversized: Called when gRPC refuses a message for its length, which ends the call.
    ///   - onRelease: Called when the call is over and gRPC has forgotten it.
    init(
        onOversized: @escaping @Sendable () -> Void,
        onRelease: @escaping @Sendable (ServerCall) -> Void
    ) {
        guard let call = cgrpc_call_make() else { preconditionFailure("no memory for a call") }
        self.call = call
        self.onOversized = onOversized
        self.onRelease = onRelease
    }

    /// Waits for a client to call; after a failure the call is gone.
    func accept(
        from server: OpaquePointer,
        _ queue: OpaquePointer,
        _ body: @escaping @Sendable (Bool) -> Void
    ) {
        Completion.expect({ [self] succeeded in
            if !succeeded { cgrpc_call_free(call) }
            body(succeeded)
        }) { tag in cgrpc_request_call(server, queue, call, tag) }
    }

    /// Call once a client has called.
    func begin() {
        path = text(of: call.pointee.details.method)
        deadline = call.pointee.details.deadline
        start({ [self] _ in hasEnded.store(true, ordering: .releasing) }) { tag in
            cgrpc_watch_close(call, tag)
        }
    }

    /// Whether nobody waits for the answer any more.
    var isOver: Bool { hasEnded.load(ordering: .acquiring) }

    /// What the caller's certificate is, PEM; `nil` when it has shown none.
    ///
    /// Only before the call is finished.
    var certificate: ByteSlice? {
        var count = 0
        guard let copy = cgrpc_call_certificate(call, &count) else { return nil }
        defer { free(copy) }
        return ByteSlice(copying: UnsafeRawBufferPointer(start: copy, count: count))
    }

    /// Time left for the answer; `Int64.max` when the caller set none.
    var nanosecondsLeft: Int64 { cgrpc_nanoseconds_until(deadline) }

    /// The next message; `nil` when there are no more, or the call is broken.
    ///
    /// Nothing happens when the call is finished.
    func receive(_ body: @escaping @Sendable (ByteSlice?) -> Void) {
        start(
            { [self] succeeded in
                // A message was there, and gRPC itself did not take it.
                if !succeeded && cgrpc_call_had_message(call) != 0 { onOversized() }
                body(succeeded ? call.takeMessage() : nil)
            },
            from: { tag in cgrpc_receive(call, tag) }
        )
    }

    /// Ends the call; a second time does nothing.
    func finish(_ result: Result<ByteRope, RaftCallError>) {
        guard !isFinished.exchange(true, ordering: .acquiringAndReleasing) else { return }
        switch result {
        case .success(let answer):
            start({ _ in }) { tag in
                cgrpc_finish(call, makeByteBuffer([answer]), GRPC_STATUS_OK, "", nil, nil, 0, tag)
            }
        case .failure(let error):
            finish(with: error.status)
        }
        release()
    }

    private func finish(with status: CallStatus) {
        let detail = status.detail?.encoded().joined() ?? ByteSlice()
        start({ _ in }) { tag in
            detail.withUnsafeBytes { detail in
                cgrpc_finish(
                    call,
                    nil,
                    grpc_status_code(rawValue: status.code.rawValue),
                    status.text,
                    ErrorDetail.key,
                    detail.baseAddress,
                    detail.count,
                    tag
                )
            }
        }
    }

    /// Starts a batch unless the call is gone.
    @discardableResult
    private func start(
        _ body: @escaping @Sendable (Bool) -> Void,
        from batch: (UnsafeMutableRawPointer) -> grpc_call_error
    ) -> Bool {
        var known = uses.load(ordering: .acquiring)
        while known > 0 {
            let (exchanged, now) = uses.compareExchange(
                expected: known,
                desired: known + 1,
                ordering: .acquiringAndReleasing
            )
            if exchanged {
                Completion.expect(
                    { [self] succeeded in
                        body(succeeded)
                        release()
                    },
                    from: batch
                )
                return true
            }
            known = now
        }
        return false
    }

    private func release() {
        guard uses.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        cgrpc_call_free(call)
        onRelease(self)
    }
}
