import Platform

/// The settings that only a node of a cluster takes.
extension ServerSettings {
    static let clusterGroups = [clusterPlace, raft, replication]

    private static let clusterPlace = SettingGroup(
        heading: "Cluster",
        scope: .cluster,
        settings: [
            Setting(
                "cluster.name",
                \.cluster.name,
                .identifier,
                "Name that all nodes of the cluster share; a node with another is refused."
            ),
            Setting(
                "raft.addr",
                optional: \.cluster.raftAddress,
                .address,
                aliases: ["node.addr"],
                otherOptions: ["--node-addr"],
                "Address to accept other nodes on; else this node's raft_addr in the file."
            ),
            Setting(
                "advertised.raft.addr",
                optional: \.cluster.advertisedRaftAddress,
                .address,
                "Address other nodes are told to connect to; else this node's in the file, or raft.addr."
            ),
            Setting(
                "peers",
                optional: \.cluster.peers,
                .peers,
                aliases: ["seed.nodes"],
                otherOptions: ["--seed-nodes"],
                "The other nodes, by id and the address nodes connect to; in the file [[nodes]] says the same."
            ),
            Setting(
                "broker.rack",
                optional: \.cluster.rack,
                .identifier,
                "Rack of this node: replicas are spread over racks, and consumers read in their own."
            ),
        ]
    )

    private static let raft = SettingGroup(
        heading: "Raft between nodes",
        scope: .cluster,
        settings: [
            Setting(
                "raft.transport",
                \.cluster.transport,
                .named,
                "What carries Raft: frames of our own, or gRPC; the port takes both."
            ),
            Setting(
                "raft.election.timeout.ms",
                \.cluster.electionTimeoutMilliseconds,
                .duration(.milliseconds, 50...60_000),
                "Time without a leader's word after which a follower stands for election; each draws between once and twice this."
            ),
            Setting(
                "raft.heartbeat.interval.ms",
                \.cluster.heartbeatIntervalMilliseconds,
                .duration(.milliseconds, 5...10_000),
                "Time between two words of an idle leader; at most a fifth of the election timeout."
            ),
            Setting(
                "raft.snapshot.bytes.per.second",
                \.cluster.snapshotBytesPerSecond,
                .bytes(-1...1 << 40),
                "Snapshots a node sends, all followers together, so that catching up slows nobody."
            ),
            Setting(
                "raft.snapshot.max.transfers",
                \.cluster.snapshotTransfers,
                .count(1...1_000),
                "Snapshots a node sends at a time."
            ),
            Setting(
                "raft.tls.cert.file",
                optional: \.cluster.tlsCertificateFile,
                .text("FILE", "a file"),
                "Certificate of this node, PEM; with key and authority both sides prove who they are."
            ),
            Setting(
                "raft.tls.key.file",
                optional: \.cluster.tlsKeyFile,
                .text("FILE", "a file"),
                "Its private key, PEM."
            ),
            Setting(
                "raft.tls.ca.file",
                optional: \.cluster.tlsAuthorityFile,
                .text("FILE", "a file"),
                "Certificates of who may sign for nodes, PEM."
            ),
        ]
    )

    private static let replication = SettingGroup(
        heading: "Replication",
        scope: .cluster,
        settings: [
            Setting(
                "metadata.acks",
                \.cluster.metadataAcks,
                .named,
                "When metadata writes are acknowledged: synced on a majority, or on the leader alone. CHRONIK_USE_METADATA_WAL=true says leader."
            ),
            Setting(
                "produce.proxy",
                \.cluster.producesAreProxied,
                .flag,
                "Pass produce requests on to the leader, for clients that cannot reach every node."
            ),
            Setting(
                "default.replication.factor",
                optional: \.cluster.defaultReplicationFactor,
                .count(1...64),
                "Replicas of a topic that does not say how many; else 3, or as many as there are nodes."
            ),
            Setting(
                "min.insync.replicas",
                optional: \.cluster.minInSyncReplicas,
                .count(1...64),
                "Replicas that must have a batch before acks=all is answered; a majority always must."
            ),
        ]
    )
}
