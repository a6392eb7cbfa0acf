import Platform

/// Makes a ``ClusterConfiguration`` of settings and `[[nodes]]`, or says why none can be made.
struct ClusterResolution {
    private(set) var configuration: ServerConfiguration
    private(set) var problems: [String] = []
    private(set) var warnings: [String] = []
    private let entries: NodeEntries
    private var nodes: [ClusterConfiguration.Node] = []

    init(_ configuration: ServerConfiguration, _ entries: NodeEntries) {
        self.configuration = configuration
        self.entries = entries
    }

    /// `nil` when there are problems.
    mutating func resolve() -> ClusterConfiguration? {
        guard configuration.origins["node.id"] != nil else {
            problems.append(
                "node.id is not set; give each node its own with --node-id or in the file"
            )
            return nil
        }
        guard ClusterPeer.ids.contains(configuration.nodeID) else {
            problems.append("node.id is \(configuration.nodeID); expected 1 or more in a cluster")
            return nil
        }
        gatherNodes()
        guard problems.isEmpty else { return nil }
        checkNodes()
        checkReplication()
        checkRaft()
        guard problems.isEmpty else { return nil }
        warn()
        return made()
    }

    private var own: ClusterConfiguration.Node? { nodes.first { $0.id == configuration.nodeID } }

    private func origin(_ key: String) -> String {
        configuration.origins[key].map { "\($0)" } ?? "default"
    }

    // MARK: Nodes

    private mutating func gatherNodes() {
        switch (configuration.cluster.peers, entries.entries.isEmpty) {
        case (.some, false):
            problems.append(
                "the nodes are given twice: peers (\(origin("peers"))) and [[nodes]] "
                    + "(\(entries.entries[0].origin)); keep one of them"
            )
        case (nil, true):
            problems.append(
                "no other node is given; expected --peers 2@node2:5001,3@node3:5001, or [[nodes]] "
                    + "in the file"
            )
        case (let peers?, true): gather(peers)
        case (nil, false): gatherEntries()
        }
    }

    private mutating func gatherEntries() {
        problems += entries.shortcomings()
        for entry in entries.entries {
            guard let id = entry.id?.value, let address = entry.reachedAt?.value else { continue }
            nodes.append(
                ClusterConfiguration.Node(
                    id: id,
                    raftAddress: address,
                    kafkaAddress: entry.clientsReachAt?.value,
                    rack: entry.rack?.value
                )
            )
        }
        guard problems.isEmpty else { return }
        guard let mine = entries.entries.first(where: { $0.id?.value == configuration.nodeID })
        else {
            problems.append(ownMissing())
            return
        }
        adopt(mine)
    }

    /// What the file says of this node, where nothing else does.
    private mutating func adopt(_ entry: NodeEntries.Entry) {
        if configuration.origins["listen.addr"] == nil {
            take(entry.kafkaAddress, "listen.addr") { $0.listenAddress = $1 }
        }
        if configuration.advertisedAddress == nil {
            take(entry.clientsReachAt, "advertised.addr") { $0.advertisedAddress = $1 }
        }
        if configuration.cluster.raftAddress == nil {
            take(entry.raftAddress, "raft.addr") { $0.cluster.raftAddress = $1 }
        }
        if configuration.cluster.advertisedRaftAddress == nil {
            take(entry.reachedAt, "advertised.raft.addr") { $0.cluster.advertisedRaftAddress = $1 }
        }
        if configuration.cluster.rack == nil {
            take(entry.rack, "broker.rack") { $0.cluster.rack = $1 }
        }
        updateOwn()
    }

    private mutating func take<Value>(
        _ located: NodeEntries.Located<Value>?,
        _ key: String,
        _ set: (inout ServerConfiguration, Value) -> Void
    ) {
        guard let located else { return }
        set(&configuration, located.value)
        configuration.origins[key] = located.origin
    }

    /// This node as its own settings have it; the others hear of it by these.
    private mutating func updateOwn() {
        guard let index = nodes.firstIndex(where: { $0.id == configuration.nodeID }) else { return }
        if let address = configuration.cluster.advertisedRaftAddress {
            nodes[index].raftAddress = address
        }
        nodes[index].kafkaAddress = configuration.advertisedAddress ?? nodes[index].kafkaAddress
        nodes[index].rack = configuration.cluster.rack
    }

    private mutating func gather(_ peers: [ClusterPeer]) {
        nodes = peers.map { ClusterConfiguration.Node(id: $0.id, raftAddress: $0.address) }
        for peer in peers
        where ServerConfiguration.isWildcard(peer.address.host)
            || peer.address.port == 0
        {
            problems.append("peers (\(origin("peers"))): nobody can connect to \(peer)")
        }
        // A list that names this node too is the same on each of them.
        let listed = peers.first { $0.id == configuration.nodeID }
        if configuration.cluster.raftAddress == nil, listed == nil {
            problems.append("raft.addr is not set; the other nodes connect to it")
            return
        }
        let bound = configuration.cluster.raftAddress ?? listed?.address
        configuration.cluster.raftAddress = bound
        if configuration.cluster.advertisedRaftAddress == nil, let bound {
            let reached = listed?.address ?? reachable(bound)
            configuration.cluster.advertisedRaftAddress = reached
            if listed != nil {
                configuration.origins["advertised.raft.addr"] = configuration.origins["peers"]
            }
        }
        if listed == nil, let address = configuration.cluster.advertisedRaftAddress {
            nodes.append(ClusterConfiguration.Node(id: configuration.nodeID, raftAddress: address))
        }
        updateOwn()
    }

    /// The machine's own name, when a node listens on all interfaces and nothing else was said.
    private func reachable(_ bound: SocketAddress) -> SocketAddress {
        guard ServerConfiguration.isWildcard(bound.host) else { return bound }
        if nodes.allSatisfy({ AdminAddress.at($0.raftAddress).isLoopback }) {
            return SocketAddress(host: "127.0.0.1", port: bound.port)
        }
        return SocketAddress(host: ServerConfiguration.machineName(), port: bound.port)
    }

    private func ownMissing() -> String {
        let ids = nodes.map(\.id).sorted().map { "\($0)" }.joined(separator: ", ")
        return
            "node.id is \(configuration.nodeID) (\(origin("node.id"))), and the nodes are \(ids); "
            + "this node must be one of them"
    }

    // MARK: Checks

    private mutating func checkNodes() {
        nodes.sort { $0.id < $1.id }
        if own == nil { problems.append(ownMissing()) }
        for (index, node) in nodes.enumerated() {
            for other in nodes[..<index] {
                if other.id == node.id {
                    problems.append(
                        "two nodes have the id \(node.id): \(other.raftAddress) and "
                            + "\(node.raftAddress); each needs its own"
                    )
                } else if other.raftAddress == node.raftAddress {
                    problems.append(
                        "nodes \(other.id) and \(node.id) have the same raft address "
                            + "\(node.raftAddress)"
                    )
                }
                if let address = node.kafkaAddress, address == other.kafkaAddress,
                    other.id != node.id
                {
                    problems.append(
                        "nodes \(other.id) and \(node.id) have the same kafka address \(address)"
                    )
                }
            }
            if node.kafkaAddress == node.raftAddress {
                problems.append(
                    "node \(node.id) has \(node.raftAddress) for clients and for nodes; "
                        + "expected two ports"
                )
            }
        }
        checkReach()
    }

    private mutating func checkReach() {
        if let address = configuration.cluster.advertisedRaftAddress {
            if ServerConfiguration.isWildcard(address.host) || address.port == 0 {
                problems.append(
                    "advertised.raft.addr is \(address), which no node can connect to; expected a "
                        + "name or address that the other nodes reach this machine by"
                )
            }
        }
        if configuration.listenAddress == configuration.cluster.raftAddress,
            configuration.listenAddress.port != 0
        {
            problems.append(
                "listen.addr and raft.addr are both \(configuration.listenAddress); expected two ports"
            )
        }
        let near = nodes.filter { AdminAddress.at($0.raftAddress).isLoopback }
        if let local = near.first, near.count < nodes.count {
            problems.append(
                "node \(local.id) is at \(local.raftAddress), which other machines cannot connect "
                    + "to, and not all nodes are on this machine"
            )
        }
    }

    private mutating func checkReplication() {
        let wanted = configuration.cluster.defaultReplicationFactor
        if let wanted, wanted > nodes.count {
            problems.append(
                "default.replication.factor is \(wanted) (\(origin("default.replication.factor"))); "
                    + "expected at most \(nodes.count), which is how many nodes there are"
            )
        }
        let factor = wanted ?? min(3, nodes.count)
        configuration.cluster.defaultReplicationFactor = factor
        if let least = configuration.cluster.minInSyncReplicas, least > factor {
            problems.append(
                "min.insync.replicas is \(least) (\(origin("min.insync.replicas"))); expected at "
                    + "most default.replication.factor, which is \(factor)"
            )
        }
        if configuration.cluster.minInSyncReplicas == nil {
            configuration.cluster.minInSyncReplicas = factor / 2 + 1
        }
    }

    private mutating func checkRaft() {
        let cluster = configuration.cluster
        if cluster.heartbeatIntervalMilliseconds * 5 > cluster.electionTimeoutMilliseconds {
            problems.append(
                "raft.heartbeat.interval.ms is \(cluster.heartbeatIntervalMilliseconds); expected at "
                    + "most a fifth of raft.election.timeout.ms, which is "
                    + "\(cluster.electionTimeoutMilliseconds)"
            )
        }
        let files = [
            ("raft.tls.cert.file", cluster.tlsCertificateFile),
            ("raft.tls.key.file", cluster.tlsKeyFile),
            ("raft.tls.ca.file", cluster.tlsAuthorityFile),
        ]
        let missing = files.filter { $0.1 == nil }.map(\.0)
        if !missing.isEmpty && missing.count < files.count {
            problems.append(
                "TLS between nodes needs \(files.map(\.0).joined(separator: ", ")); "
                    + "\(missing.joined(separator: " and ")) not set"
            )
        }
    }

    private mutating func warn() {
        let count = nodes.count
        if count == 1 {
            warnings.append("a cluster of one node survives the loss of none")
        } else if count % 2 == 0 {
            warnings.append(
                "\(count) nodes survive the loss of \((count - 1) / 2), as \(count - 1) do; use an odd "
                    + "number"
            )
        }
        let isFar = nodes.contains { !AdminAddress.at($0.raftAddress).isLoopback }
        if isFar && configuration.cluster.tlsCertificateFile == nil {
            warnings.append(
                "nodes trust whoever reaches raft.addr, and talk in the clear; set raft.tls.cert.file, "
                    + "raft.tls.key.file and raft.tls.ca.file unless their network is private"
            )
        }
        if configuration.cluster.metadataAcks == .leader {
            warnings.append(
                "metadata.acks is leader: a leader that dies may take topics and configuration just "
                    + "acknowledged with it"
            )
        }
    }

    private func made() -> ClusterConfiguration? {
        let cluster = configuration.cluster
        guard let raft = cluster.raftAddress, let advertised = cluster.advertisedRaftAddress,
            let factor = cluster.defaultReplicationFactor, let least = cluster.minInSyncReplicas
        else { preconditionFailure("a cluster resolved without its addresses: \(cluster)") }
        var tls: ClusterConfiguration.TLSFiles?
        if let certificate = cluster.tlsCertificateFile, let key = cluster.tlsKeyFile,
            let authority = cluster.tlsAuthorityFile
        {
            tls = .init(certificate: certificate, key: key, authority: authority)
        }
        return ClusterConfiguration(
            name: cluster.name,
            nodeID: configuration.nodeID,
            rack: cluster.rack,
            nodes: nodes,
            kafkaListenAddress: configuration.listenAddress,
            raftListenAddress: raft,
            raftAdvertisedAddress: advertised,
            transport: cluster.transport,
            electionTimeoutMilliseconds: cluster.electionTimeoutMilliseconds,
            heartbeatIntervalMilliseconds: cluster.heartbeatIntervalMilliseconds,
            snapshotBytesPerSecond: cluster.snapshotBytesPerSecond == -1
                ? nil : cluster.snapshotBytesPerSecond,
            snapshotTransfers: cluster.snapshotTransfers,
            tls: tls,
            metadataAcks: cluster.metadataAcks,
            producesAreProxied: cluster.producesAreProxied,
            defaultReplicationFactor: factor,
            minInSyncReplicas: least,
            server: configuration
        )
    }
}
