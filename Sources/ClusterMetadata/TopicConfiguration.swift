/// The configuration keys of a topic: what they mean, what they may be, what they default to.
///
/// Every key that Kafka's tools ask for is here, so that DescribeConfigs can list all of them;
/// names and defaults are those of Kafka's topic configuration reference.
package struct TopicConfigurationKey: Sendable {
    package enum Kind: Sendable, Equatable {
        case int(ClosedRange<Int64>)
        case long(ClosedRange<Int64>)
        case boolean
        case double(ClosedRange<Double>)
        case choice([String])
        /// Comma-separated values out of the choices; none named means any.
        case list([String])
    }

    package let name: String
    package let kind: Kind
    package let defaultValue: String
    /// The broker-wide key that sets the default of all topics, where there is one.
    package let brokerKey: String?
    package let documentation: String
    /// Set where the value cannot be changed: why not, and what to do instead.
    package let whyFixed: String?

    init(
        _ name: String,
        _ kind: Kind,
        _ defaultValue: String,
        broker brokerKey: String? = nil,
        fixed whyFixed: String? = nil,
        _ documentation: String
    ) {
        self.name = name
        self.kind = kind
        self.defaultValue = defaultValue
        self.brokerKey = brokerKey
        self.documentation = documentation
        self.whyFixed = whyFixed
    }

    package static let minInSyncReplicas = "min.insync.replicas"

    package static func named(_ name: String) -> TopicConfigurationKey? {
        all.first { $0.name == name }
    }

    /// The longest string the protocol can tell of.
    private static let maxValueBytes = Int(Int16.max)

    /// Why `value` cannot be the key's value; `nil` when it can.
    package func problem(with value: String) -> String? {
        guard value.utf8.count <= Self.maxValueBytes else {
            return "\(name) has at most \(Self.maxValueBytes) bytes, not \(value.utf8.count)"
        }
        switch kind {
        case .int(let range), .long(let range):
            guard let number = Int64(value), range.contains(number) else {
                return "\(name) is a whole number from \(range.lowerBound) to \(range.upperBound),"
                    + " not '\(value)'"
            }
        case .double(let range):
            guard let number = Double(value), range.contains(number) else {
                return "\(name) is a number from \(range.lowerBound) to \(range.upperBound),"
                    + " not '\(value)'"
            }
        case .boolean:
            guard value == "true" || value == "false" else {
                return "\(name) is true or false, not '\(value)'"
            }
        case .choice(let choices):
            guard choices.contains(value) else {
                return "\(name) is one of \(choices.joined(separator: ", ")), not '\(value)'"
            }
        case .list(let choices):
            for part in value.split(separator: ",") where !choices.isEmpty {
                guard choices.contains(String(part)) else {
                    return "\(name) lists \(choices.joined(separator: ", ")), not '\(part)'"
                }
            }
        }
        if let whyFixed, value != defaultValue {
            return "\(name) can only be '\(defaultValue)', not '\(value)': \(whyFixed)"
        }
        return nil
    }
}

extension TopicConfigurationKey {
    private static let nothingCompacts =
        "nothing is compacted yet; use retention.ms and retention.bytes"
    private static let nothingCompresses =
        "batches are kept as they were sent; set the compression of the producers"
    private static let noThrottle =
        "replicas are not throttled one by one; raft.snapshot.bytes.per.second bounds catching up"
    private static let noTiers = "there is no tiered storage yet"

    private static let positiveLong: Kind = .long(0...Int64.max)
    private static let longOrUnlimited: Kind = .long(-1...Int64.max)

    /// Sorted by name.
    package static let all: [TopicConfigurationKey] = [
        .init(
            "cleanup.policy",
            .list(["delete", "compact"]),
            "delete",
            broker: "log.cleanup.policy",
            fixed: nothingCompacts,
            "What happens to old data: it is deleted by retention."
        ),
        .init(
            "compression.gzip.level",
            .int(-1...9),
            "-1",
            fixed: nothingCompresses,
            "Level used when the broker compresses."
        ),
        .init(
            "compression.lz4.level",
            .int(1...17),
            "9",
            fixed: nothingCompresses,
            "Level used when the broker compresses."
        ),
        .init(
            "compression.type",
            .choice(["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
            "producer",
            broker: "compression.type",
            fixed: nothingCompresses,
            "The codec of stored batches; 'producer' keeps each batch as it was sent."
        ),
        .init(
            "compression.zstd.level",
            .int(-131_072...22),
            "3",
            fixed: nothingCompresses,
            "Level used when the broker compresses."
        ),
        .init(
            "delete.retention.ms",
            positiveLong,
            "86400000",
            broker: "log.cleaner.delete.retention.ms",
            fixed: nothingCompacts,
            "How long a compacted topic keeps the markers of deleted keys."
        ),
        .init(
            "file.delete.delay.ms",
            positiveLong,
            "0",
            broker: "log.segment.delete.delay.ms",
            fixed: "a removed segment leaves the disk at once",
            "How long a removed segment stays on disk: it is removed at once."
        ),
        .init(
            "flush.messages",
            .long(1...Int64.max),
            "9223372036854775807",
            broker: "log.flush.interval.messages",
            "Met by any value: every acknowledged record is synced already."
        ),
        .init(
            "flush.ms",
            positiveLong,
            "9223372036854775807",
            broker: "log.flush.interval.ms",
            "Met by any value: every acknowledged record is synced already."
        ),
        .init(
            "follower.replication.throttled.replicas",
            .list([]),
            "",
            fixed: noThrottle,
            "Replicas whose following is throttled."
        ),
        .init(
            "index.interval.bytes",
            .int(0...Int64(Int32.max)),
            "4096",
            broker: "log.index.interval.bytes",
            "Bytes of log between two offset index entries."
        ),
        .init(
            "leader.replication.throttled.replicas",
            .list([]),
            "",
            fixed: noThrottle,
            "Replicas whose leading is throttled."
        ),
        .init(
            "local.retention.bytes",
            .long(-2...Int64.max),
            "-2",
            fixed: noTiers,
            "Bytes kept on the local disk when object storage holds the rest; -2: retention.bytes."
        ),
        .init(
            "local.retention.ms",
            .long(-2...Int64.max),
            "-2",
            fixed: noTiers,
            "Time kept on the local disk when object storage holds the rest; -2: retention.ms."
        ),
        .init(
            "max.compaction.lag.ms",
            .long(1...Int64.max),
            "9223372036854775807",
            broker: "log.cleaner.max.compaction.lag.ms",
            fixed: nothingCompacts,
            "The longest a record may stay uncompacted."
        ),
        .init(
            "max.message.bytes",
            .int(0...Int64(Int32.max)),
            "1048588",
            broker: "message.max.bytes",
            "The largest batch a producer may send, in bytes."
        ),
        .init(
            "message.timestamp.after.max.ms",
            positiveLong,
            "9223372036854775807",
            broker: "log.message.timestamp.after.max.ms",
            "How far a record's timestamp may lie in the future."
        ),
        .init(
            "message.timestamp.before.max.ms",
            positiveLong,
            "9223372036854775807",
            broker: "log.message.timestamp.before.max.ms",
            "How far a record's timestamp may lie in the past."
        ),
        .init(
            "message.timestamp.type",
            .choice(["CreateTime", "LogAppendTime"]),
            "CreateTime",
            broker: "log.message.timestamp.type",
            "Whose clock stamps a record."
        ),
        .init(
            "min.cleanable.dirty.ratio",
            .double(0...1),
            "0.5",
            broker: "log.cleaner.min.cleanable.ratio",
            fixed: nothingCompacts,
            "The share of uncompacted bytes at which compaction starts."
        ),
        .init(
            "min.compaction.lag.ms",
            positiveLong,
            "0",
            broker: "log.cleaner.min.compaction.lag.ms",
            fixed: nothingCompacts,
            "The shortest a record stays uncompacted."
        ),
        .init(
            minInSyncReplicas,
            .int(1...Int64(Int32.max)),
            "1",
            broker: minInSyncReplicas,
            "Replicas that must have a batch before acks=all is answered; a majority always must."
        ),
        .init(
            "preallocate",
            .boolean,
            "false",
            broker: "log.preallocate",
            fixed: "segments are written in large pieces",
            "Whether segment files are allocated in advance."
        ),
        .init(
            "remote.log.copy.disable",
            .boolean,
            "false",
            fixed: noTiers,
            "Stops copying segments to object storage."
        ),
        .init(
            "remote.log.delete.on.disable",
            .boolean,
            "false",
            fixed: noTiers,
            "Deletes what object storage holds when it is switched off."
        ),
        .init(
            "remote.storage.enable",
            .boolean,
            "false",
            fixed: noTiers,
            "Whether old segments move to object storage."
        ),
        .init(
            "retention.bytes",
            longOrUnlimited,
            "-1",
            broker: "log.retention.bytes",
            "The size at which a partition's oldest segments go; -1: no limit."
        ),
        .init(
            "retention.ms",
            longOrUnlimited,
            "604800000",
            broker: "log.retention.ms",
            "The age at which a segment goes; -1: never."
        ),
        .init(
            "segment.bytes",
            .int(14...Int64(Int32.max)),
            "1073741824",
            broker: "log.segment.bytes",
            "The size at which a segment is closed and the next begun."
        ),
        .init(
            "segment.index.bytes",
            .int(4...Int64(Int32.max)),
            "10485760",
            broker: "log.index.size.max.bytes",
            "The largest size of a segment's index."
        ),
        .init(
            "segment.jitter.ms",
            positiveLong,
            "0",
            broker: "log.roll.jitter.ms",
            fixed: "segments of different partitions close independently",
            "Random time taken off segment.ms, so that not all segments close at once."
        ),
        .init(
            "segment.ms",
            .long(1...Int64.max),
            "604800000",
            broker: "log.roll.ms",
            "The age at which a segment is closed even if it is not full."
        ),
        .init(
            "unclean.leader.election.enable",
            .boolean,
            "false",
            broker: "unclean.leader.election.enable",
            fixed: "a replica that may lack acknowledged records never leads",
            "Always false: a replica that may lack acknowledged records never leads."
        ),
    ]
}

/// What applies to a topic once overrides, the broker's settings and the defaults are laid over
/// one another.
package struct EffectiveTopicConfiguration: Sendable, Equatable {
    package var retentionMilliseconds: Int64
    package var retentionBytes: Int64
    package var segmentBytes: Int
    package var segmentMilliseconds: Int64
    package var indexIntervalBytes: Int
    package var maxMessageBytes: Int
    package var usesLogAppendTime: Bool
    package var timestampBeforeMaxMilliseconds: Int64
    package var timestampAfterMaxMilliseconds: Int64
    package var indexBytes: Int
    package var minInSyncReplicas: Int

    package init(_ lookup: (TopicConfigurationKey) -> String) {
        func long(_ key: TopicConfigurationKey) -> Int64 { Int64(lookup(key)) ?? -1 }
        retentionMilliseconds = long(Keys.retentionMilliseconds)
        retentionBytes = long(Keys.retentionBytes)
        segmentBytes = Int(long(Keys.segmentBytes))
        segmentMilliseconds = long(Keys.segmentMilliseconds)
        indexIntervalBytes = Int(long(Keys.indexIntervalBytes))
        maxMessageBytes = Int(long(Keys.maxMessageBytes))
        usesLogAppendTime = lookup(Keys.timestampType) == "LogAppendTime"
        timestampBeforeMaxMilliseconds = long(Keys.timestampBeforeMax)
        timestampAfterMaxMilliseconds = long(Keys.timestampAfterMax)
        indexBytes = Int(long(Keys.indexBytes))
        minInSyncReplicas = Int(long(Keys.minInSyncReplicas))
    }

    /// Looked up once: a topic's configuration is worked out whenever one of its keys changes.
    private enum Keys {
        static let retentionMilliseconds = key("retention.ms")
        static let retentionBytes = key("retention.bytes")
        static let segmentBytes = key("segment.bytes")
        static let segmentMilliseconds = key("segment.ms")
        static let indexIntervalBytes = key("index.interval.bytes")
        static let maxMessageBytes = key("max.message.bytes")
        static let timestampType = key("message.timestamp.type")
        static let timestampBeforeMax = key("message.timestamp.before.max.ms")
        static let timestampAfterMax = key("message.timestamp.after.max.ms")
        static let indexBytes = key("segment.index.bytes")
        static let minInSyncReplicas = key(TopicConfigurationKey.minInSyncReplicas)

        private static func key(_ name: String) -> TopicConfigurationKey {
            guard let key = TopicConfigurationKey.named(name) else {
                preconditionFailure("there is no key \(name)")
            }
            return key
        }
    }
}
