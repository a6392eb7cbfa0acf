import Bytes
import CGRPC
import Platform

/// A connection to another node that gRPC makes, keeps and makes again, waiting longer each time.
final class GRPCChannel: @unchecked Sendable {
    // Unchecked: gRPC's channels are safe to use from any thread.
    private let channel: OpaquePointer
    private let completions: CompletionThread

    init(
        to address: SocketAddress,
        maxMessageBytes: Int,
        _ credentials: ChannelCredentials,
        _ completions: CompletionThread
    ) {
        self.completions = completions
        let arguments = GRPCArguments([
            ("grpc.max_receive_message_length", maxMessageBytes),
            ("grpc.max_send_message_length", -1),
            // Channels to one address do not share a connection: bulk must not delay liveness.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            // How long an attempt may take, in spite of its name.
            ("grpc.min_reconnect_backoff_ms", 2000),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.max_pings_without_data", 0),
        ])
        let made = arguments.withUnsafe {
            cgrpc_channel_create(
                "\(address)",
                credentials.pointer,
                $0.baseAddress,
                $0.count
            )
        }
        guard let made else { preconditionFailure("gRPC made no channel to \(address)") }
        channel = made
    }

    deinit { grpc_channel_destroy(channel) }

    /// A call with one request and one answer; `body` is called on gRPC's thread.
    func call(
        _ method: RaftService.Method,
        _ request: ByteRope,
        within nanoseconds: Int64,
        _ body: @escaping @Sendable (Result<ByteSlice, RaftCallError>) -> Void
    ) {
        let call = ClientCall(channel, completions, method, within: nanoseconds)
        call.ask(request, body)
    }

    /// A call with many requests and one answer; see ``ClientCall``.
    func open(_ method: RaftService.Method, within nanoseconds: Int64 = -1) -> ClientCall {
        ClientCall(channel, completions, method, within: nanoseconds)
    }
}

/// One call at the client, from any thread.
///
/// Every batch under way holds on to the call, so that what gRPC writes to is there until then.
final class ClientCall: @unchecked Sendable {
    // Unchecked: gRPC's calls are safe to use from any thread; what it writes is only looked at in
    // the report of the batch that asked for it.
    private let call: UnsafeMutablePointer<cgrpc_call>

    fileprivate init(
        _ channel: OpaquePointer,
        _ completions: CompletionThread,
        _ method: RaftService.Method,
        within nanoseconds: Int64
    ) {
        guard let call = cgrpc_call_make() else { preconditionFailure("no memory for a call") }
        self.call = call
        let deadline = cgrpc_deadline(nanoseconds)
        cgrpc_open(call, channel, completions.queue, method.rawValue, deadline)
    }

    deinit { cgrpc_call_free(call) }

    fileprivate func ask(
        _ request: ByteRope,
        _ body: @escaping @Sendable (Result<ByteSlice, RaftCallError>) -> Void
    ) {
        Completion.expect({ [self] _ in body(result()) }) { tag in
            cgrpc_call_unary(call, makeByteBuffer([request]), tag)
        }
    }

    /// Opens a stream of requests.
    ///
    /// - Parameter ended: Called once, when there is an answer or the call is broken.
    func begin(_ ended: @escaping @Sendable (Result<ByteSlice, RaftCallError>) -> Void) {
        let begun = Completion.makeTag { [self] _ in _ = self }
        Completion.expect({ [self] _ in ended(result()) }) { tag in
            cgrpc_call_stream(call, begun, tag)
        }
    }

    /// Sends the next request; one at a time.
    func send(_ request: [ByteRope], _ sent: @escaping @Sendable (Bool) -> Void) {
        Completion.expect({ [self] succeeded in
            _ = self
            sent(succeeded)
        }) { tag in cgrpc_send(call, makeByteBuffer(request), tag) }
    }

    /// No more requests.
    func halfClose() {
        Completion.expect({ [self] _ in _ = self }) { tag in cgrpc_half_close(call, tag) }
    }

    func cancel() { grpc_call_cancel(call.pointee.call, nil) }

    private func result() -> Result<ByteSlice, RaftCallError> {
        let answer = call.takeMessage()
        if call.pointee.status == GRPC_STATUS_OK, let answer { return .success(answer) }
        return .failure(
            RaftCallError(
                call.pointee.status.rawValue,
                text(of: call.pointee.status_text),
                detail()
            )
        )
    }

    private func detail() -> ErrorDetail? {
        guard let trailer = cgrpc_trailer(call, ErrorDetail.key) else { return nil }
        let bytes = UnsafeRawBufferPointer(
            start: cgrpc_slice_start(trailer),
            count: cgrpc_slice_count(trailer)
        )
        return try? ErrorDetail(protobuf: ByteSlice(copying: bytes))
    }
}
