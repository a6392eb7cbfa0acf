import Bytes
import ClusterMetadata
package import Coordinators
import KafkaProtocol
package import Platform
import Raft
import RaftRuntime
package import WriteAheadLog

/// A whole broker in one process: everything between its data directory and its listener.
package final class Node: Sendable {
    /// What a node is made with.
    package struct Settings: Sendable {
        package var broker: BrokerSettings
        package var wal: WALConfiguration
        package var groups: GroupSettings
        /// The other nodes; `nil` for a node that is its whole cluster.
        package var cluster: ClusterSettings?

        package init(
            broker: BrokerSettings,
            wal: WALConfiguration,
            groups: GroupSettings,
            cluster: ClusterSettings? = nil
        ) {
            self.broker = broker
            self.wal = wal
            self.groups = groups
            self.cluster = cluster
        }
    }

    package let address: SocketAddress
    package let clusterID: String
    package let metrics: MetricsRegistry
    package let admin: NodeAdmin
    private let wal: GroupCommitWAL
    private let server: KafkaServer
    private let shards: [PartitionShard]
    private let cluster: ClusterLink?
    /// Held for as long as the node lives.
    private let directoryLock: any AnyObject & Sendable

    private init(
        address: SocketAddress,
        clusterID: String,
        metrics: MetricsRegistry,
        admin: NodeAdmin,
        wal: GroupCommitWAL,
        server: KafkaServer,
        shards: [PartitionShard],
        cluster: ClusterLink?,
        directoryLock: any AnyObject & Sendable
    ) {
        self.address = address
        self.clusterID = clusterID
        self.metrics = metrics
        self.admin = admin
        self.wal = wal
        self.server = server
        self.shards = shards
        self.cluster = cluster
        self.directoryLock = directoryLock
    }

    /// Recovers what the data directory holds, starts every partition, and listens.
    ///
    /// - Throws: An error whose description says what to do about it.
    package static func start(
        _ settings: Settings,
        on platform: any HostPlatform
    ) async throws -> Node {
        let boot = try NodeBoot(settings, platform)
        return try await boot.start { address, parts in
            Node(
                address: address,
                clusterID: parts.clusterID,
                metrics: parts.metrics,
                admin: parts.admin,
                wal: parts.wal,
                server: parts.server,
                shards: parts.shards,
                cluster: parts.cluster,
                directoryLock: parts.lock
            )
        }
    }

    /// Stops taking requests, writes everything into segments and closes the log.
    package func stop() async throws {
        admin.beginStopping()
        await cluster?.leave()
        await server.stop()
        for shard in shards { await shard.flushAll() }
        await cluster?.close()
        try await wal.close()
    }
}
