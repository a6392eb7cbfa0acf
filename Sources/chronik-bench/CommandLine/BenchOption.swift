import Platform

/// One option: its name, what it means, and how its value is read.
struct BenchOption: Sendable {
    let name: String
    /// Empty for an option without a value.
    let placeholder: String
    let modes: Set<BenchMode>
    let help: String
    let allowed: String
    /// False when the value is not allowed.
    let set: @Sendable (inout BenchSettings, String) -> Bool

    private static let all = Set(BenchMode.allCases)
    private static let network: Set<BenchMode> = [.produce, .consume, .roundTrip, .metadata]
    private static let producing: Set<BenchMode> = [.produce, .roundTrip]
    private static let consuming: Set<BenchMode> = [.consume, .roundTrip]

    private init(
        _ name: String,
        _ placeholder: String,
        _ modes: Set<BenchMode>,
        _ help: String,
        allowed: String = "",
        _ set: @escaping @Sendable (inout BenchSettings, String) -> Bool
    ) {
        self.name = name
        self.placeholder = placeholder
        self.modes = modes
        self.help = help
        self.allowed = allowed
        self.set = set
    }

    /// Whole numbers within a range.
    private static func number<Value: FixedWidthInteger & Sendable>(
        _ name: String,
        _ path: any WritableKeyPath<BenchSettings, Value> & Sendable,
        _ range: ClosedRange<Value>,
        _ modes: Set<BenchMode>,
        _ help: String
    ) -> BenchOption {
        BenchOption(
            name,
            "N",
            modes,
            help,
            allowed: "a whole number from \(range.lowerBound) to \(range.upperBound)"
        ) { settings, text in
            guard let value = Value(text), range.contains(value) else { return false }
            settings[keyPath: path] = value
            return true
        }
    }

    private static func size(
        _ name: String,
        _ path: any WritableKeyPath<BenchSettings, Int> & Sendable,
        _ range: ClosedRange<Int>,
        _ modes: Set<BenchMode>,
        _ help: String
    ) -> BenchOption {
        let (least, most) = (ByteSize.text(range.lowerBound), ByteSize.text(range.upperBound))
        return BenchOption(
            name,
            "SIZE",
            modes,
            help,
            allowed: "a size such as 100, 64KiB or 1MiB, \(least) to \(most)"
        ) { settings, text in
            guard let value = ByteSize.parse(text), range.contains(value) else { return false }
            settings[keyPath: path] = value
            return true
        }
    }

    private static func flag(
        _ name: String,
        _ path: any WritableKeyPath<BenchSettings, Bool> & Sendable,
        _ modes: Set<BenchMode>,
        _ help: String
    ) -> BenchOption {
        BenchOption(name, "", modes, help) { settings, _ in
            settings[keyPath: path] = true
            return true
        }
    }

    static let table = connection + load + reading + metadata + raft + output

    private static let connection: [BenchOption] = [
        BenchOption(
            "--bootstrap",
            "HOST:PORT",
            network,
            "Broker to ask first [127.0.0.1:9092].",
            allowed: "HOST:PORT"
        ) { settings, text in
            guard let address = SocketAddress(text) else { return false }
            settings.bootstrap = address
            return true
        },
        BenchOption(
            "--topic",
            "NAME",
            network,
            "Topic; made if it is missing [chronik-bench]; metadata: what names begin with.",
            allowed: "a name"
        ) { settings, text in
            settings.topic = text
            return !text.isEmpty
        },
        number(
            "--partitions",
            \.partitions,
            1...100_000,
            network,
            "Partitions of a topic it makes [1]."
        ),
        number(
            "--replication-factor",
            \.replicationFactor,
            1...Int16.max,
            network,
            "Replicas of a topic it makes [the broker's default]."
        ),
        number(
            "--threads",
            \.threads,
            1...64,
            network,
            "Event loop threads of this program [1]."
        ),
        BenchOption(
            "--dir",
            "DIR",
            [.limits, .raft, .raftRecovery],
            "Directory for files, and to measure the disk of [.].",
            allowed: "a directory"
        ) { settings, text in
            settings.directory = text
            return !text.isEmpty
        },
    ]

    private static let load: [BenchOption] = [
        number("--producers", \.producers, 1...100_000, producing, "Connections that send [1]."),
        number(
            "--in-flight",
            \.inFlight,
            1...10_000,
            producing,
            "Requests of a connection not answered yet [5]."
        ),
        size(
            "--record-bytes",
            \.recordBytes,
            0...(64 << 20),
            producing,
            "Length of a record's value [100]."
        ),
        size(
            "--batch-bytes",
            \.batchBytes,
            1...(512 << 20),
            producing,
            "Size of a request's batch, about [64KiB]."
        ),
        BenchOption(
            "--records-per-request",
            "N",
            producing,
            "Records of a request, instead of its size.",
            allowed: "a whole number from 1 to 10000000"
        ) { settings, text in
            settings.recordsPerRequest = Int(text)
            return settings.recordsPerRequest.map { (1...10_000_000).contains($0) } ?? false
        },
        BenchOption(
            "--rate",
            "N",
            producing,
            "Records a second over all producers, sent at even intervals however slow the answers.",
            allowed: "a number above 0"
        ) { settings, text in
            settings.rate = Double(text)
            return settings.rate.map { $0 > 0 && $0.isFinite } ?? false
        },
        BenchOption(
            "--acks",
            "0|1|all",
            producing,
            "Who must have a record before it counts [all].",
            allowed: "0, 1 or all"
        ) { settings, text in
            let values: [String: Int16] = ["0": 0, "1": 1, "all": -1, "-1": -1]
            guard let acks = values[text] else { return false }
            settings.acks = acks
            return true
        },
        flag(
            "--idempotent",
            \.isIdempotent,
            producing,
            "Number the batches, so that the broker drops repeated ones."
        ),
        BenchOption(
            "--compression",
            "none",
            producing,
            "Codec of the batches; none is the only one here.",
            allowed: "none; this program has no other codec"
        ) { settings, text in
            settings.compression = text
            return text == "none"
        },
    ]

    private static let reading: [BenchOption] = [
        number("--consumers", \.consumers, 1...100_000, consuming, "Connections that read [1]."),
        BenchOption(
            "--from",
            "earliest|latest",
            [.consume],
            "Where to begin [earliest].",
            allowed: "earliest or latest"
        ) { settings, text in
            guard text == "earliest" || text == "latest" else { return false }
            settings.from = text == "earliest" ? .earliest : .latest
            return true
        },
        size(
            "--max-bytes",
            \.maxBytes,
            1024...(512 << 20),
            consuming,
            "Largest answer to a fetch [16MiB]."
        ),
    ]

    private static let metadata: [BenchOption] = [
        number(
            "--clients",
            \.clients,
            1...10_000,
            [.metadata],
            "Connections that write at once [64]."
        )
    ]

    private static let raft: [BenchOption] = [
        number(
            "--entries",
            \.entries,
            1...100_000_000,
            [.raft, .raftRecovery],
            "Entries to commit, or to recover [1000000]."
        ),
        BenchOption(
            "--groups",
            "N",
            [.raft, .raftRecovery],
            "Raft groups [raft: 10000, raft-recovery: 1000].",
            allowed: "a whole number from 1 to 100000"
        ) { settings, text in
            settings.groups = Int(text)
            return settings.groups.map { (1...100_000).contains($0) } ?? false
        },
        flag(
            "--core",
            \.isCoreWanted,
            [.raft],
            "What the core commits, without logs and loops; without any of --core, --idle and "
                + "--active, all three."
        ),
        flag("--idle", \.isIdleWanted, [.raft], "What groups cost while nothing happens."),
        flag("--active", \.isActiveWanted, [.raft], "What groups commit that are all in use."),
    ]

    private static let output: [BenchOption] = [
        BenchOption(
            "--records",
            "N",
            network,
            "Stop after that many records; metadata: topics made one after another [1000].",
            allowed: "a whole number above 0"
        ) { settings, text in
            settings.records = Int(text)
            return settings.records.map { $0 > 0 } ?? false
        },
        BenchOption(
            "--duration",
            "TIME",
            network.union([.raft]),
            "Stop after that time; a bare number is seconds [10s; consume: at the topic's end].",
            allowed: "a duration such as 10, 500ms, 30s or 2m"
        ) { settings, text in
            settings.durationMilliseconds =
                Int(text).map { $0.multipliedReportingOverflow(by: 1000).partialValue }
                ?? TimeUnit.milliseconds.parse(text)
            return settings.durationMilliseconds.map { $0 > 0 } ?? false
        },
        flag("--json", \.isJSON, all, "Print one JSON object instead of a table."),
        flag("--quiet", \.isQuiet, network.union([.raft]), "No progress on standard error."),
    ]
}
