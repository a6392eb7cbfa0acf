import CGRPC
import Glibc
package import Platform
import RaftRuntime
import Synchronization

/// Serves the `RaftService` to connections that are handed over, or on a port of its own.
///
/// gRPC takes a dozen threads and some megabytes: nothing of it is started before the first
/// connection.
package final class GRPCServer: @unchecked Sendable {
    // Unchecked: the server is gRPC's, safe to use from any thread, and made under the lock.
    package struct Configuration: Sendable {
        /// A larger message is refused with RESOURCE_EXHAUSTED.
        package var maxMessageBytes = 16 << 20
        /// More at once, streams among them, are refused with RESOURCE_EXHAUSTED.
        package var maxCalls = 1024
        /// More at once on one connection wait at the client.
        package var maxCallsPerConnection = 256
        /// A connection that does not answer a ping in so many milliseconds is dead.
        package var keepaliveTimeoutMilliseconds = 10_000
        package var keepaliveIntervalMilliseconds = 10_000
        /// With them callers of a port of its own have to show a certificate.
        package var credentials: CredentialFiles?

        package init() {}
    }

    private struct Running: @unchecked Sendable {
        // Unchecked: gRPC's server is safe to use from any thread.
        let server: OpaquePointer
        let completions: CompletionThread
    }

    private enum State {
        case idle
        case running(Running)
        case stopped
    }

    /// Calls waited for at once: how many may arrive between two looks of the thread.
    private static let requestedCalls = 16

    private let configuration: Configuration
    private let service: RaftService
    private let state = Mutex(State.idle)
    private let calls = Mutex(Calls())

    private struct Calls {
        var live: [ObjectIdentifier: ServerCall] = [:]
        /// Set by whoever waits for the last one to go.
        var whenEmpty: ThreadGate?
    }

    package init(_ service: RaftService, _ configuration: Configuration = Configuration()) {
        self.service = service
        self.configuration = configuration
    }

    /// Calls under way.
    package var callCount: Int { calls.withLock { $0.live.count } }

    /// Takes over a connected socket, on which the client has yet to be answered its preface.
    ///
    /// The descriptor is the server's from here on, also when it is stopped.
    ///
    /// The first is kept waiting until gRPC has been loaded and started.
    package func adopt(_ connection: AcceptedConnection) throws(GRPCLibrary.Missing) {
        let descriptor = connection.descriptor
        do throws(GRPCLibrary.Missing) {
            try GRPCLibrary.load()
        } catch {
            close(descriptor)
            throw error
        }
        guard let running = start(listeningOn: nil) else {
            close(descriptor)
            return
        }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        cgrpc_server_adopt(running.server, descriptor)
    }

    /// Listens by itself; only as its first use.
    ///
    /// - Returns: The port, which the system chose if it was 0.
    package func listen(on address: SocketAddress) throws(NetworkError) -> UInt16 {
        var port: Int32 = 0
        guard start(listeningOn: address, { port = $0 }) != nil, port > 0 else {
            throw .cannotListen(
                address: "\(address)",
                reason: "the address is taken, or the server is in use already"
            )
        }
        return UInt16(clamping: port)
    }

    /// Ends all calls and connections; waits for the threads.
    package func stop() {
        let running = state.withLock { state -> Running? in
            defer { state = .stopped }
            if case .running(let running) = state { return running }
            return nil
        }
        guard let running else { return }
        let isDown = ThreadGate()
        let tag = Completion.makeTag { _ in isDown.open() }
        grpc_server_shutdown_and_notify(running.server, running.completions.queue, tag)
        let isEmpty = ThreadGate()
        let left = calls.withLock { calls -> [ServerCall] in
            if calls.live.isEmpty { isEmpty.open() } else { calls.whenEmpty = isEmpty }
            return Array(calls.live.values)
        }
        // Whoever still works on one of them finds it finished.
        for call in left { call.finish(.failure(.raft(.stopped))) }
        grpc_server_cancel_all_calls(running.server)
        isEmpty.wait()
        isDown.wait()
        grpc_server_destroy(running.server)
        running.completions.stop()
    }

    private func start(
        listeningOn address: SocketAddress?,
        _ listening: (Int32) -> Void = { _ in }
    ) -> Running? {
        state.withLock { state in
            switch state {
            case .stopped: return nil
            case .running(let running): return running
            case .idle:
                let running = makeServer()
                if let address {
                    listening(cgrpc_server_listen(running.server, "\(address)", credentials))
                }
                grpc_server_start(running.server)
                for _ in 0..<Self.requestedCalls { requestCall(running) }
                state = .running(running)
                return running
            }
        }
    }

    private var credentials: OpaquePointer? {
        guard let files = configuration.credentials else {
            return grpc_insecure_server_credentials_create()
        }
        return cgrpc_tls_for_server(files.certificate, files.key, files.authority)
    }

    private func makeServer() -> Running {
        let completions = CompletionThread(name: "grpc-server")
        let arguments = GRPCArguments([
            ("grpc.max_receive_message_length", configuration.maxMessageBytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", configuration.maxCallsPerConnection),
            ("grpc.keepalive_time_ms", configuration.keepaliveIntervalMilliseconds),
            ("grpc.keepalive_timeout_ms", configuration.keepaliveTimeoutMilliseconds),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 1000),
            ("grpc.so_reuseport", 0),
        ])
        let made = arguments.withUnsafe { cgrpc_server_create($0.baseAddress, $0.count) }
        guard let server = made else { preconditionFailure("gRPC made no server") }
        grpc_server_register_completion_queue(server, completions.queue, nil)
        return Running(server: server, completions: completions)
    }

    private func requestCall(_ running: Running) {
        let call = ServerCall(
            onOversized: { [service] in service.oversized.increment() },
            onRelease: { [self] call in released(call) }
        )
        call.accept(from: running.server, running.completions.queue) { [self] succeeded in
            // Not when the server is being stopped.
            guard succeeded else { return }
            requestCall(running)
            let count = calls.withLock { calls in
                calls.live[ObjectIdentifier(call)] = call
                return calls.live.count
            }
            call.begin()
            if isStopped {
                call.finish(.failure(.raft(.stopped)))
            } else if count > configuration.maxCalls {
                call.finish(.failure(.tooManyCalls(limit: UInt64(configuration.maxCalls))))
            } else {
                service.serve(call)
            }
        }
    }

    private var isStopped: Bool {
        state.withLock { if case .stopped = $0 { true } else { false } }
    }

    private func released(_ call: ServerCall) {
        calls.withLock { calls in
            calls.live[ObjectIdentifier(call)] = nil
            if calls.live.isEmpty { calls.whenEmpty?.open() }
        }
    }
}

/// Settings of a server or a channel; gRPC copies them.
struct GRPCArguments {
    private let arguments: [(key: StaticString, value: Int)]

    init(_ arguments: [(StaticString, Int)]) { self.arguments = arguments }

    func withUnsafe<Result>(
        _ body: (UnsafeBufferPointer<cgrpc_argument>) -> Result
    ) -> Result {
        let converted = arguments.map { argument in
            cgrpc_argument(
                key: UnsafeRawPointer(argument.key.utf8Start).assumingMemoryBound(to: CChar.self),
                value: Int32(clamping: argument.value)
            )
        }
        return converted.withUnsafeBufferPointer(body)
    }
}

/// Lets one thread wait for another.
final class ThreadGate: @unchecked Sendable {
    // Unchecked: a semaphore is made for several threads.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func open() { sem_post(semaphore) }

    func wait() { while sem_wait(semaphore) != 0 {} }
}
