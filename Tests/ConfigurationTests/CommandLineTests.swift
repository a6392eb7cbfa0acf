import Platform
import Testing

@testable import Configuration

/// Runs the parser with one file in reach, `chronik.toml`.
private func invoke(
    _ arguments: String...,
    environment: [String: String] = [:],
    file: String? = nil
) throws(ConfigurationError) -> CommandLineParser.Invocation {
    try CommandLineParser.parse(
        arguments: arguments,
        environment: environment,
        version: "1.2.3",
        readFile: { (path) throws(ConfigurationError) in
            guard path == "chronik.toml", let file else {
                throw ConfigurationError("\(path): No such file or directory")
            }
            return file
        }
    )
}

private func configuration(
    _ arguments: String...,
    environment: [String: String] = [:],
    file: String? = nil
) throws -> ServerConfiguration {
    let invocation = try CommandLineParser.parse(
        arguments: ["standalone"] + arguments,
        environment: environment,
        version: "1.2.3",
        readFile: { _ in file ?? "" }
    )
    guard case .standalone(let configuration, _) = invocation else {
        throw ConfigurationError("no configuration")
    }
    return configuration
}

/// The problems, or none when it was accepted.
private func problems(
    _ arguments: String...,
    environment: [String: String] = [:],
    file: String? = nil
) -> [String] {
    do {
        _ = try CommandLineParser.parse(
            arguments: arguments,
            environment: environment,
            version: "1.2.3",
            readFile: { _ in file ?? "" }
        )
        return []
    } catch {
        return error.problems
    }
}

@Suite struct `The command line` {
    @Test func `nothing given is the defaults`() throws {
        let given = try configuration()
        #expect("\(given.listenAddress)" == "127.0.0.1:9092")
        #expect(given.origins.isEmpty)
        #expect(given.given.isEmpty)
    }

    @Test func `options take their value after a space or an equals sign`() throws {
        let given = try configuration(
            "--listen-addr",
            "0.0.0.0:1",
            "--data-dir=/var/lib/chronik",
            "--wal-profile",
            "ultra",
            "--advertised-addr",
            "kafka.example:9092",
            "--set",
            "num.partitions=4"
        )
        #expect("\(given.listenAddress)" == "0.0.0.0:1")
        #expect(given.dataDirectory == "/var/lib/chronik")
        #expect(given.walProfile == "ultra")
        #expect(given.advertisedAddress?.host == "kafka.example")
        #expect(given.numPartitions == 4)
    }

    @Test func `the strongest layer wins`() throws {
        let file = "num.partitions = 2\nnode.id = 2\nmax.connections = 2"
        let environment = ["CHRONIK_NODE_ID": "3", "CHRONIK_MAX_CONNECTIONS": "3", "HOME": "/"]
        let given = try configuration(
            "--config",
            "chronik.toml",
            "--max-connections",
            "4",
            environment: environment,
            file: file
        )
        #expect(given.numPartitions == 2)
        #expect(given.nodeID == 3)
        #expect(given.maxConnections == 4)
        #expect(given.origins["num.partitions"] == .file("chronik.toml", line: 1))
        #expect(given.origins["node.id"] == .environment("CHRONIK_NODE_ID"))
        #expect(given.origins["max.connections"] == .option("--max-connections"))
    }

    @Test func `the last of equal options wins`() throws {
        #expect(try configuration("--node-id", "1", "--set", "node.id=2").nodeID == 2)
        #expect(try configuration("--set", "node.id=2", "--node-id", "1").nodeID == 1)
    }

    @Test func `the environment names the file, an option another`() throws {
        let environment = ["CHRONIK_CONFIG": "chronik.toml"]
        guard
            case .standalone(let given, _) = try invoke(
                "standalone",
                environment: environment,
                file: "node.id = 7"
            )
        else { throw ConfigurationError("no configuration") }
        #expect(given.nodeID == 7)
        let error = #expect(throws: ConfigurationError.self) {
            _ = try invoke(
                "standalone",
                "--config",
                "other.toml",
                environment: environment,
                file: "node.id = 7"
            )
        }
        #expect(error?.message == "other.toml: No such file or directory")
    }

    @Test func `a flag alone means true, and takes a boolean`() throws {
        #expect(try configuration("--unsafe-no-fsync").noFsync)
        #expect(try !configuration("--auto-create-topics-enable", "false").autoCreateTopics)
        #expect(try !configuration("--auto-create-topics-enable=false").autoCreateTopics)
        #expect(problems("standalone", "--unsafe-no-fsync=maybe").count == 1)
    }

    @Test func `-1 is a value, another option is not`() throws {
        #expect(try configuration("--log-retention-bytes", "-1").logRetentionBytes == -1)
        #expect(
            problems("standalone", "--data-dir", "--node-id", "1")
                == ["--data-dir needs a value: --data-dir DIR"]
        )
        #expect(problems("standalone", "--config") == ["--config needs a value: --config FILE"])
    }

    @Test func `help and version are answers`() throws {
        let asked = [
            (["--help"], "COMMAND"), (["-h"], "COMMAND"), (["--nonsense", "--help"], "COMMAND"),
            (["standalone", "--help"], "standalone"), (["cluster", "--help"], "cluster"),
            (["start", "--help"], "start"),
        ]
        for (arguments, command) in asked {
            guard
                case .print(let text) = try CommandLineParser.parse(
                    arguments: arguments,
                    environment: [:],
                    version: "1.2.3"
                )
            else { throw ConfigurationError("no answer") }
            #expect(text.hasPrefix("Usage: chronik-server \(command) [options]\n"))
        }
        guard case .print(let text) = try invoke("--version") else {
            throw ConfigurationError("no answer")
        }
        #expect(text == "chronik-server 1.2.3\n")
    }

    @Test func `help names every setting with its default, in lines that fit`() throws {
        guard case .print(let text) = try invoke("cluster", "--help"),
            case .print(let short) = try invoke("standalone", "--help")
        else { throw ConfigurationError("no answer") }
        for setting in ServerSettings.all {
            #expect(text.contains("  \(setting.option)"))
            #expect(
                short.contains("  \(setting.option) ")
                    != ServerSettings.clusterKeys.contains(setting.key)
            )
        }
        #expect(text.contains("[127.0.0.1:9092]"))
        for line in text.split(separator: "\n") where line.hasPrefix("      ") {
            #expect(line.count <= 100, "\(line)")
        }
    }

    @Test func `a checked configuration can be read again`() throws {
        let arguments = [
            "standalone", "--set", "data.dir=/a \"b\"\\c", "--wal-total-bytes", "3GiB",
        ]
        guard
            case .print(let text) = try CommandLineParser.parse(
                arguments: arguments + ["--config-check"],
                environment: [:],
                version: "1.2.3"
            )
        else { throw ConfigurationError("no answer") }
        #expect(text.contains("wal.total.bytes = \"3GiB\"  # --wal-total-bytes\n"))
        #expect(text.contains("wal.profile = \"medium\"  # default\n"))
        let again = try configuration("--config", "chronik.toml", file: text)
        #expect(again.dataDirectory == "/a \"b\"\\c")
        #expect(again.walTotalBytes == 3 << 30)
    }
}

@Suite struct `What is wrong is said` {
    @Test(arguments: [
        ("--lisen-addr", "unknown flag --lisen-addr; did you mean --listen-addr?"),
        ("--data_dir=/x", "unknown flag --data_dir; did you mean --data-dir?"),
        ("--wal-profil", "unknown flag --wal-profil; did you mean --wal-profile?"),
        ("--quite-unlike-any-other", "unknown flag --quite-unlike-any-other"),
        ("-x", "unknown flag -x"),
        ("extra", "unexpected argument extra"),
    ])
    func `unknown flags name the nearest`(_ flag: String, _ problem: String) {
        #expect(problems("standalone", flag) == [problem])
    }

    @Test func `unknown commands name the nearest`() {
        #expect(
            problems("standalon") == ["unknown command standalon; did you mean standalone?"]
        )
        #expect(
            problems() == [
                "no command given; expected chronik-server standalone, cluster or start, or --help"
            ]
        )
    }

    @Test func `unknown keys name the nearest, with file and line`() {
        #expect(
            problems("standalone", "--config", "c.toml", file: "[wal]\nprofle = 'low'") == [
                "c.toml:2: unknown setting wal.profle; did you mean wal.profile?"
            ]
        )
        #expect(
            problems("standalone", "--set", "num.partition=3") == [
                "--set num.partition=3: unknown setting num.partition; did you mean num.partitions?"
            ]
        )
    }

    @Test func `unknown variables name the nearest`() {
        #expect(
            problems("standalone", environment: ["CHRONIK_DATADIR": "x", "OTHER_DATADIR": "x"]) == [
                "unknown environment variable CHRONIK_DATADIR; did you mean CHRONIK_DATA_DIR?"
            ]
        )
    }

    @Test func `bad values say what is allowed`() {
        #expect(
            problems("standalone", "--wal-profile", "fast") == [
                "--wal-profile is 'fast'; expected one of low, medium, high, ultra"
            ]
        )
        #expect(
            problems("standalone", "--config", "c.toml", file: "\nnum.partitions = 0") == [
                "c.toml:2: num.partitions is '0'; expected a whole number 1 to 100000"
            ]
        )
        #expect(
            problems("standalone", environment: ["CHRONIK_WAL_FILE_BYTES": "1kb"]) == [
                "CHRONIK_WAL_FILE_BYTES is '1kb'; expected a size such as 65536, 64KiB or 1GiB, "
                    + "64KiB to 1GiB"
            ]
        )
        #expect(
            problems("standalone", "--set", "log.retention.hours=90m") == [
                "--set log.retention.hours is '90m'; expected a duration such as 500ms, 30s or 7d, "
                    + "or a number of hours, 0 to 2147483647h, or -1 for no limit"
            ]
        )
    }

    @Test func `all problems are told at once`() {
        let found = problems(
            "standalone",
            "--nodeid",
            "1",
            "--config",
            "c.toml",
            environment: ["CHRONIK_X": "1"],
            file: "a = 1\nb = 2"
        )
        #expect(found.count == 5, "\(found)")
    }

    @Test func `a setting and its alias in one file contradict each other`() {
        #expect(
            problems("standalone", "--config", "c.toml", file: "node.id = 1\nbroker.id = 2") == [
                "c.toml:2: broker.id was already set in line 1"
            ]
        )
    }

    @Test(arguments: [
        ["--wal-total-bytes=64MiB"],
        ["--group-min-session-timeout-ms=10s", "--group-max-session-timeout-ms=5s"],
        ["--message-max-bytes=200MiB"],
        ["--advertised-addr=0.0.0.0:9092"], ["--admin-addr=0.0.0.0:9644"],
    ])
    func `settings that contradict each other are refused`(_ arguments: [String]) {
        let error = #expect(throws: ConfigurationError.self) {
            _ = try CommandLineParser.parse(
                arguments: ["standalone"] + arguments,
                environment: [:],
                version: "1"
            )
        }
        #expect(error?.problems.count == 1, "\(arguments)")
    }
}

@Suite struct `What follows from settings` {
    @Test func `Kafka's names and schemes are accepted`() throws {
        let given = try configuration(
            "--config",
            "c.toml",
            file: """
                listeners = "PLAINTEXT://:9093"
                advertised.listeners = "PLAINTEXT://broker.example:9093"
                log.dirs = "/kafka"
                broker.id = 4
                log.segment.ms = 60000
                """
        )
        #expect("\(given.listenAddress)" == "0.0.0.0:9093")
        #expect(given.advertisedAddress?.host == "broker.example")
        #expect(given.dataDirectory == "/kafka")
        #expect(given.nodeID == 4)
        #expect(given.segmentMilliseconds == 60_000)
    }

    @Test func `milliseconds win over minutes over hours`() throws {
        let hours = "--log-retention-hours=2h"
        let minutes = "--log-retention-minutes=3"
        #expect(try configuration(hours).retentionMilliseconds == 7_200_000)
        #expect(try configuration(hours, minutes).retentionMilliseconds == 180_000)
        #expect(
            try configuration("--log-retention-ms=5", hours, minutes).retentionMilliseconds == 5
        )
        #expect(try configuration("--log-retention-minutes=-1").retentionMilliseconds == -1)
        #expect(try configuration("--log-retention-hours=-1").retentionMilliseconds == -1)
        #expect(try configuration("--log-roll-hours=1").segmentMilliseconds == 3_600_000)
    }

    @Test func `what was given is told in Kafka's units`() throws {
        let given = try configuration(
            "--log-retention-hours=1d",
            "--log-segment-bytes=1MiB",
            "--log-roll-ms=1h"
        )
        #expect(
            given.given == [
                "log.retention.hours": "24", "log.retention.ms": "86400000",
                "log.segment.bytes": "1048576", "log.roll.ms": "3600000",
            ]
        )
    }

    @Test func `clients are told an address they can reach`() throws {
        let bound = "127.0.0.1:4711"
        let address = try configuration("--listen-addr", "127.0.0.1:0")
        let port = UInt16(bound.split(separator: ":")[1]) ?? 0
        var listening = address.listenAddress
        listening.port = port
        #expect("\(address.advertisedAddress(boundTo: listening))" == bound)

        let all = try configuration("--listen-addr", ":9092")
        let told = all.advertisedAddress(boundTo: all.listenAddress)
        #expect(told.port == 9092)
        #expect(!ServerConfiguration.isWildcard(told.host) && !told.host.isEmpty)
    }

    @Test func `what is dangerous is warned of`() throws {
        guard case .standalone(_, let warnings) = try invoke("standalone", "--unsafe-no-fsync")
        else { throw ConfigurationError("no configuration") }
        #expect(warnings.count == 1)
        guard case .standalone(_, let none) = try invoke("standalone") else {
            throw ConfigurationError("no configuration")
        }
        #expect(none.isEmpty)
    }
}
