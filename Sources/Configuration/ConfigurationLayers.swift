import Platform

/// Lays file, environment and command line over the defaults, and gathers all that is wrong.
///
/// Layers are applied from the weakest to the strongest; every problem names where it is and what
/// would be right, and none hides another.
struct ConfigurationLayers {
    private(set) var configuration = ServerConfiguration()
    private(set) var problems: [String] = []
    /// The `[[nodes]]` of the file.
    private(set) var nodes = NodeEntries()

    mutating func apply(file: TOMLFile, path: String) {
        var seen: [String: Int] = [:]
        for entry in file.entries {
            if nodes.take(entry, path: path) { continue }
            let origin = ValueOrigin.file(path, line: entry.line)
            guard let setting = ServerSettings.named(entry.key) else {
                let near = Spelling.suggestion(for: entry.key, among: ServerSettings.names)
                problems.append("\(origin): unknown setting \(entry.key)\(near)")
                continue
            }
            if let before = seen.updateValue(entry.line, forKey: setting.key) {
                problems.append("\(origin): \(entry.key) was already set in line \(before)")
                continue
            }
            apply(entry.value, to: setting, named: entry.key, from: origin)
        }
        problems += nodes.problems
    }

    /// Takes the variables that begin with `CHRONIK_`.
    mutating func apply(environment: [String: String]) {
        let settings = Dictionary(
            uniqueKeysWithValues: ServerSettings.all.map { ($0.environmentName, $0) }
        )
        for (name, value) in environment.sorted(by: { $0.key < $1.key })
        where name.hasPrefix("CHRONIK_") && name != CommandLineParser.fileVariable {
            if let setting = settings[name] {
                apply(value, to: setting, named: name, from: .environment(name))
            } else if name == Self.metadataVariable {
                applyMetadataVariable(value, beside: environment["CHRONIK_METADATA_ACKS"])
            } else {
                let known =
                    settings.keys.sorted() + [
                        CommandLineParser.fileVariable, Self.metadataVariable,
                    ]
                let near = Spelling.suggestion(for: name, among: known)
                problems.append("unknown environment variable \(name)\(near)")
            }
        }
    }

    private static let metadataVariable = "CHRONIK_USE_METADATA_WAL"

    /// The older name of metadata.acks, which is a flag.
    private mutating func applyMetadataVariable(_ value: String, beside acks: String?) {
        guard let isLeader = Bool(value) else {
            problems.append("\(Self.metadataVariable) is '\(value)'; expected true or false")
            return
        }
        let wanted = isLeader ? MetadataAcks.leader : .quorum
        if let acks, acks != wanted.rawValue {
            problems.append(
                "\(Self.metadataVariable) is '\(value)' and CHRONIK_METADATA_ACKS is '\(acks)'; they "
                    + "contradict each other"
            )
            return
        }
        configuration.cluster.metadataAcks = wanted
        configuration.origins["metadata.acks"] = .environment(Self.metadataVariable)
    }

    mutating func apply(option: CommandLineParser.GivenOption) {
        apply(option.value, to: option.setting, named: option.name, from: .option(option.name))
    }

    private mutating func apply(
        _ value: String,
        to setting: Setting,
        named name: String,
        from origin: ValueOrigin
    ) {
        if setting.set(&configuration, value) {
            configuration.origins[setting.key] = origin
            return
        }
        let place = if case .file = origin { "\(origin): " } else { "" }
        problems.append("\(place)\(name) is '\(value)'; expected \(setting.allowed)")
    }

    /// Whether anything says that this node is one of several.
    var namesNodes: Bool { configuration.cluster.peers != nil || !nodes.entries.isEmpty }

    /// A server of its own takes nothing that only a cluster would honour.
    mutating func refuseClusterSettings() {
        let given = configuration.origins.filter { ServerSettings.clusterKeys.contains($0.key) }
        for (key, origin) in given.sorted(by: { $0.key < $1.key }) {
            problems.append(
                "\(key) (\(origin)) is for nodes of a cluster; standalone has no use for it"
            )
        }
        if let entry = nodes.entries.first {
            problems.append(
                "[[nodes]] (\(entry.origin)) are for a cluster; standalone has no use for them"
            )
        }
    }

    /// What no setting alone can tell.
    mutating func checkTogether() {
        let it = configuration
        if let host = it.advertisedAddress?.host, ServerConfiguration.isWildcard(host) {
            problems.append(
                "advertised.addr is \(host), which no client can connect to; "
                    + "expected a name or address that clients reach this machine by"
            )
        }
        if !it.adminAddress.isLoopback && it.adminTokenFile == nil {
            problems.append(
                "admin.addr is \(ValueType.adminAddress.text(it.adminAddress)), which other machines "
                    + "can reach; that needs admin.token.file, a file with a token that they must send"
            )
        }
        if it.walFileBytes > it.walTotalBytes / 2 {
            problems.append(
                "wal.file.bytes is \(ByteSize.text(it.walFileBytes)); expected at most half of "
                    + "wal.total.bytes, which is \(ByteSize.text(it.walTotalBytes))"
            )
        }
        if it.groupMinSessionTimeoutMilliseconds > it.groupMaxSessionTimeoutMilliseconds {
            problems.append(
                "group.min.session.timeout.ms is \(it.groupMinSessionTimeoutMilliseconds); expected "
                    + "at most group.max.session.timeout.ms, which is "
                    + "\(it.groupMaxSessionTimeoutMilliseconds)"
            )
        }
        if it.messageMaxBytes > it.requestMaxBytes {
            problems.append(
                "message.max.bytes is \(ByteSize.text(it.messageMaxBytes)); expected at most "
                    + "socket.request.max.bytes, which is \(ByteSize.text(it.requestMaxBytes))"
            )
        }
    }

    /// Takes the configuration as the cluster's nodes complete it.
    mutating func replace(_ completed: ServerConfiguration) { configuration = completed }

    /// What works, and will surprise.
    var warnings: [String] {
        var found: [String] = []
        if configuration.noFsync {
            found.append(
                "unsafe.no.fsync is on: a power cut or a crash of the machine loses acknowledged "
                    + "records; never keep data you need this way"
            )
        }
        if configuration.advertisedAddress == nil,
            ServerConfiguration.isWildcard(configuration.listenAddress.host)
        {
            let address = configuration.advertisedAddress(boundTo: configuration.listenAddress)
            found.append(
                "clients are told to connect to \(address), the machine's own name; set "
                    + "advertised.addr if they cannot resolve it"
            )
        }
        return found
    }
}
