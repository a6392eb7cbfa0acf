package import Admin
import CMicroHTTPD
import Glibc
package import Platform
import Synchronization

/// Serves ``AdminRoutes`` over HTTP, on a thread of its own.
///
/// Requests that ask the node suspend their connection, run as a task on an event loop and resume
/// it with the answer; responses are written out on the server's thread, so that no loop waits for
/// a slow reader or a long text.
package final class AdminServer: Sendable {
    package struct Limits: Sendable {
        package var connections = 64
        /// Memory of a connection, and so the longest request head.
        package var connectionBytes = 16 << 10
        package var bodyBytes = 4 << 10
        /// Time without a byte after which a connection is closed.
        package var idleSeconds = 10
        /// Time after which a request the node has not answered is a 503.
        package var deadlineNanoseconds = Int64.seconds(5)

        package init() {}
    }

    private struct Daemon: @unchecked Sendable {
        // Unchecked: libmicrohttpd synchronises itself; stopped once.
        let pointer: OpaquePointer
    }
    private struct State {
        var daemon: Daemon?
        var isStopping = false
        var waiting: [ObjectIdentifier: Exchange] = [:]
    }

    /// Where it listens, with the port the system chose if 0 was asked for.
    package let address: SocketAddress
    private let routes: AdminRoutes
    private let loop: EventLoop
    private let limits: Limits
    private let deadlines: Deadlines
    private let state = Mutex(State())

    private init(
        _ address: SocketAddress,
        _ routes: AdminRoutes,
        _ loop: EventLoop,
        _ limits: Limits,
        _ worker: Worker
    ) {
        self.address = address
        self.routes = routes
        self.loop = loop
        self.limits = limits
        deadlines = Deadlines(limits.deadlineNanoseconds, on: worker, clock: loop.clock)
    }

    /// Listens on `address` and serves; tasks that ask the node run on `loop`, and `platform` gives
    /// the thread that watches the time.
    package static func start(
        _ routes: AdminRoutes,
        on address: SocketAddress,
        loop: EventLoop,
        platform: any HostPlatform,
        limits: Limits = Limits()
    ) throws(AdminListenProblem) -> AdminServer {
        let listener = try AdminListener.open(address)
        let worker = platform.makeWorker(name: "admin-deadlines")
        let server = AdminServer(listener.address, routes, loop, limits, worker)
        // Released by ``stop()``; a server that is not stopped lives as long as the process.
        let context = Unmanaged.passRetained(server)
        guard
            let daemon = chronik_mhd_start(
                listener.descriptor,
                UInt32(limits.connections),
                limits.connectionBytes,
                UInt32(limits.idleSeconds),
                AdminServer.handle,
                AdminServer.complete,
                context.toOpaque()
            )
        else {
            // The listener is not closed: the library may have done so.
            context.release()
            throw AdminListenProblem(address: address, reason: "the HTTP server does not start")
        }
        server.state.withLock { $0.daemon = Daemon(pointer: daemon) }
        return server
    }

    /// Ends the thread and closes every connection, those of requests that wait too; blocks until
    /// that is done.
    package func stop() {
        let (daemon, waiting) = state.withLock { state in
            state.isStopping = true
            defer {
                state.daemon = nil
                state.waiting = [:]
            }
            return (state.daemon, state.waiting)
        }
        guard let daemon else { return }
        for exchange in waiting.values { exchange.settle { .error(503, "the node is stopping") } }
        deadlines.stop()
        MHD_stop_daemon(daemon.pointer)
        Unmanaged.passUnretained(self).release()
    }

    /// Whether a request waits for the node.
    var isAnyoneWaiting: Bool { state.withLock { !$0.waiting.isEmpty } }

    // MARK: Called by the daemon's thread

    private static let handle: MHD_AccessHandlerCallback = {
        context,
        connection,
        url,
        method,
        _,
        _,
        bodyCount,
        slot in
        guard let context, let connection, let url, let method, let bodyCount, let slot else {
            return .NO
        }
        let server = Unmanaged<AdminServer>.fromOpaque(context).takeUnretainedValue()
        guard let held = slot.pointee else {
            let exchange = Exchange()
            slot.pointee = Unmanaged.passRetained(exchange).toOpaque()
            return server.begin(connection)
        }
        let exchange = Unmanaged<Exchange>.fromOpaque(held).takeUnretainedValue()
        if bodyCount.pointee > 0 {
            // Nothing is wanted of a body; one without end is cut off.
            let total = exchange.read(bodyCount.pointee)
            bodyCount.pointee = 0
            return total > server.limits.bodyBytes ? .NO : .YES
        }
        if let response = exchange.response { return server.send(response, connection) }
        return server.answer(
            exchange,
            connection,
            path: String(cString: url),
            method: String(cString: method)
        )
    }

    private static let complete: MHD_RequestCompletedCallback = { context, _, slot, _ in
        guard let context, let slot, let held = slot.pointee else { return }
        let server = Unmanaged<AdminServer>.fromOpaque(context).takeUnretainedValue()
        let exchange = Unmanaged<Exchange>.fromOpaque(held).takeRetainedValue()
        slot.pointee = nil
        server.forget(exchange)
    }

    /// Looks at the head; the answer waits for the end of the body.
    private func begin(_ connection: OpaquePointer) -> MHD_Result {
        guard let text = Self.header("Content-Length", of: connection) else { return .YES }
        guard let length = Int(text), length <= limits.bodyBytes else {
            return send(.error(413, "no request has a body"), connection)
        }
        return .YES
    }

    private func answer(
        _ exchange: Exchange,
        _ connection: OpaquePointer,
        path: String,
        method: String
    ) -> MHD_Result {
        let request = AdminRequest(
            method: method,
            path: path,
            authorization: Self.header("Authorization", of: connection),
            origin: Self.header("Origin", of: connection)
        )
        switch routes.answer(request) {
        case .now(let response): return send(response, connection)
        case .asking(let ask):
            guard suspend(exchange, connection) else {
                return send(.error(503, "the node is stopping"), connection)
            }
            start(exchange, ask)
            return .YES
        }
    }

    private func suspend(_ exchange: Exchange, _ connection: OpaquePointer) -> Bool {
        state.withLock { state in
            guard !state.isStopping else { return false }
            MHD_suspend_connection(connection)
            exchange.wait(MHDConnection(pointer: connection))
            state.waiting[ObjectIdentifier(exchange)] = exchange
            return true
        }
    }

    private func start(
        _ exchange: Exchange,
        _ ask: @escaping @Sendable () async -> @Sendable () -> AdminResponse
    ) {
        deadlines.begin(exchange)
        Task(executorPreference: loop) { exchange.settle(await ask()) }
    }

    private func forget(_ exchange: Exchange) {
        state.withLock { _ = $0.waiting.removeValue(forKey: ObjectIdentifier(exchange)) }
    }

    private func send(_ response: AdminResponse, _ connection: OpaquePointer) -> MHD_Result {
        var body = response.body
        let made = body.withUTF8 { bytes in
            MHD_create_response_from_buffer(
                bytes.count,
                UnsafeMutableRawPointer(mutating: bytes.baseAddress),
                .RESPMEM_MUST_COPY
            )
        }
        guard let made else { return .NO }
        defer { MHD_destroy_response(made) }
        MHD_add_response_header(made, "Content-Type", response.contentType)
        MHD_add_response_header(made, "Cache-Control", "no-store")
        for header in response.headers { MHD_add_response_header(made, header.name, header.value) }
        return MHD_queue_response(connection, UInt32(response.status), made)
    }

    private static func header(_ name: String, of connection: OpaquePointer) -> String? {
        MHD_lookup_connection_value(connection, .HEADER_KIND, name).map { String(cString: $0) }
    }
}
