import Glibc
package import Platform

/// Everything a server can be told; the initial values are the defaults.
///
/// What each means, how it is written and what it may be stands in ``ServerSettings``.
package struct ServerConfiguration: Sendable {
    // Where it is and where it keeps things.
    package var listenAddress = SocketAddress(host: "127.0.0.1", port: 9092)
    package var advertisedAddress: SocketAddress?
    package var dataDirectory = "./data"
    package var nodeID = 1

    // The write-ahead log.
    package var walProfile = "medium"
    package var walTotalBytes = 1 << 30
    package var walFileBytes = 64 << 20
    package var noFsync = false

    // What it may use of the machine.
    package var eventLoops: Int?
    package var memoryBytes = 1 << 30

    // Connections.
    package var requestMaxBytes = 104_857_600
    package var maxConnections = 10_000
    package var connectionsMaxIdleMilliseconds = 600_000
    package var connectionMaxInFlightRequests = 256
    package var fetchSessionCacheSlots = 1_000
    package var fetchMaxBytes = 57_671_680

    // Topics.
    package var numPartitions = 1
    package var autoCreateTopics = true
    package var messageMaxBytes = 1_048_588
    package var compressionType = "producer"
    package var cleanupPolicy = "delete"
    package var timestampType = "CreateTime"

    // Retention and segments.
    package var logRetentionMilliseconds: Int?
    package var logRetentionMinutes: Int?
    package var logRetentionHours = 168
    package var logRetentionBytes = -1
    package var logRetentionCheckMilliseconds = 300_000
    package var logSegmentBytes = 1 << 30
    package var logRollMilliseconds: Int?
    package var logRollHours = 168
    package var logIndexIntervalBytes = 4096

    // Consumer groups and producers.
    package var offsetsTopicPartitions = 50
    package var offsetsRetentionMinutes = 10_080
    package var offsetMetadataMaxBytes = 4096
    package var groupInitialRebalanceDelayMilliseconds = 3_000
    package var groupMinSessionTimeoutMilliseconds = 6_000
    package var groupMaxSessionTimeoutMilliseconds = 1_800_000
    package var groupMaxSize = Int(Int32.max)
    package var producerIDExpirationMilliseconds = 86_400_000

    // What it tells of itself.
    package var adminAddress = AdminAddress.at(SocketAddress(host: "127.0.0.1", port: 9644))
    package var adminTokenFile: String?
    package var logLevel = Logger.Level.info
    package var logFormat = Logger.Format.text

    /// What only a node of a cluster is told.
    package var cluster = ClusterSettings()

    /// Where each value that is not a default comes from, by key.
    package internal(set) var origins: [String: ValueOrigin] = [:]

    package init() {}
}

// MARK: What follows from several settings

extension ServerConfiguration {
    /// The age at which a segment goes, -1 for never; milliseconds win over minutes over hours.
    package var retentionMilliseconds: Int {
        if let logRetentionMilliseconds { return logRetentionMilliseconds }
        if let logRetentionMinutes {
            return logRetentionMinutes == -1 ? -1 : logRetentionMinutes * 60_000
        }
        return logRetentionHours == -1 ? -1 : logRetentionHours * 3_600_000
    }

    /// The age at which a segment is closed; milliseconds win over hours.
    package var segmentMilliseconds: Int { logRollMilliseconds ?? logRollHours * 3_600_000 }

    /// What clients are told to connect to, once the server listens on `bound`.
    ///
    /// The machine's own name when it listens on all interfaces and nothing else was said.
    package func advertisedAddress(boundTo bound: SocketAddress) -> SocketAddress {
        if let advertisedAddress { return advertisedAddress }
        guard Self.isWildcard(listenAddress.host) else {
            return SocketAddress(host: listenAddress.host, port: bound.port)
        }
        return SocketAddress(host: Self.machineName(), port: bound.port)
    }

    /// The settings that were given and not defaults, by key, as plain numbers and words.
    ///
    /// For DescribeConfigs, which tells what the operator set.
    package var given: [String: String] {
        var values: [String: String] = [:]
        for setting in ServerSettings.all where origins[setting.key] != nil {
            values[setting.key] = setting.plainText(self)
        }
        if origins["log.retention.minutes"] != nil || origins["log.retention.hours"] != nil {
            values["log.retention.ms"] = "\(retentionMilliseconds)"
        }
        if origins["log.roll.hours"] != nil { values["log.roll.ms"] = "\(segmentMilliseconds)" }
        return values
    }

    static func isWildcard(_ host: String) -> Bool { host == "0.0.0.0" || host == "::" }

    static func machineName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0, name[0] != 0 else { return "localhost" }
        return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// Where the admin server listens, if it does.
package enum AdminAddress: Sendable, Equatable {
    case none
    case at(SocketAddress)

    /// Whether only this machine can reach it.
    var isLoopback: Bool {
        guard case .at(let address) = self else { return true }
        if address.host == "localhost" || address.host == "::1" { return true }
        let parts = address.host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}

/// Where a value was set; later cases win over earlier ones.
package enum ValueOrigin: Sendable, Equatable, CustomStringConvertible {
    case file(String, line: Int)
    case environment(String)
    case option(String)

    package var description: String {
        switch self {
        case .file(let path, let line): "\(path):\(line)"
        case .environment(let name): "environment \(name)"
        case .option(let option): option
        }
    }
}
