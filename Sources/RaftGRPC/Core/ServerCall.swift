import Bytes
import CGRPC
import Synchronization

/// One call at the server, from any thread.
///
/// Every batch under way holds on to the call, so that what gRPC writes to is there until then.
final class ServerCall: @unchecked Sendable {
    // Unchecked: gRPC's calls are safe to use from any thread; `message` is only looked at by the
    // report of the one receive under way, the rest before the call is handed on.
    private let call: UnsafeMutablePointer<cgrpc_call>
    private let isFinished = Atomic(false)
    private let hasEnded = Atomic(false)
    private let onEnd: @Sendable () -> Void

    /// - Parameter onEnd: Called when the call is over, if it ever began.
    init(onEnd: @escaping @Sendable () -> Void) {
        guard let call = cgrpc_call_make() else { preconditionFailure("no memory for a call") }
        self.call = call
        self.onEnd = onEnd
    }

    deinit { cgrpc_call_free(call) }

    /// Waits for a client to call.
    func accept(
        from server: OpaquePointer,
        _ queue: OpaquePointer,
        _ body: @escaping @Sendable (Bool) -> Void
    ) {
        Completion.expect(body) { tag in cgrpc_request_call(server, queue, call, tag) }
    }

    /// Call once a client has called.
    func begin() {
        Completion.expect({ [self] _ in
            hasEnded.store(true, ordering: .releasing)
            onEnd()
        }) { tag in cgrpc_watch_close(call, tag) }
    }

    var path: String { text(of: call.pointee.details.method) }

    /// Whether nobody waits for the answer any more.
    var isOver: Bool { hasEnded.load(ordering: .acquiring) }

    /// Time left for the answer; `Int64.max` when the caller set none.
    var nanosecondsLeft: Int64 { cgrpc_nanoseconds_until(call.pointee.details.deadline) }

    /// The next message; `nil` when there are no more, or the call is broken.
    func receive(_ body: @escaping @Sendable (ByteSlice?) -> Void) {
        Completion.expect({ [self] succeeded in
            body(succeeded ? call.takeMessage() : nil)
        }) { tag in cgrpc_receive(call, tag) }
    }

    /// Ends the call; a second time does nothing.
    func finish(_ result: Result<ByteRope, RaftCallError>) {
        guard !isFinished.exchange(true, ordering: .acquiringAndReleasing) else { return }
        switch result {
        case .success(let answer):
            Completion.expect({ [self] _ in _ = self }) { tag in
                cgrpc_finish(call, makeByteBuffer([answer]), GRPC_STATUS_OK, "", nil, nil, 0, tag)
            }
        case .failure(let error):
            finish(with: error.status)
        }
    }

    private func finish(with status: CallStatus) {
        let detail = status.detail?.encoded().joined() ?? ByteSlice()
        detail.withUnsafeBytes { detail in
            Completion.expect({ [self] _ in _ = self }) { tag in
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
}
