import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Testing

@Suite struct ConfigurationChangeTests {
    private typealias Change = MetadataController.ConfigChange

    private var controller = MetadataController(
        settings: .init(nodeID: 1),
        committed: MetadataImage()
    )

    init() throws {
        _ = try controller.createTopic(.init(name: "t"), id: KafkaUUID(high: 1, low: 1))
    }

    private mutating func alter(
        _ changes: [(key: String, change: Change)],
        topic: String = "t",
        validateOnly: Bool = false
    ) -> ErrorCode? {
        do {
            _ = try controller.alterTopicConfigs(topic, changes, validateOnly: validateOnly)
            return nil
        } catch {
            return error.code
        }
    }

    private mutating func alterBroker(_ changes: [(key: String, change: Change)]) -> ErrorCode? {
        do {
            _ = try controller.alterBrokerConfigs(changes, validateOnly: false)
            return nil
        } catch {
            return error.code
        }
    }

    private var configs: [String: String] { controller.decided.topic("t")?.configs ?? [:] }

    @Test mutating func `keys are set and taken away again`() {
        #expect(alter([("retention.ms", .set("5")), ("segment.bytes", .set("22"))]) == nil)
        #expect(configs == ["retention.ms": "5", "segment.bytes": "22"])
        #expect(alter([("retention.ms", .delete), ("segment.ms", .delete)]) == nil)
        #expect(configs == ["segment.bytes": "22"])
    }

    @Test mutating func `lists are added to and taken from, beginning with the default`() {
        #expect(alter([("cleanup.policy", .append("delete"))]) == nil)
        #expect(configs["cleanup.policy"] == "delete")
        #expect(alter([("cleanup.policy", .append("compact"))]) == .invalidConfig)
        #expect(alter([("cleanup.policy", .subtract("delete"))]) == .invalidConfig)
        #expect(alter([("cleanup.policy", .append("shred"))]) == .invalidConfig)
        #expect(alter([("cleanup.policy", .subtract("shred"))]) == nil)
        #expect(configs["cleanup.policy"] == "delete")
    }

    @Test mutating func `what is no list cannot be added to`() {
        #expect(alter([("retention.ms", .append("5"))]) == .invalidConfig)
        #expect(alter([("preallocate", .subtract("true"))]) == .invalidConfig)
    }

    @Test mutating func `one bad change keeps all of them out`() {
        #expect(alter([("retention.ms", .set("5")), ("segment.ms", .set("0"))]) == .invalidConfig)
        #expect(alter([("retention.ms", .set("5")), ("no.such", .delete)]) == .invalidConfig)
        #expect(alter([("retention.ms", .set("5"))], topic: "u") == .unknownTopicOrPartition)
        #expect(configs.isEmpty)
    }

    @Test mutating func `the broker's own topics are kept whole, and none can change it`() throws {
        let name = "__consumer_offsets"
        let topic = MetadataController.NewTopic(name: name, configs: [("retention.ms", "-1")])
        _ = try controller.createTopic(topic, id: KafkaUUID(high: 1, low: 2))
        for key in ["retention.ms", "retention.bytes"] {
            #expect(alter([(key, .set("5"))], topic: name) == .invalidConfig)
            #expect(alter([(key, .delete)], topic: name) == .invalidConfig)
        }
        #expect(alter([("segment.bytes", .set("22"))], topic: name) == nil)
        let kept = ["retention.ms": "-1", "segment.bytes": "22"]
        #expect(controller.decided.topic(name)?.configs == kept)
    }

    @Test mutating func `changes that are only validated are not made`() {
        #expect(alter([("retention.ms", .set("5"))], validateOnly: true) == nil)
        #expect(alter([("retention.ms", .set("x"))], validateOnly: true) == .invalidConfig)
        #expect(configs.isEmpty)
    }

    @Test mutating func `a value has the length of a string of the protocol at most`() {
        let long = String(repeating: "0", count: 40_000) + "5"
        #expect(alter([("retention.ms", .set(long))]) == .invalidConfig)
        #expect(configs.isEmpty)
    }

    @Test mutating func `no more replicas in sync are asked for than there are`() {
        #expect(alter([("min.insync.replicas", .set("1"))]) == nil)
        #expect(alter([("min.insync.replicas", .set("2"))]) == .invalidConfig)
        #expect(alter([("min.insync.replicas", .set("0"))]) == .invalidConfig)
        #expect(alterBroker([("min.insync.replicas", .set("2"))]) == .invalidConfig)
        let problem = #expect(throws: MetadataProblem.self) {
            try controller.createTopic(
                .init(name: "u", configs: [("min.insync.replicas", "4")]),
                id: KafkaUUID(high: 1, low: 2)
            )
        }
        #expect(problem?.code == .invalidConfig)
        #expect(
            problem?.message
                == "min.insync.replicas is 4; expected at most 1, the replicas that the topic has"
        )
    }

    @Test mutating func `broker-wide values go by the broker's names`() {
        #expect(alterBroker([("log.retention.ms", .set("5"))]) == nil)
        #expect(controller.decided.brokerConfigs == ["log.retention.ms": "5"])
        #expect(alterBroker([("retention.ms", .set("5"))]) == .invalidConfig)
        #expect(alterBroker([("broker.id", .set("5"))]) == .invalidConfig)
        #expect(alterBroker([("log.retention.ms", .set("x"))]) == .invalidConfig)
        #expect(alterBroker([("log.cleanup.policy", .append("compact"))]) == .invalidConfig)
        #expect(alterBroker([("log.cleanup.policy", .append("delete"))]) == nil)
        #expect(controller.decided.brokerConfigs["log.cleanup.policy"] == "delete")
        #expect(
            alterBroker([("log.retention.ms", .delete), ("log.cleanup.policy", .delete)]) == nil
        )
        #expect(controller.decided.brokerConfigs.isEmpty)
    }
}

@Suite struct ConfigurationLookupTests {
    private func key(_ name: String) throws -> TopicConfigurationKey {
        try #require(TopicConfigurationKey.named(name))
    }

    @Test func `a topic's own value goes before the broker's, and that before the default`() throws
    {
        let lookup = ConfigurationLookup(
            topic: ["retention.ms": "1"],
            dynamicBroker: ["log.retention.ms": "2", "log.segment.bytes": "22"],
            staticBroker: [
                "log.retention.ms": "3", "log.segment.bytes": "33", "log.roll.ms": "333",
            ]
        )
        let all = lookup.layers(of: try key("retention.ms"))
        #expect(all.map(\.value) == ["1", "2", "3", "604800000"])
        #expect(all.map(\.source) == [.topic, .dynamicDefaultBroker, .staticBroker, .builtIn])
        #expect(
            all.map(\.name)
                == ["retention.ms", "log.retention.ms", "log.retention.ms", "log.retention.ms"]
        )
        let effective = lookup.effective
        #expect(effective.retentionMilliseconds == 1)
        #expect(effective.segmentBytes == 22)
        #expect(effective.segmentMilliseconds == 333)
        #expect(effective.maxMessageBytes == 1_048_588)
    }

    @Test func `a key without a broker-wide name has the topic's value or the default`() throws {
        let lookup = ConfigurationLookup(
            topic: [:],
            dynamicBroker: ["local.retention.ms": "5"],
            staticBroker: [:]
        )
        #expect(lookup.layers(of: try key("local.retention.ms")).map(\.value) == ["-2"])
    }

    @Test func `whose clock counts is read out of its word`() {
        func effective(_ topic: [String: String]) -> EffectiveTopicConfiguration {
            ConfigurationLookup(topic: topic, dynamicBroker: [:], staticBroker: [:]).effective
        }
        #expect(!effective([:]).usesLogAppendTime)
        #expect(effective(["message.timestamp.type": "LogAppendTime"]).usesLogAppendTime)
    }

    @Test func `every key is named once, in order, and its default is a value it may have`() {
        let names = TopicConfigurationKey.all.map(\.name)
        #expect(names == names.sorted() && Set(names).count == names.count)
        for key in TopicConfigurationKey.all {
            #expect(key.problem(with: key.defaultValue) == nil, "\(key.name)")
            #expect(!key.documentation.isEmpty)
        }
    }

    @Test(arguments: [
        ("retention.ms", "-1", true), ("retention.ms", "-2", false),
        ("retention.ms", "9223372036854775807", true),
        ("retention.ms", "9223372036854775808", false), ("retention.ms", "", false),
        ("retention.ms", "1.5", false), ("segment.bytes", "2147483647", true),
        ("segment.bytes", "2147483648", false), ("min.cleanable.dirty.ratio", "0.5", true),
        ("min.cleanable.dirty.ratio", "0.6", false), ("min.cleanable.dirty.ratio", "nan", false),
        ("preallocate", "true", false), ("preallocate", "false", true),
        ("preallocate", "yes", false),
        ("compression.type", "zstd", false), ("compression.type", "producer", true),
        ("cleanup.policy", "compact,delete", false), ("cleanup.policy", "delete", true),
        ("remote.storage.enable", "true", false), ("unclean.leader.election.enable", "true", false),
    ])
    func `a value is checked against its kind`(
        _ name: String,
        _ value: String,
        _ isGood: Bool
    ) throws {
        #expect((try key(name).problem(with: value) == nil) == isGood)
    }
}
