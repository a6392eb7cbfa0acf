import Broker
import Platform
import RaftGRPC
import RaftRuntime
import Synchronization

/// Where connections that speak gRPC are let in.
///
/// gRPC takes a moment, threads and memory to start; that happens with the first connection, on a
/// thread where nobody waits for it.
final class CallDoor: Sendable {
    let server: GRPCServer
    private let platform: any HostPlatform
    private let worker = Mutex<Worker?>(nil)

    init(
        _ settings: WireSettings,
        answers: CallAnswers,
        node: ClusterNode,
        delegate: any RaftTransportDelegate
    ) {
        platform = settings.platform
        let service = RaftService(
            identity: ServiceIdentity(settings),
            handler: NodeCallHandler(node),
            answers: answers,
            delegate: delegate,
            loops: settings.platform.loops
        )
        server = GRPCServer(service)
    }

    func enter(_ connection: AcceptedConnection) {
        let server = server
        start().execute { server.adopt(connection) }
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

extension ServiceIdentity {
    init(_ settings: WireSettings) {
        self.init(
            cluster: settings.clusterID,
            node: settings.node,
            incarnation: settings.incarnation
        )
    }
}
