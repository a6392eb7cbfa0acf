import KafkaProtocol
import Platform

/// Accepts client connections and spreads them over the event loops.
actor KafkaServer {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private static let sweepNanoseconds = Int64.seconds(10)

    private let loops: [EventLoop]
    private let router: RequestRouter
    private let settings: BrokerSettings
    private let log: Logger
    private let limiter: LogLimiter
    private let connectionCount: Gauge
    private var listener: Listener?
    /// By the number of their arrival, so that their order is not a dictionary's.
    private var connections: [Int: (connection: Connection, client: ClientConnection)] = [:]
    private var nextLoop = 0

    init(
        loops: [EventLoop],
        router: RequestRouter,
        settings: BrokerSettings,
        log: Logger,
        metrics: MetricsRegistry
    ) {
        loop = loops[0]
        self.loops = loops
        self.router = router
        self.settings = settings
        self.log = log
        limiter = LogLimiter(every: .seconds(1), clock: loops[0].clock)
        connectionCount = metrics.gauge("chronik_connections", "Open client connections.")
    }

    /// Starts to accept what has been waiting since the listener was made.
    func start(_ listener: Listener) {
        self.listener = listener
        Task.immediate(executorPreference: loop) { await self.acceptConnections(listener) }
        sweepIdle()
    }

    /// Stops listening and closes what is open.
    func stop() async {
        listener?.close()
        for (_, entry) in connections.sorted(by: { $0.key < $1.key }) {
            await entry.connection.close()
        }
        connections = [:]
    }

    private func acceptConnections(_ listener: Listener) async {
        await listener.acceptAll(on: loop, log: log, limiter) { open($0) }
    }

    private func open(_ accepted: AcceptedConnection) {
        let target = loops[nextLoop % loops.count]
        nextLoop += 1
        let number = nextLoop
        let isFull = connections.count >= settings.maxConnections
        let (router, limits, log, limiter) = (router, settings.connection, log, limiter)
        Task.immediate(executorPreference: target) { [weak self] in
            let door = ConnectionDoor(loop: target)
            guard let opened = await door.open(accepted, router, limits, log, limiter) else {
                return
            }
            guard !isFull, let self else {
                opened.client.reportBadInput("the limit on connections is reached")
                await opened.connection.close()
                return
            }
            await self.register(number, opened.connection, opened.client)
            await opened.connection.serve()
            await self.unregister(number)
        }
    }

    private func register(_ number: Int, _ connection: Connection, _ client: ClientConnection) {
        connections[number] = (connection, client)
        connectionCount.set(connections.count)
    }

    private func unregister(_ number: Int) {
        connections[number] = nil
        connectionCount.set(connections.count)
    }

    /// Closes connections that have been silent for too long.
    private func sweepIdle() {
        guard settings.maxIdleMilliseconds >= 0 else { return }
        _ = loop.schedule(after: Self.sweepNanoseconds) { [weak self] in
            self?.assumeIsolated { $0.closeIdle() }
        }
    }

    private func closeIdle() {
        let moment = loop.clock.monotonicNanoseconds - .milliseconds(settings.maxIdleMilliseconds)
        let idle = connections.filter { $0.value.client.isIdle(since: moment) }
        for (_, entry) in idle.sorted(by: { $0.key < $1.key }) {
            let connection = entry.connection
            Task.immediate(executorPreference: connection.loop) { await connection.close() }
        }
        sweepIdle()
    }
}

/// Takes an accepted connection over to the loop it will live on.
private actor ConnectionDoor {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(loop: EventLoop) { self.loop = loop }

    func open(
        _ accepted: AcceptedConnection,
        _ router: RequestRouter,
        _ limits: ConnectionLimits,
        _ log: Logger,
        _ limiter: LogLimiter
    ) -> (connection: Connection, client: ClientConnection)? {
        guard let socket = try? loop.adopt(accepted) else { return nil }
        let client = ClientConnection(peer: socket.peer, loop: loop, log: log, limiter: limiter)
        let connection = Connection(
            socket: socket,
            loop: loop,
            router: router,
            limits: limits,
            client: client
        )
        return (connection, client)
    }
}
