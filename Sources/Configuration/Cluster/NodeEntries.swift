import Platform

/// The `[[nodes]]` of a configuration file: who the cluster is made of.
///
/// | key | means |
/// |---|---|
/// | `id` | the node's id |
/// | `kafka_addr` | where it listens for clients, and where they reach it |
/// | `raft_addr` | where it listens for nodes, and where they reach it |
/// | `advertised_kafka_addr`, `advertised_raft_addr` | where it is reached, when that is elsewhere |
/// | `rack` | its rack |
struct NodeEntries {
    struct Located<Value> {
        let value: Value
        let origin: ValueOrigin
    }

    struct Entry {
        let index: Int
        let origin: ValueOrigin
        var id: Located<Int>?
        var kafkaAddress: Located<SocketAddress>?
        var raftAddress: Located<SocketAddress>?
        var advertisedKafkaAddress: Located<SocketAddress>?
        var advertisedRaftAddress: Located<SocketAddress>?
        var rack: Located<String>?

        /// Where others reach it.
        var reachedAt: Located<SocketAddress>? { advertisedRaftAddress ?? raftAddress }
        var clientsReachAt: Located<SocketAddress>? { advertisedKafkaAddress ?? kafkaAddress }
    }

    static let keys = [
        "id", "kafka_addr", "raft_addr", "advertised_kafka_addr", "advertised_raft_addr", "rack",
    ]

    private(set) var entries: [Entry] = []
    private(set) var problems: [String] = []

    /// Takes `nodes[2].id` and its like; false when the key is no part of a node.
    mutating func take(_ entry: TOMLFile.Entry, path: String) -> Bool {
        guard
            entry.key == "nodes" || entry.key.hasPrefix("nodes[")
                || entry.key.hasPrefix("nodes.")
        else { return false }
        let origin = ValueOrigin.file(path, line: entry.line)
        let parts = entry.key.dropFirst("nodes[".count)
            .split(separator: "]", maxSplits: 1, omittingEmptySubsequences: false)
        guard entry.key.hasPrefix("nodes["), parts.count == 2, let index = Int(parts[0]),
            parts[1].first == "."
        else {
            problems.append(
                "\(origin): nodes are written as [[nodes]] with id, kafka_addr, raft_addr"
            )
            return true
        }
        let position: Int
        if let found = entries.firstIndex(where: { $0.index == index }) {
            position = found
        } else {
            position = entries.count
            entries.append(Entry(index: index, origin: origin))
        }
        set(String(parts[1].dropFirst()), entry.value, at: position, origin)
        return true
    }

    private mutating func set(
        _ key: String,
        _ value: String,
        at position: Int,
        _ origin: ValueOrigin
    ) {
        switch key {
        case "id": entries[position].id = read(value, .count(ClusterPeer.ids), key, origin)
        case "kafka_addr": entries[position].kafkaAddress = read(value, .address, key, origin)
        case "raft_addr": entries[position].raftAddress = read(value, .address, key, origin)
        case "advertised_kafka_addr":
            entries[position].advertisedKafkaAddress = read(value, .address, key, origin)
        case "advertised_raft_addr":
            entries[position].advertisedRaftAddress = read(value, .address, key, origin)
        case "rack": entries[position].rack = read(value, .identifier, key, origin)
        default:
            let near = Spelling.suggestion(for: key, among: Self.keys)
            problems.append("\(origin): unknown key \(key) of a node\(near)")
        }
    }

    private mutating func read<Value>(
        _ text: String,
        _ type: ValueType<Value>,
        _ key: String,
        _ origin: ValueOrigin
    ) -> Located<Value>? {
        if let value = type.parse(text) { return Located(value: value, origin: origin) }
        problems.append("\(origin): \(key) is '\(text)'; expected \(type.allowed)")
        return nil
    }

    /// What is missing from an entry, or could not be used by any node.
    func shortcomings() -> [String] {
        var found: [String] = []
        for entry in entries {
            let missing = [
                ("id", entry.id == nil), ("kafka_addr", entry.kafkaAddress == nil),
                ("raft_addr", entry.raftAddress == nil),
            ]
            for (key, isMissing) in missing where isMissing {
                found.append("\(entry.origin): a node without \(key)")
            }
            found += unreachable(entry.clientsReachAt, "kafka_addr", "advertised_kafka_addr")
            found += unreachable(entry.reachedAt, "raft_addr", "advertised_raft_addr")
        }
        return found
    }

    private func unreachable(
        _ address: Located<SocketAddress>?,
        _ key: String,
        _ advertised: String
    ) -> [String] {
        guard let address else { return [] }
        if ServerConfiguration.isWildcard(address.value.host) {
            return [
                "\(address.origin): \(key) is \(address.value), which nobody can connect to; add "
                    + "\(advertised)"
            ]
        }
        if address.value.port == 0 {
            return [
                "\(address.origin): \(key) is \(address.value); expected a port others can know"
            ]
        }
        return []
    }
}
