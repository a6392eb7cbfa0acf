import Platform
import Testing

@testable import Configuration

private func parse(
    _ arguments: [String],
    environment: [String: String] = [:],
    files: [String: String] = [:]
) throws(ConfigurationError) -> CommandLineParser.Invocation {
    try CommandLineParser.parse(
        arguments: arguments,
        environment: environment,
        version: "1.2.3",
        readFile: { (path) throws(ConfigurationError) in
            guard let text = files[path] else { throw ConfigurationError("\(path): missing") }
            return text
        }
    )
}

private func cluster(
    _ arguments: String...,
    environment: [String: String] = [:],
    file: String? = nil
) throws -> (ClusterConfiguration, warnings: [String]) {
    let invocation = try parse(
        arguments + (file == nil ? [] : ["--config", "c.toml"]),
        environment: environment,
        files: file.map { ["c.toml": $0] } ?? [:]
    )
    guard case .cluster(let configuration, let warnings) = invocation else {
        throw ConfigurationError("no cluster")
    }
    return (configuration, warnings)
}

private func problems(
    _ arguments: String...,
    environment: [String: String] = [:],
    file: String? = nil
) -> [String] {
    do {
        _ = try parse(
            arguments + (file == nil ? [] : ["--config", "c.toml"]),
            environment: environment,
            files: file.map { ["c.toml": $0] } ?? [:]
        )
        return []
    } catch {
        return error.problems
    }
}

private let threeNodes = """
    node_id = 2
    [cluster]
    name = "trial"
    [[nodes]]
    id = 1
    kafka_addr = "node1:9092"
    raft_addr = "node1:5001"
    rack = "a"
    [[nodes]]
    id = 2
    kafka_addr = "0.0.0.0:9092"
    advertised_kafka_addr = "node2:9093"
    raft_addr = "0.0.0.0:5001"
    advertised_raft_addr = "node2:5002"
    rack = "b"
    [[nodes]]
    id = 3
    kafka_addr = "node3:9092"
    raft_addr = "node3:5001"
    """

@Suite struct `A cluster's configuration` {
    @Test func `options alone are enough`() throws {
        let (given, _) = try cluster(
            "cluster",
            "--node-id",
            "1",
            "--listen-addr",
            "0.0.0.0:9092",
            "--raft-addr",
            "0.0.0.0:5001",
            "--advertised-raft-addr",
            "node1:5001",
            "--peers",
            "2@node2:5001,3@node3:5001",
            "--data-dir",
            "/var/lib/chronik"
        )
        #expect(given.nodeID == 1 && given.name == "chronik" && given.quorum == 2)
        #expect(given.nodes.map(\.id) == [1, 2, 3])
        #expect(
            given.nodes.map { "\($0.raftAddress)" } == ["node1:5001", "node2:5001", "node3:5001"]
        )
        #expect(given.peers.map(\.id) == [2, 3])
        #expect("\(given.raftListenAddress)" == "0.0.0.0:5001")
        #expect("\(given.raftAdvertisedAddress)" == "node1:5001")
        #expect("\(given.kafkaListenAddress)" == "0.0.0.0:9092")
        #expect(given.server.dataDirectory == "/var/lib/chronik")
        #expect(given.defaultReplicationFactor == 3 && given.minInSyncReplicas == 2)
        #expect(given.transport == .framed && given.metadataAcks == .quorum && given.tls == nil)
        #expect(given.snapshotBytesPerSecond == 100 << 20)
    }

    @Test func `the older spelling says the same`() throws {
        let (new, _) = try cluster(
            "cluster",
            "--node-id=1",
            "--raft-addr=a:5001",
            "--peers=2@b:5001, 3@c:5001"
        )
        let (old, _) = try cluster(
            "cluster",
            "--node-id=1",
            "--node-addr=a:5001",
            "--seed-nodes=2@b:5001,3@c:5001"
        )
        #expect(new.nodes == old.nodes && new.raftListenAddress == old.raftListenAddress)
        #expect(problems("cluster", "--node-id=1", "--seed-nodes=b:5001").count == 1)
    }

    @Test func `a list of peers may name this node`() throws {
        let (given, _) = try cluster(
            "cluster",
            "--node-id=2",
            "--raft-addr=0.0.0.0:5001",
            "--peers=1@a:5001,2@b:5001,3@c:5001"
        )
        #expect(given.nodes.count == 3)
        #expect("\(given.raftAdvertisedAddress)" == "b:5001")
        #expect("\(given.raftListenAddress)" == "0.0.0.0:5001")
    }

    @Test func `three nodes on one machine need no name of it`() throws {
        let (given, warnings) = try cluster(
            "cluster",
            "--node-id=1",
            "--raft-addr=0.0.0.0:5001",
            "--peers=2@127.0.0.1:5002,3@localhost:5003"
        )
        #expect("\(given.raftAdvertisedAddress)" == "127.0.0.1:5001")
        #expect(warnings.isEmpty)
    }

    @Test(arguments: ["cluster", "start"])
    func `a file tells all nodes`(_ command: String) throws {
        let (given, _) = try cluster(command, file: threeNodes)
        #expect(given.name == "trial" && given.nodeID == 2 && given.rack == "b")
        #expect("\(given.kafkaListenAddress)" == "0.0.0.0:9092")
        #expect(
            "\(given.server.advertisedAddress(boundTo: given.kafkaListenAddress))" == "node2:9093"
        )
        #expect("\(given.raftListenAddress)" == "0.0.0.0:5001")
        #expect("\(given.raftAdvertisedAddress)" == "node2:5002")
        #expect(
            given.nodes.map {
                "\($0.id) \($0.raftAddress) \($0.kafkaAddress.map { "\($0)" } ?? "")"
            }
                == [
                    "1 node1:5001 node1:9092", "2 node2:5002 node2:9093", "3 node3:5001 node3:9092",
                ]
        )
        #expect(given.nodes.map(\.rack) == ["a", "b", nil])
    }

    @Test func `one file serves every node`() throws {
        let (byOption, _) = try cluster("start", "--node-id", "1", file: threeNodes)
        #expect("\(byOption.kafkaListenAddress)" == "node1:9092" && byOption.rack == "a")
        let (byVariable, _) = try cluster(
            "start",
            environment: ["CHRONIK_NODE_ID": "3"],
            file: threeNodes
        )
        #expect("\(byVariable.raftListenAddress)" == "node3:5001" && byVariable.rack == nil)
    }

    @Test func `a node's own settings are stronger than its entry`() throws {
        let (given, _) = try cluster(
            "start",
            "--advertised-addr=far:1",
            "--raft-addr=10.0.0.1:2",
            environment: ["CHRONIK_LISTEN_ADDR": "10.0.0.1:3", "CHRONIK_BROKER_RACK": "z"],
            file: threeNodes
        )
        #expect("\(given.kafkaListenAddress)" == "10.0.0.1:3" && given.rack == "z")
        #expect(given.server.advertisedAddress?.host == "far")
        #expect("\(given.raftListenAddress)" == "10.0.0.1:2")
        #expect("\(given.raftAdvertisedAddress)" == "node2:5002")
        #expect(given.nodes[1].kafkaAddress?.host == "far" && given.nodes[1].rack == "z")
    }

    @Test func `start without nodes is a node of its own`() throws {
        guard case .standalone(let given, _) = try parse(["start", "--node-id=7"]) else {
            throw ConfigurationError("no configuration")
        }
        #expect(given.nodeID == 7)
    }

    @Test func `metadata acks have an older variable`() throws {
        let basic = ["--node-id=1", "--raft-addr=a:1", "--peers=2@b:1,3@c:1"]
        func acks(_ environment: [String: String]) throws -> MetadataAcks {
            guard
                case .cluster(let given, _) = try parse(
                    ["cluster"] + basic,
                    environment: environment
                )
            else { throw ConfigurationError("no cluster") }
            return given.metadataAcks
        }
        #expect(try acks(["CHRONIK_USE_METADATA_WAL": "true"]) == .leader)
        #expect(try acks(["CHRONIK_USE_METADATA_WAL": "false"]) == .quorum)
        let both = ["CHRONIK_USE_METADATA_WAL": "true", "CHRONIK_METADATA_ACKS": "leader"]
        #expect(try acks(both) == .leader)
        #expect(throws: ConfigurationError.self) {
            _ = try acks(["CHRONIK_USE_METADATA_WAL": "true", "CHRONIK_METADATA_ACKS": "quorum"])
        }
        #expect(throws: ConfigurationError.self) {
            _ = try acks(["CHRONIK_USE_METADATA_WAL": "yes"])
        }
    }

    @Test func `what is checked can be read again, and says where it is from`() throws {
        let arguments = ["start", "--config", "c.toml", "--config-check", "--raft-transport=grpc"]
        guard case .print(let text) = try parse(arguments, files: ["c.toml": threeNodes]) else {
            throw ConfigurationError("no answer")
        }
        for line in [
            "node.id = 2  # c.toml:1", "cluster.name = \"trial\"  # c.toml:3",
            "listen.addr = \"0.0.0.0:9092\"  # c.toml:11",
            "advertised.raft.addr = \"node2:5002\"  # c.toml:14",
            "broker.rack = \"b\"  # c.toml:15",
            "raft.transport = \"grpc\"  # --raft-transport", "min.insync.replicas = 2  # default",
        ] {
            #expect(text.contains(line + "\n"), "\(line)")
        }
        let (again, _) = try cluster("start", file: text)
        let (first, _) = try cluster("start", "--raft-transport=grpc", file: threeNodes)
        #expect(again.nodes == first.nodes && again.transport == .grpc)
        #expect(again.raftListenAddress == first.raftListenAddress)
    }
}

@Suite struct `What cannot form a cluster` {
    private let basic = "--peers=2@node2:5001,3@node3:5001"

    @Test func `a node needs an id and others`() {
        #expect(
            problems("cluster", basic, "--raft-addr=a:1") == [
                "node.id is not set; give each node its own with --node-id or in the file"
            ]
        )
        #expect(
            problems("cluster", "--node-id=0", basic, "--raft-addr=a:1") == [
                "node.id is 0; expected 1 or more in a cluster"
            ]
        )
        #expect(
            problems("cluster", "--node-id=1") == [
                "no other node is given; expected --peers 2@node2:5001,3@node3:5001, or [[nodes]] "
                    + "in the file"
            ]
        )
        #expect(
            problems("cluster", "--node-id=1", basic) == [
                "raft.addr is not set; the other nodes connect to it"
            ]
        )
    }

    @Test func `a node must be one of the nodes`() {
        #expect(
            problems("start", "--node-id", "4", file: threeNodes) == [
                "node.id is 4 (--node-id), and the nodes are 1, 2, 3; this node must be one of them"
            ]
        )
    }

    @Test func `ids and addresses are each one node's`() {
        #expect(
            problems("cluster", "--node-id=1", "--raft-addr=a:1", "--peers=2@b:1,2@c:1,3@b:1") == [
                "two nodes have the id 2: b:1 and c:1; each needs its own",
                "nodes 2 and 3 have the same raft address b:1",
            ]
        )
        let twice = threeNodes.replacing("node3:9092", with: "node1:9092")
        #expect(
            problems("start", file: twice) == [
                "nodes 1 and 3 have the same kafka address node1:9092"
            ]
        )
        let same = threeNodes.replacing("node3:9092", with: "node3:5001")
        #expect(
            problems("start", file: same) == [
                "node 3 has node3:5001 for clients and for nodes; expected two ports"
            ]
        )
    }

    @Test func `nodes are given once`() {
        #expect(
            problems("start", "--peers=1@a:1", file: threeNodes) == [
                "the nodes are given twice: peers (--peers) and [[nodes]] (c.toml:5); keep one of them"
            ]
        )
    }

    @Test func `addresses must be such that others can connect`() {
        #expect(
            problems("cluster", "--node-id=1", "--raft-addr=127.0.0.1:5001", basic) == [
                "node 1 is at 127.0.0.1:5001, which other machines cannot connect to, and not all "
                    + "nodes are on this machine"
            ]
        )
        let wildcard = threeNodes.replacing("advertised_raft_addr = \"node2:5002\"\n", with: "")
        #expect(
            problems("start", file: wildcard) == [
                "c.toml:13: raft_addr is 0.0.0.0:5001, which nobody can connect to; add "
                    + "advertised_raft_addr"
            ]
        )
        #expect(problems("cluster", "--node-id=1", "--raft-addr=a:1", "--peers=2@b:0").count == 1)
        #expect(problems("cluster", "--node-id=1", "--raft-addr=a:1", "--peers=2@:1").count == 1)
        #expect(problems("cluster", "--node-id=1", "--raft-addr=:0", basic).count == 1)
        #expect(
            problems("cluster", "--node-id=1", "--raft-addr=:1", "--listen-addr=:1", basic).count
                == 1
        )
    }

    @Test func `what is wrong in an entry is told with its line`() {
        let file = """
            node.id = 1
            [[nodes]]
            id = 0
            kafka_adr = "a:1"
            raft_addr = "a"
            [[nodes]]
            kafka_addr = "b:1"
            """
        #expect(
            problems("start", file: file) == [
                "c.toml:3: id is '0'; expected a whole number 1 to 2147483647",
                "c.toml:4: unknown key kafka_adr of a node; did you mean kafka_addr?",
                "c.toml:5: raft_addr is 'a'; expected HOST:PORT, [IPV6]:PORT or :PORT",
            ]
        )
        #expect(
            problems("start", file: "node.id = 1\n[[nodes]]\nrack = 'a'") == [
                "c.toml:3: a node without id", "c.toml:3: a node without kafka_addr",
                "c.toml:3: a node without raft_addr",
            ]
        )
        #expect(problems("start", file: "nodes = 3").count == 1)
    }

    @Test func `numbers must fit each other`() {
        let factor = problems("start", "--default-replication-factor=4", file: threeNodes)
        #expect(
            factor == [
                "default.replication.factor is 4 (--default-replication-factor); expected at most 3, "
                    + "which is how many nodes there are"
            ]
        )
        let least = problems(
            "start",
            "--default-replication-factor=2",
            environment: ["CHRONIK_MIN_INSYNC_REPLICAS": "3"],
            file: threeNodes
        )
        #expect(
            least == [
                "min.insync.replicas is 3 (environment CHRONIK_MIN_INSYNC_REPLICAS); expected at most "
                    + "default.replication.factor, which is 2"
            ]
        )
        #expect(problems("start", "--raft-heartbeat-interval-ms=100", file: threeNodes).count == 1)
    }

    @Test func `TLS needs all its files, and they must be there`() {
        #expect(
            problems("start", "--raft-tls-cert-file=cert", file: threeNodes) == [
                "TLS between nodes needs raft.tls.cert.file, raft.tls.key.file, raft.tls.ca.file; "
                    + "raft.tls.key.file and raft.tls.ca.file not set"
            ]
        )
        let all = problems(
            "start",
            "--raft-tls-cert-file=cert",
            "--raft-tls-key-file=key",
            "--raft-tls-ca-file=ca",
            file: threeNodes
        )
        #expect(
            all == [
                "raft.tls.cert.file: cert: missing", "raft.tls.key.file: key: missing",
                "raft.tls.ca.file: ca: missing",
            ]
        )
    }

    @Test func `a node of its own takes no setting of a cluster`() {
        let found = problems(
            "standalone",
            "--peers=2@b:1",
            environment: ["CHRONIK_RAFT_ADDR": "a:1"],
            file: threeNodes
        )
        #expect(
            found.contains(
                "raft.addr (environment CHRONIK_RAFT_ADDR) is for nodes of a cluster; "
                    + "standalone has no use for it"
            )
        )
        #expect(found.count == 4, "\(found)")
    }

    @Test func `unknown variables name the nearest`() {
        #expect(
            problems("cluster", environment: ["CHRONIK_RAFT_ADRR": "a:1"]).first
                == "unknown environment variable CHRONIK_RAFT_ADRR; did you mean CHRONIK_RAFT_ADDR?"
        )
    }

    @Test func `what works and will surprise is warned of`() throws {
        let even = try cluster("cluster", "--node-id=1", "--raft-addr=a:1", "--peers=2@b:1")
        #expect(even.warnings.contains { $0.hasPrefix("2 nodes survive the loss of 0, as 1 do") })
        let four = try cluster(
            "cluster",
            "--node-id=1",
            "--raft-addr=127.0.0.1:1",
            "--peers=2@127.0.0.1:2,3@127.0.0.1:3,4@127.0.0.1:4"
        )
        #expect(four.warnings == ["4 nodes survive the loss of 1, as 3 do; use an odd number"])
        let one = try cluster("cluster", "--node-id=1", "--peers=1@127.0.0.1:1")
        #expect(one.warnings == ["a cluster of one node survives the loss of none"])
        let open = try cluster("start", file: threeNodes)
        #expect(open.warnings.count == 1)
        let leader = try cluster("start", "--metadata-acks=leader", file: threeNodes)
        #expect(leader.warnings.count == 2)
    }
}

@Suite struct `Where the admin server listens` {
    @Test(arguments: [
        ("127.0.0.1:9644", true), ("127.1.2.3:1", true), ("[::1]:1", true), ("localhost:1", true),
        ("none", true), ("0.0.0.0:1", false), (":1", false), ("10.0.0.1:1", false),
        ("127.0.0.1.example:1", false), ("127.evil:1", false), ("[::]:1", false),
    ])
    func `beyond this machine only with a token`(_ address: String, _ isLocal: Bool) throws {
        #expect(problems("standalone", "--admin-addr", address).isEmpty == isLocal)
        let arguments = ["standalone", "--admin-addr", address, "--admin-token-file", "t"]
        _ = try parse(arguments, files: ["t": "0123456789abcdef\n"])
    }

    @Test func `the token is the file's first line, and is never shown`() throws {
        func token(_ text: String) throws(ConfigurationError) -> String? {
            let invocation = try parse(["standalone", "--admin-token-file=t"], files: ["t": text])
            guard case .standalone(let given, _) = invocation else { return nil }
            return try given.readAdminToken { _ in text }
        }
        #expect(try token("0123456789abcdef\r\nmore") == "0123456789abcdef")
        for text in ["", "\n0123456789abcdef", "secretsecret", "0123456789abcde f"] {
            let error = #expect(throws: ConfigurationError.self) { _ = try token(text) }
            #expect(error?.message.contains("is no token") == true)
            #expect(error?.message.contains("secret") == false)
        }
        let missing = problems("standalone", "--admin-token-file=t")
        #expect(missing == ["admin.token.file: t: missing"])
    }
}
