import Broker
import Platform
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

    private let server: GRPCServer
    private let limiter: LogLimiter
    private let platform: any HostPlatform
    private let worker = Mutex<Worker?>(nil)

    init(
        _ settings: WireSettings,
        answers: CallAnswers,
        node: ClusterNode,
        delegate: any RaftTransportDelegate,
        security: CallSecurity? = nil
    ) {
        platform = settings.platform
        limiter = LogLimiter(every: .seconds(10), clock: settings.platform.clock)
        let service = RaftService(
            identity: ServiceIdentity(settings),
            handler: NodeCallHandler(node),
            answers: answers,
            delegate: delegate,
            vouch: security?.vouch,
            metrics: settings.metrics,
            loops: settings.platform.loops
        )
        var configuration = GRPCServer.Configuration()
        configuration.credentials = security?.files
        server = GRPCServer(service, configuration)
    }

    /// Has gRPC listen by itself, as it must where it is to secure connections.
    func listen(on address: SocketAddress) throws { _ = try server.listen(on: address) }

    func enter(_ connection: AcceptedConnection) {
        start().execute { [self] in
            do throws(GRPCLibrary.Missing) {
                try server.adopt(connection)
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
    let files: GRPCCredentialFiles
    let vouch: RaftService.Vouch

    init(_ files: CredentialFiles, checkedBy tls: NodeTLS) {
        self.files = GRPCCredentialFiles(
            certificate: files.certificate,
            key: files.key,
            authority: files.authority
        )
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
