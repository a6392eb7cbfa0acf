import Platform
import Raft
public import RaftRuntime

/// Reaches the other nodes by length-prefixed frames over TCP, in the clear: for networks that are
/// trusted.
public struct FramedNetwork: RaftNetwork {
    private let listenAddress: String

    /// A network of nodes that listen and dial.
    ///
    /// - Parameter listenAddress: `host:port`, `[v6]:port` or `:port` for all interfaces; with port
    ///   0 the system chooses one, which ``RaftHost/address`` tells.
    public init(listen listenAddress: String) { self.listenAddress = listenAddress }

    public func makeTransport(for seat: HostSeat) throws(RaftHostError) -> any HostTransport {
        try FramedHostTransport(seat, listen: try SocketAddress(checking: listenAddress))
    }
}

/// A ``FramedTransport`` on the loops of a host.
private final class FramedHostTransport: HostTransport {
    private let transport: FramedTransport
    private let home: EventLoop

    init(_ seat: HostSeat, listen address: SocketAddress) throws(RaftHostError) {
        let platform = seat.threads.platform
        home = platform.loops[0]
        transport = FramedTransport(
            FramedTransportConfiguration(
                identity: NodeIdentity(
                    cluster: seat.cluster,
                    node: seat.node,
                    incarnation: seat.incarnation
                ),
                listenAddress: address
            ),
            loops: platform.loops,
            generator: platform.makeGenerator(),
            metrics: MetricsRegistry()
        )
    }

    func start(delegate: any RaftTransportDelegate) async throws(RaftHostError) -> String {
        let transport = transport
        let started = await home.run {
            Result { () throws(NetworkError) in try transport.start(delegate: delegate) }
        }
        do {
            return try started.get().description
        } catch {
            throw .network("\(error)")
        }
    }

    func setPeers(_ addresses: [ReplicaID: String]) throws(RaftHostError) {
        var read: [ReplicaID: SocketAddress] = [:]
        for (peer, address) in addresses { read[peer] = try SocketAddress(checking: address) }
        transport.setPeers(read)
    }

    func send(_ frame: PeerFrame, to peer: ReplicaID) { transport.send(frame, to: peer) }

    func stop() async { await transport.stop() }
}

extension SocketAddress {
    fileprivate init(checking text: String) throws(RaftHostError) {
        guard let address = SocketAddress(text) else {
            throw .invalidConfiguration("\(text) is not an address of the form host:port")
        }
        self = address
    }
}
