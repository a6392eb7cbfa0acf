package import Bytes
package import Platform
package import Raft
package import RaftRuntime
package import RaftTransport

/// How a node and the others of its cluster reach one another.
///
/// The node makes one before its replicas, which send through it, and starts it when they can take
/// what arrives.
package protocol ClusterWire: AnyObject, Sendable {
    /// What replicas, beats and calls are sent through.
    var transport: any RaftTransport { get }

    /// Tells where the other nodes are; at any time, from any thread.
    func setPeers(_ addresses: [ReplicaID: SocketAddress])

    /// Tells which data directories the cluster knows the other nodes with; at any time, from any
    /// thread.
    func setDirectories(_ directories: [ReplicaID: String])

    /// Listens, and brings the node what arrives; once, on the first loop.
    func start(_ node: ClusterNode, delegate: any RaftTransportDelegate) throws

    /// When it returns, the delegate is not called any more.
    func stop() async
}

/// What a node tells of itself to have its wire made.
package struct WireSettings: Sendable {
    package let clusterID: String
    package let node: ReplicaID
    /// When the process started, in nanoseconds of the wall clock.
    package let incarnation: UInt64
    /// The id of the data directory.
    package let directory: String
    package let listen: SocketAddress
    /// What the nodes speak through; `nil` in the clear.
    package let stage: (any StreamStage)?
    package let platform: any HostPlatform
    package let metrics: MetricsRegistry
}

/// Frames, and nothing else unless somebody takes connections that speak HTTP/2.
package final class FramedWire: ClusterWire {
    private let frames: FramedTransport

    /// - Parameters:
    ///   - settings: Whose it is.
    ///   - keepAlive: Nanoseconds in which something is sent at least once, and in which a peer that
    ///     cannot be reached is tried again at the latest; `nil` for the usual.
    package init(_ settings: WireSettings, keepAlive: Int64? = nil) {
        var configuration = FramedTransportConfiguration(
            identity: NodeIdentity(
                cluster: settings.clusterID,
                node: settings.node,
                incarnation: settings.incarnation,
                directory: settings.directory
            ),
            listenAddress: settings.listen
        )
        configuration.stage = settings.stage
        if let keepAlive {
            configuration.keepAliveNanoseconds = keepAlive
            configuration.stallNanoseconds = 5 * keepAlive
            configuration.maxBackoffNanoseconds = keepAlive
        }
        frames = FramedTransport(
            configuration,
            loops: settings.platform.loops,
            generator: settings.platform.makeGenerator(),
            metrics: settings.metrics
        )
    }

    package var transport: any RaftTransport { frames }

    package func setPeers(_ addresses: [ReplicaID: SocketAddress]) { frames.setPeers(addresses) }

    package func setDirectories(_ directories: [ReplicaID: String]) {
        frames.setDirectories(directories)
    }

    package func start(_ node: ClusterNode, delegate: any RaftTransportDelegate) throws {
        try start(delegate: delegate, http2: nil)
    }

    /// Starts with somebody who takes connections that speak HTTP/2, and what was read of them.
    package func start(
        delegate: any RaftTransportDelegate,
        http2: (@Sendable (AcceptedConnection, ByteSlice) -> Void)?
    ) throws {
        _ = try frames.start(delegate: delegate, http2: http2)
    }

    package func stop() async { await frames.stop() }
}
