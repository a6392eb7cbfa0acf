import Admin
import AdminHTTP
import Broker
import Configuration
import Glibc
import Platform

/// The life of the process's node: started once, stopped once, on the first event loop.
actor NodeLife {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private static let log = Logger("server")

    private let platform: RealPlatform
    private let settings: Node.Settings
    private var admin: AdminDoor?
    private var node: Node?
    private var isStopping = false

    init(platform: RealPlatform, settings: Node.Settings) {
        loop = platform.loops[0]
        self.platform = platform
        self.settings = settings
    }

    /// Opens the door, then starts the node.
    nonisolated func begin(
        opening open: @escaping @Sendable () throws(ConfigurationError) -> AdminDoor?
    ) {
        Task(executorPreference: loop) { await self.start(open) }
    }

    nonisolated func end() { Task(executorPreference: loop) { await self.stop() } }

    private func start(
        _ openDoor: @Sendable () throws(ConfigurationError) -> AdminDoor?
    ) async {
        let began = loop.clock.monotonicNanoseconds
        do {
            admin = try openDoor()
        } catch {
            ChronikServer.printError("chronik-server: " + error.message)
            end(ConfigurationError.exitCode)
        }
        do {
            let node = try await Node.start(settings, on: platform)
            self.node = node
            ProcessMetrics.register(in: node.metrics, version: ChronikServer.version)
            admin?.routes.publish(node.admin)
            let took = (loop.clock.monotonicNanoseconds - began) / 1_000_000
            Self.log.info(
                "ready for Kafka clients",
                [
                    "listen": "\(node.address)",
                    "advertised": "\(settings.broker.advertise(node.address))",
                    "data-dir": settings.broker.dataDirectory, "cluster": node.clusterID,
                    "admin": admin.map { "\($0.server.address)" } ?? "none",
                    "milliseconds": "\(took)",
                ]
            )
        } catch {
            Self.log.error("the broker cannot start: \(Self.describe(error))")
            end(1)
        }
    }

    private static func describe(_ error: any Error) -> String {
        guard case .cannotListen = error as? NetworkError else { return "\(error)" }
        return "\(error); end what listens there, or set another address (listen.addr, raft.addr)"
    }

    private func stop() async {
        guard !isStopping else { return }
        isStopping = true
        guard let node else {
            // It may wait for other nodes, for however long. What it promised so far is durable, as
            // it is at any time, and clients were not served yet.
            Self.log.info("stopped before it was ready")
            end(0)
        }
        admin?.routes.withdraw()
        Self.log.info("stopping")
        do {
            try await node.stop()
        } catch {
            Self.log.error(
                "the stop was not clean; nothing acknowledged is lost",
                ["error": "\(error)"]
            )
            end(1)
        }
        Self.log.info("stopped")
        end(0)
    }

    /// Ends the process at once.
    ///
    /// Threads of gRPC may be amid a handshake, which what libraries have registered with `exit`
    /// would pull the ground from under. Nothing is left for it to do: logs are written unbuffered,
    /// and what is durable is so already.
    private func end(_ code: Int32) -> Never {
        admin?.server.stop()
        _exit(code)
    }
}
