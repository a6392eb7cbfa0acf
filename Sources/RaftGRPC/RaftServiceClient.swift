import Bytes
package import Platform
package import Raft
package import RaftRuntime

/// Calls the `RaftService` of one node.
///
/// Connects with the first call. A call that fails because nobody is there fails at once while gRPC
/// waits to try again.
package final class RaftServiceClient: Sendable {
    private let completions: CompletionThread
    private let channel: GRPCChannel

    package init(
        at address: SocketAddress,
        maxMessageBytes: Int = 16 << 20,
        credentials: CredentialFiles? = nil
    ) {
        completions = CompletionThread(name: "grpc-calls")
        channel = GRPCChannel(
            to: address,
            maxMessageBytes: maxMessageBytes,
            ChannelCredentials(credentials),
            completions
        )
    }

    deinit { completions.stop() }

    package func appendEntries(
        _ request: AppendEntriesRequest,
        within nanoseconds: Int64
    ) async throws(RaftCallError) -> AppendEntriesResponse {
        try await call(.appendEntries, request, within: nanoseconds)
    }

    package func requestVote(
        _ request: RequestVoteRequest,
        within nanoseconds: Int64
    ) async throws(RaftCallError) -> RequestVoteResponse {
        try await call(.requestVote, request, within: nanoseconds)
    }

    package func readIndex(
        _ request: ReadIndexRequest,
        within nanoseconds: Int64
    ) async throws(RaftCallError) -> ReadIndexResponse {
        try await call(.readIndex, request, within: nanoseconds)
    }

    package func queryMetadata(
        _ request: QueryMetadataRequest,
        within nanoseconds: Int64
    ) async throws(RaftCallError) -> QueryMetadataResponse {
        try await call(.queryMetadata, request, within: nanoseconds)
    }

    package func forwardWrite(
        _ request: ForwardWriteRequest,
        within nanoseconds: Int64
    ) async throws(RaftCallError) -> ForwardWriteResponse {
        try await call(.forwardWrite, request, within: nanoseconds)
    }

    /// Sends a snapshot, piece by piece, and tells how far the follower has it.
    ///
    /// `next` gives the next piece, and `nil` after the last. The follower may have less than was
    /// sent, or want no more.
    package func installSnapshot(
        _ header: CallHeader,
        _ route: GroupRoute,
        term: Term,
        _ metadata: SnapshotMetadata,
        within nanoseconds: Int64,
        next: () async -> SnapshotChunk?
    ) async throws(RaftCallError) -> InstallSnapshotResponse {
        let call = channel.open(.installSnapshot, within: nanoseconds)
        let answer = Promise<ByteSlice>()
        call.begin { answer.keep($0) }
        var request = InstallSnapshotRequest()
        request.header = header
        request.route = route
        request.term = term.rawValue
        request.snapshot = Snapshot(metadata: metadata, payload: .empty)
        while let chunk = await next() {
            request.chunk = chunk
            let piece = request.encoded()
            let isSent = await withUnsafeContinuation { continuation in
                call.send([piece]) { continuation.resume(returning: $0) }
            }
            guard isSent else { break }
            request = InstallSnapshotRequest()
        }
        call.halfClose()
        return try decode(try await answer.value())
    }

    private func call<Request: ProtobufMessage, Answer: ProtobufMessage>(
        _ method: RaftService.Method,
        _ request: Request,
        within nanoseconds: Int64
    ) async throws(RaftCallError) -> Answer {
        let answer = Promise<ByteSlice>()
        channel.call(method, request.encoded(), within: nanoseconds) { answer.keep($0) }
        return try decode(try await answer.value())
    }

    private func decode<Answer: ProtobufMessage>(
        _ bytes: ByteSlice
    ) throws(RaftCallError) -> Answer {
        do throws(ProtobufError) {
            return try Answer(protobuf: bytes)
        } catch {
            throw .malformed("the answer of the node called: \(error)")
        }
    }
}
