import Broker
import Configuration
import Coordinators
import Platform
import RaftRuntime
import TLS
import WriteAheadLog

/// Turns the configuration into what the node's parts take.
enum NodeSettings {
    static func make(_ configuration: ServerConfiguration) -> Node.Settings {
        let wal = WALConfiguration(
            directory: configuration.dataDirectory + "/wal",
            profile: WALProfile(rawValue: configuration.walProfile) ?? .medium,
            fileBytes: configuration.walFileBytes,
            totalBytes: configuration.walTotalBytes,
            syncs: !configuration.noFsync
        )
        return Node.Settings(broker: broker(configuration), wal: wal, groups: groups(configuration))
    }

    static func make(_ configuration: ClusterConfiguration) -> Node.Settings {
        var settings = make(configuration.server)
        settings.cluster = ClusterSettings(
            clusterID: configuration.name,
            nodes: configuration.nodes.map { .init(id: Int32($0.id), raft: $0.raftAddress) },
            raftListen: configuration.raftListenAddress,
            raftAdvertised: configuration.raftAdvertisedAddress,
            rack: configuration.rack,
            defaultReplicationFactor: Int16(configuration.defaultReplicationFactor),
            raft: raft(configuration)
        )
        settings.broker.brokerConfigs["min.insync.replicas"] = "\(configuration.minInSyncReplicas)"
        settings.cluster?.metadataAcknowledgement =
            configuration.metadataAcks == .leader ? .leader : .quorum
        settings.cluster?.proxiesProduces = configuration.producesAreProxied
        let files = configuration.tls.map(CredentialFiles.init)
        let isFramed = configuration.transport == .framed
        settings.cluster?.makeWire = { wire in
            let security = files.map { callSecurity($0, wire) }
            return isFramed
                ? CallableFramedWire(wire, security: security) : GRPCWire(wire, security: security)
        }
        return settings
    }

    private static func callSecurity(_ files: CredentialFiles, _ wire: WireSettings) -> CallSecurity
    {
        guard let tls = wire.stage as? NodeTLS else {
            preconditionFailure("TLS asked for, and nothing to check certificates with")
        }
        return CallSecurity(files, checkedBy: tls)
    }

    private static func raft(_ configuration: ClusterConfiguration) -> RaftConfig {
        var raft = RaftConfig()
        raft.tickMilliseconds = configuration.heartbeatIntervalMilliseconds
        raft.heartbeatTicks = 1
        raft.electionTicks =
            configuration.electionTimeoutMilliseconds / configuration.heartbeatIntervalMilliseconds
        raft.snapshotBytesPerSecond = configuration.snapshotBytesPerSecond ?? .max
        raft.maxSnapshotsSent = configuration.snapshotTransfers
        raft.maxSnapshotsReceived = configuration.snapshotTransfers
        return raft
    }

    private static func broker(_ configuration: ServerConfiguration) -> BrokerSettings {
        var broker = BrokerSettings()
        broker.listen = configuration.listenAddress
        broker.advertise = { configuration.advertisedAddress(boundTo: $0) }
        broker.dataDirectory = configuration.dataDirectory
        broker.nodeID = Int32(configuration.nodeID)
        broker.autoCreateTopics = configuration.autoCreateTopics
        broker.defaultPartitions = Int32(configuration.numPartitions)
        broker.offsetsPartitions = Int32(configuration.offsetsTopicPartitions)
        broker.memoryBytes = configuration.memoryBytes
        broker.maxConnections = configuration.maxConnections
        broker.maxIdleMilliseconds = Int64(configuration.connectionsMaxIdleMilliseconds)
        broker.retentionCheckMilliseconds = Int64(configuration.logRetentionCheckMilliseconds)
        broker.producerExpirationMilliseconds = Int64(
            configuration.producerIDExpirationMilliseconds
        )
        broker.fetchSessionSlots = configuration.fetchSessionCacheSlots
        broker.fetchMaxBytes = configuration.fetchMaxBytes
        broker.connection.maxRequestBytes = configuration.requestMaxBytes
        broker.connection.maxInFlightRequests = configuration.connectionMaxInFlightRequests
        broker.brokerConfigs = topicDefaults(configuration)
        return broker
    }

    /// Broker-wide defaults of topics that were set, by the names Kafka gives them.
    private static func topicDefaults(_ configuration: ServerConfiguration) -> [String: String] {
        [
            "message.max.bytes": "\(configuration.messageMaxBytes)",
            "compression.type": configuration.compressionType,
            "log.cleanup.policy": configuration.cleanupPolicy,
            "log.message.timestamp.type": configuration.timestampType,
            "log.retention.ms": "\(configuration.retentionMilliseconds)",
            "log.retention.bytes": "\(configuration.logRetentionBytes)",
            "log.segment.bytes": "\(configuration.logSegmentBytes)",
            "log.roll.ms": "\(configuration.segmentMilliseconds)",
            "log.index.interval.bytes": "\(configuration.logIndexIntervalBytes)",
        ]
    }

    private static func groups(_ configuration: ServerConfiguration) -> GroupSettings {
        var groups = GroupSettings()
        groups.initialRebalanceDelay = Int64(configuration.groupInitialRebalanceDelayMilliseconds)
        groups.minSessionTimeout = Int64(configuration.groupMinSessionTimeoutMilliseconds)
        groups.maxSessionTimeout = Int64(configuration.groupMaxSessionTimeoutMilliseconds)
        groups.maxGroupSize = configuration.groupMaxSize
        groups.offsetMetadataMaxBytes = configuration.offsetMetadataMaxBytes
        groups.offsetsRetention = Int64(configuration.offsetsRetentionMinutes) * 60_000
        return groups
    }
}
