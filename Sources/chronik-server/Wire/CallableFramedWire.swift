import Broker
import Platform
import Raft
import RaftGRPC
import RaftRuntime
import Synchronization

/// Frames between the nodes; on the same port gRPC for whoever speaks that.
final class CallableFramedWire: ClusterWire {
    private let settings: WireSettings
    private let security: CallSecurity?
    private let frames: FramedWire
    private let answers: CallAnswers
    private let door = Mutex<CallDoor?>(nil)

    init(_ settings: WireSettings, security: CallSecurity? = nil) {
        self.settings = settings
        self.security = security
        frames = FramedWire(settings)
        answers = CallAnswers(over: frames.transport)
    }

    var transport: any RaftTransport { answers }

    func setPeers(_ addresses: [ReplicaID: SocketAddress]) { frames.setPeers(addresses) }

    func setDirectories(_ directories: [ReplicaID: String]) { frames.setDirectories(directories) }

    func start(_ node: ClusterNode, delegate: any RaftTransportDelegate) throws {
        let door = CallDoor(
            settings,
            answers: answers,
            node: node,
            delegate: delegate,
            security: security
        )
        self.door.withLock { $0 = door }
        try frames.start(delegate: delegate) { door.enter($0, read: $1) }
    }

    func stop() async {
        await frames.stop()
        await door.withLock { $0 }?.close()
    }
}
