import Platform

/// Every setting of the server, in the order help and reference show them.
///
/// Kafka's own name where Kafka has one.
package enum ServerSettings {
    package static let groups =
        [place] + clusterGroups + [
            log, machine, connections, topics, retention, groupsAndProducers, admin, speech,
        ]

    package static let all = groups.flatMap(\.settings)

    /// Keys that only a node of a cluster takes.
    static let clusterKeys = Set(
        groups.filter { $0.scope == .cluster }.flatMap(\.settings).map(\.key)
    )

    /// By key or alias.
    package static func named(_ name: String) -> Setting? { byName[name] }

    static let names = all.flatMap { [$0.key] + $0.aliases }

    private static let byName = Dictionary(
        uniqueKeysWithValues: all.flatMap { setting in
            ([setting.key] + setting.aliases).map { ($0, setting) }
        }
    )

    private static let unlimitedBytes = ValueType<Int>.bytes(-1...Int.max)
    private static let partitions = ValueType<Int>.count(1...100_000)

    private static let place = SettingGroup(
        heading: "Where it is",
        settings: [
            Setting(
                "listen.addr",
                \.listenAddress,
                .address,
                aliases: ["listeners"],
                "Address to accept Kafka clients on; port 0 takes any free one."
            ),
            Setting(
                "advertised.addr",
                optional: \.advertisedAddress,
                .address,
                aliases: ["advertised.listeners"],
                "Address clients are told to connect to; else listen.addr, or the machine's name when that is all interfaces."
            ),
            Setting(
                "data.dir",
                \.dataDirectory,
                .text("DIR", "a directory"),
                aliases: ["log.dirs", "log.dir"],
                "Directory of everything that is kept; made if it does not exist."
            ),
            Setting(
                "node.id",
                \.nodeID,
                .count(0...Int(Int32.max)),
                aliases: ["broker.id", "node_id", "cluster.node_id"],
                "Number of this node, kept for the life of the data directory."
            ),
        ]
    )

    private static let log = SettingGroup(
        heading: "Write-ahead log",
        settings: [
            Setting(
                "wal.profile",
                \.walProfile,
                .choice(["low", "medium", "high", "ultra"]),
                "How large a batch may grow under load before it is synced; none waits when idle."
            ),
            Setting(
                "wal.total.bytes",
                \.walTotalBytes,
                .bytes(1 << 20...1 << 50),
                "Disk the log may take; segments are synced early enough to stay below it."
            ),
            Setting(
                "wal.file.bytes",
                \.walFileBytes,
                .bytes(64 << 10...1 << 30),
                "Size of one of its files; at most half of wal.total.bytes."
            ),
            Setting(
                "unsafe.no.fsync",
                \.noFsync,
                .flag,
                "Acknowledge without syncing: a power cut then loses acknowledged records. Only for measuring what syncing costs."
            ),
        ]
    )

    private static let machine = SettingGroup(
        heading: "Machine",
        settings: [
            Setting(
                "event.loops",
                optional: \.eventLoops,
                .count(1...1024),
                "Threads that serve clients; else one fewer than there are cores."
            ),
            Setting(
                "memory.bytes",
                \.memoryBytes,
                .bytes(64 << 20...1 << 50),
                "Memory for requests in flight and for the newest batches; at the limit sockets are not read."
            ),
        ]
    )

    private static let connections = SettingGroup(
        heading: "Connections",
        settings: [
            Setting(
                "socket.request.max.bytes",
                \.requestMaxBytes,
                .bytes(1024...Int(Int32.max)),
                "Largest request; a longer one closes its connection."
            ),
            Setting(
                "max.connections",
                \.maxConnections,
                .count(1...Int(Int32.max)),
                "Connections at a time; more are closed at once."
            ),
            Setting(
                "connections.max.idle.ms",
                \.connectionsMaxIdleMilliseconds,
                .duration(.milliseconds, -1...Int(Int32.max)),
                "Time without a request after which a connection is closed."
            ),
            Setting(
                "connection.max.in.flight.requests",
                \.connectionMaxInFlightRequests,
                .count(1...100_000),
                "Requests of one connection served at a time; more wait in its socket."
            ),
            Setting(
                "max.incremental.fetch.session.cache.slots",
                \.fetchSessionCacheSlots,
                .count(0...1_000_000),
                "Incremental fetch sessions kept; clients beyond it send full fetches."
            ),
            Setting(
                "fetch.max.bytes",
                \.fetchMaxBytes,
                .bytes(1024...Int(Int32.max)),
                "Largest fetch response, whatever the client asks for."
            ),
        ]
    )

    private static let topics = SettingGroup(
        heading: "Topics",
        settings: [
            Setting(
                "num.partitions",
                \.numPartitions,
                partitions,
                "Partitions of a topic that does not say how many."
            ),
            Setting(
                "auto.create.topics.enable",
                \.autoCreateTopics,
                .flag,
                "Make a topic when a client first names it."
            ),
            Setting(
                "message.max.bytes",
                \.messageMaxBytes,
                .bytes(0...Int(Int32.max)),
                "Largest record batch a producer may send."
            ),
            Setting(
                "compression.type",
                \.compressionType,
                .choice(["producer"]),
                "Codec of stored batches: each is kept as its producer sent it."
            ),
            Setting(
                "log.cleanup.policy",
                \.cleanupPolicy,
                .choice(["delete"]),
                "What happens to old data: retention deletes it; nothing is compacted yet."
            ),
            Setting(
                "log.message.timestamp.type",
                \.timestampType,
                .choice(["CreateTime", "LogAppendTime"]),
                "Whose clock stamps a record."
            ),
        ]
    )

    private static let retention = SettingGroup(
        heading: "Retention and segments",
        settings: [
            Setting(
                "log.retention.ms",
                optional: \.logRetentionMilliseconds,
                .duration(.milliseconds, -1...Int.max),
                "Age at which data goes; wins over minutes and hours."
            ),
            Setting(
                "log.retention.minutes",
                optional: \.logRetentionMinutes,
                .duration(.minutes, -1...Int(Int32.max)),
                "The same in minutes; wins over hours."
            ),
            Setting(
                "log.retention.hours",
                \.logRetentionHours,
                .duration(.hours, -1...Int(Int32.max)),
                "The same in hours."
            ),
            Setting(
                "log.retention.bytes",
                \.logRetentionBytes,
                unlimitedBytes,
                "Size of a partition at which its oldest data goes."
            ),
            Setting(
                "log.retention.check.interval.ms",
                \.logRetentionCheckMilliseconds,
                .duration(.milliseconds, 1...Int(Int32.max)),
                "Time between two looks at what may go."
            ),
            Setting(
                "log.segment.bytes",
                \.logSegmentBytes,
                .bytes(1024...Int(Int32.max)),
                "Size at which a segment is closed and the next begun."
            ),
            Setting(
                "log.roll.ms",
                optional: \.logRollMilliseconds,
                .duration(.milliseconds, 1...Int.max),
                aliases: ["log.segment.ms"],
                "Age at which a segment is closed even if it is not full; wins over hours."
            ),
            Setting(
                "log.roll.hours",
                \.logRollHours,
                .duration(.hours, 1...Int(Int32.max)),
                "The same in hours."
            ),
            Setting(
                "log.index.interval.bytes",
                \.logIndexIntervalBytes,
                .bytes(0...Int(Int32.max)),
                "Bytes of log between two entries of its index."
            ),
        ]
    )

    private static let groupsAndProducers = SettingGroup(
        heading: "Consumer groups and producers",
        settings: [
            Setting(
                "offsets.topic.num.partitions",
                \.offsetsTopicPartitions,
                partitions,
                "Partitions of __consumer_offsets; fixed once it exists."
            ),
            Setting(
                "offsets.retention.minutes",
                \.offsetsRetentionMinutes,
                .duration(.minutes, 1...Int(Int32.max)),
                "How long the offsets of a group without members are kept."
            ),
            Setting(
                "offset.metadata.max.bytes",
                \.offsetMetadataMaxBytes,
                .bytes(0...Int(Int32.max)),
                "Largest note a consumer may commit with an offset."
            ),
            Setting(
                "group.initial.rebalance.delay.ms",
                \.groupInitialRebalanceDelayMilliseconds,
                .duration(.milliseconds, 0...Int(Int32.max)),
                "How long an empty group waits for more members before its first rebalance."
            ),
            Setting(
                "group.min.session.timeout.ms",
                \.groupMinSessionTimeoutMilliseconds,
                .duration(.milliseconds, 1...Int(Int32.max)),
                "Shortest session timeout a member may ask for."
            ),
            Setting(
                "group.max.session.timeout.ms",
                \.groupMaxSessionTimeoutMilliseconds,
                .duration(.milliseconds, 1...Int(Int32.max)),
                "Longest session timeout a member may ask for."
            ),
            Setting(
                "group.max.size",
                \.groupMaxSize,
                .count(1...Int(Int32.max)),
                "Members a group may have."
            ),
            Setting(
                "producer.id.expiration.ms",
                \.producerIDExpirationMilliseconds,
                .duration(.milliseconds, 1...Int(Int32.max)),
                "How long an idle idempotent producer is remembered."
            ),
        ]
    )

    private static let admin = SettingGroup(
        heading: "Admin and metrics",
        settings: [
            Setting(
                "admin.addr",
                \.adminAddress,
                .adminAddress,
                "Address of the admin and metrics server; beyond this machine only with admin.token.file."
            ),
            Setting(
                "admin.token.file",
                optional: \.adminTokenFile,
                .text("FILE", "a file"),
                "File whose first line /admin and /metrics requests must carry as 'Authorization: Bearer'."
            ),
        ]
    )

    private static let speech = SettingGroup(
        heading: "Log lines",
        settings: [
            Setting(
                "log.level",
                \.logLevel,
                .logLevel,
                "Least level of the lines on standard error."
            ),
            Setting(
                "log.format",
                \.logFormat,
                .logFormat,
                "Lines for people, or one JSON object a line."
            ),
        ]
    )
}
