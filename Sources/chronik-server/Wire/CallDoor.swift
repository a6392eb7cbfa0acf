import Broker
import Bytes
import Glibc
import Platform
import Raft
import RaftGRPC
import RaftRuntime
import Synchronization
import TLS

/// Where connections that speak gRPC are let in.
///
/// gRPC takes a moment, threads and memory to start; that happens with the first connection, on a
/// thread where nobody waits for it.
final class CallDoor: Sendable {
    private static let log = Logger("raft-calls")

    /// Relayed connections at once; more are closed.
    private static let maxRelayed = 256

    private let server: GRPCServer
    private let isSecured: Bool
    /// Where gRPC listens for what is relayed, once it does.
    private let inner = Mutex<SocketAddress?>(nil)
    private let relayed = Atomic(0)
    private let limiter: LogLimiter
    private let platform: any HostPlatform
    private let worker = Mutex<Worker?>(nil)

    init(
        _ settings: WireSettings,
        answers: CallAnswers,
        node: ClusterNode,
        delegate: any RaftTransportDelegate,
        security: CallSecurity? = nil,
        onArrival: @escaping @Sendable (ReplicaID) -> Void = { _ in }
    ) {
        platform = settings.platform
        limiter = LogLimiter(every: .seconds(10), clock: settings.platform.clock)
        let service = RaftService(
            identity: ServiceIdentity(settings),
            handler: NodeCallHandler(node),
            answers: answers,
            delegate: delegate,
            vouch: security?.vouch,
            onArrival: onArrival,
            metrics: settings.metrics,
            loops: settings.platform.loops
        )
        var configuration = GRPCServer.Configuration()
        configuration.credentials = security?.files
        isSecured = security != nil
        server = GRPCServer(service, configuration)
    }

    /// Has gRPC listen by itself, as it must where it is to secure connections.
    func listen(on address: SocketAddress) throws { _ = try server.listen(on: address) }

    /// Serves a connection, of which `read` was read already: nothing in the clear.
    ///
    /// TLS is gRPC's own, and gRPC takes it only where it listens: such a connection is relayed to
    /// a loopback port, where nobody finds more than on the Raft port itself.
    func enter(_ connection: AcceptedConnection, read: ByteSlice = ByteSlice()) {
        start().execute { [self] in
            do {
                if isSecured {
                    try relay(connection, read)
                } else {
                    try server.adopt(connection)
                }
            } catch {
                limiter.limited { suppressed in
                    Self.log.error(
                        "a call cannot be answered",
                        ["error": "\(error)", "suppressed": "\(suppressed)"]
                    )
                }
            }
        }
    }

    private func relay(_ connection: AcceptedConnection, _ read: ByteSlice) throws {
        let address: SocketAddress
        do {
            address = try innerAddress()
        } catch {
            Glibc.close(connection.descriptor)
            throw error
        }
        let loop = platform.loops[0]
        loop.execute { [self] in
            guard let caller = try? loop.adopt(connection) else { return }
            guard relayed.add(1, ordering: .relaxed).newValue <= Self.maxRelayed else {
                relayed.subtract(1, ordering: .relaxed)
                return caller.close()
            }
            Task.immediate(executorPreference: loop) {
                await CallRelay.run(caller, first: read, to: address, on: loop)
                relayed.subtract(1, ordering: .relaxed)
            }
        }
    }

    private func innerAddress() throws -> SocketAddress {
        try inner.withLock { inner throws(any Error) in
            if let inner { return inner }
            try GRPCLibrary.load()
            let any = SocketAddress(host: "127.0.0.1", port: 0)
            let address = SocketAddress(host: any.host, port: try server.listen(on: any))
            inner = address
            return address
        }
    }

    private func start() -> Worker {
        worker.withLock { worker in
            let running = worker ?? platform.makeWorker(name: "grpc-door")
            worker = running
            return running
        }
    }

    /// Ends every call and connection.
    func close() async {
        let server = server
        let worker = start()
        await worker.run { server.stop() }
        worker.stop()
    }
}

/// How callers prove who they are.
struct CallSecurity: Sendable {
    let files: CredentialFiles
    let vouch: RaftService.Vouch

    init(_ files: CredentialFiles, checkedBy tls: NodeTLS) {
        self.files = files
        vouch = { try tls.check(certificate: $0, isOf: $1) }
    }
}

extension ServiceIdentity {
    init(_ settings: WireSettings) {
        self.init(
            cluster: settings.clusterID,
            node: settings.node,
            incarnation: settings.incarnation
        )
    }
}
