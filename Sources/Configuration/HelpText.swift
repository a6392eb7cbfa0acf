/// What the settings' declarations say, as help, as a checked configuration and as a reference.
enum HelpText {
    private static let width = 96

    static func help(command: String?) -> String {
        let program = CommandLineParser.program
        guard let command, CommandLineParser.commands.contains(command) else {
            return """
                Usage: \(program) COMMAND [options]

                A Kafka-compatible broker that syncs before it acknowledges.

                Commands:
                  standalone    run a node of its own
                  cluster       run a node of a cluster
                  start         run what the configuration describes: a node of a cluster when it
                                names nodes or peers, else a node of its own

                \(program) COMMAND --help lists all options.

                """
        }
        let purpose =
            switch command {
            case "standalone": "Runs a node of its own."
            case "cluster": "Runs a node of a cluster."
            default: "Runs a node of a cluster when nodes or peers are named, else one of its own."
            }
        var text = """
            Usage: \(program) \(command) [options]

            \(purpose) Defaults are overridden by the file, the file by
            the environment, the environment by options.

            Options:
              --config FILE         read settings from a TOML file (CHRONIK_CONFIG)
              --set KEY=VALUE       set any setting by its key
              --config-check        print the settings that would be used, and where each is from
              --config-reference    print the reference of all settings, in Markdown
              --version             print the version
              --help                print this

            Each setting below is a key of the file, an option, and an environment variable:
            listen.addr, --listen-addr and CHRONIK_LISTEN_ADDR are one.

            """
        for group in ServerSettings.groups where command != "standalone" || group.scope == .server {
            text += "\n\(group.heading):\n"
            for setting in group.settings {
                let options = ([setting.option] + setting.otherOptions).joined(separator: ", ")
                text += "  \(options) \(setting.placeholder)\n"
                let fallback = setting.defaultText.map { " [\($0)]" } ?? ""
                text += wrapped(setting.help + fallback, indent: 6)
            }
        }
        return text
    }

    /// A file that would give this configuration, each line with its origin.
    static func effective(
        _ configuration: ServerConfiguration,
        _ warnings: [String],
        scopes: [SettingGroup.Scope]
    ) -> String {
        var text = ""
        for warning in warnings { text += "# warning: \(warning)\n" }
        for group in ServerSettings.groups where scopes.contains(group.scope) {
            text += "\(text.isEmpty ? "" : "\n")# \(group.heading)\n"
            for setting in group.settings {
                let origin = configuration.origins[setting.key].map { "\($0)" } ?? "default"
                guard let value = setting.text(configuration) else {
                    text += "# \(setting.key) is not set\n"
                    continue
                }
                text += "\(setting.key) = \(literal(value))  # \(origin)\n"
            }
        }
        return text
    }

    /// The nodes of a cluster; as a table of the file when they were one, else as a remark.
    static func nodes(_ cluster: ClusterConfiguration, _ given: NodeEntries) -> String {
        if given.entries.isEmpty {
            let nodes = cluster.nodes.map { node in
                "\(node.id)@\(node.raftAddress)" + (node.id == cluster.nodeID ? " (this one)" : "")
            }
            return "\n# \(nodes.count) nodes: \(nodes.joined(separator: ", "))\n"
        }
        var text = ""
        for entry in given.entries {
            text += "\n[[nodes]]  # \(entry.origin)\n"
            let lines: [(key: String, value: String?)] = [
                ("id", entry.id.map { "\($0.value)" }),
                ("kafka_addr", entry.kafkaAddress.map { "\($0.value)" }),
                ("raft_addr", entry.raftAddress.map { "\($0.value)" }),
                ("advertised_kafka_addr", entry.advertisedKafkaAddress.map { "\($0.value)" }),
                ("advertised_raft_addr", entry.advertisedRaftAddress.map { "\($0.value)" }),
                ("rack", entry.rack?.value),
            ]
            for case (let key, let value?) in lines { text += "\(key) = \(literal(value))\n" }
        }
        return text
    }

    private static func literal(_ value: String) -> String {
        if Int(value) != nil || Bool(value) != nil { return value }
        var quoted = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let hex = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    /// All settings as a page of Markdown; `docs/configuration.md` is this text.
    static func reference() -> String {
        var text = """
            # Configuration

            Every setting is a key of the TOML file given with `--config`, an environment variable
            and an option of the command line: `listen.addr`, `CHRONIK_LISTEN_ADDR` and
            `--listen-addr` are one. Options win over the environment, the environment over the
            file, the file over the defaults. `--set KEY=VALUE` sets any key.

            Sizes are written `65536`, `64KiB` or `1GiB`, durations `500ms`, `30s`, `5m`, `1h` or
            `7d`; a bare number counts in the unit the key ends in.

            `chronik-server standalone --config-check` prints the settings that would be used and
            where each comes from; it exits with 0, or with 78 and every problem found. `cluster`
            and `start` take it too. This page is printed by `--config-reference`.

            """
        text += clusterReference
        for group in ServerSettings.groups {
            text += "\n## \(group.heading)\n\n| key | default | allowed | what it does |\n"
            text += "|---|---|---|---|\n"
            for setting in group.settings {
                let key =
                    "`\(setting.key)`"
                    + (setting.aliases + setting.otherOptions).map { ", `\($0)`" }
                    .joined(separator: "")
                let fallback = setting.defaultText.map { "`\($0)`" } ?? ""
                text += "| \(key) | \(fallback) | \(setting.allowed) | \(setting.help) |\n"
            }
        }
        return text
    }

    private static let clusterReference = """

        ## Nodes of a cluster

        `chronik-server cluster` runs one node of several, and `chronik-server start` does so when
        the configuration names nodes or peers; else it runs a node of its own. Every node of a
        cluster needs an id of its own, `node.id`, and the list of all nodes, given in one of two
        ways.

        In the file, which can be the same on every node when `node.id` comes from the environment
        or the command line:

        ```toml
        node_id = 1

        [cluster]
        name = "trial"

        [[nodes]]
        id = 1
        kafka_addr = "node1:9092"
        raft_addr = "node1:5001"
        rack = "a"
        ```

        | key of a node | what it says |
        |---|---|
        | `id` | Its id, 1 or more. |
        | `kafka_addr` | Where it accepts Kafka clients, and where they reach it. |
        | `raft_addr` | Where it accepts other nodes, and where they reach it. |
        | `advertised_kafka_addr` | Where clients reach it, when that is another address. |
        | `advertised_raft_addr` | Where nodes reach it, when that is another address. |
        | `rack` | Its rack. |

        What the entry of a node says of itself is weaker than its own `listen.addr`,
        `advertised.addr`, `raft.addr`, `advertised.raft.addr` and `broker.rack`, wherever those
        are set.

        Or by `peers`: `--node-id 1 --raft-addr 0.0.0.0:5001 --peers 2@node2:5001,3@node3:5001`.
        The older spelling `--node-addr` is `--raft-addr`, and `--seed-nodes` is `--peers`: it needs
        the ids too, for the nodes it names are the voters. A list that names this node as well is
        taken, and can be the same everywhere.

        A list of nodes that cannot agree is refused: this node is not in it, two have one id or one
        address, or an address that nobody can connect to. An even number of nodes is warned of.

        ## When changes of the metadata are acknowledged

        Topics, partitions, configurations and everything else the nodes share are decided by one of
        them, the metadata's leader, and written to a log that all of them keep. With
        `metadata.acks = "quorum"`, which is the default, a change is acknowledged once a majority
        has synced it: whatever fails of fewer nodes than that, it stays, and the node that answered
        knows it already.

        With `metadata.acks = "leader"` these are acknowledged as soon as the leader has synced them
        itself, and replicated behind that: making topics, adding partitions, and setting the
        configuration of topics and brokers. Deletions, producer ids, members and terms are always
        acknowledged by a majority, since others act on them at once. So it is guaranteed, and not:

        - The leader crashes and comes back: nothing acknowledged is lost, unless the others have
          chosen another leader meanwhile that never heard of the change.
        - The leader is cut off, or dies and stays away: changes that it acknowledged in its last
          moments and no other node got are gone, as if they had never been made. Usually that is
          less than a millisecond of them. A leader that hears no majority for an election timeout
          ceases to lead and acknowledges nothing more; that bounds what it can lose.
        - There is never a second truth: changes carry the leader's term, and a change of a former
          leader is dropped whole when another leader's takes its place. Nothing is done for a topic
          or a configuration before a majority has it, so what is lost leaves no trace.
        - For a moment after the answer no node knows the change yet. Clients that use a new topic
          at once are told to try again, and do.

        `chronik_metadata_early_acknowledgements` says how many changes are acknowledged and not yet
        known to be kept, `chronik_metadata_lost_acknowledgements_total` how many were lost: the
        node that acknowledged them counts them when it hears what was decided in their place,
        unless it was restarted since. Every node should have the same setting, as each may lead.

        ## How many replicas have what acks=all has acknowledged

        A majority of a partition's replicas, at least: a batch is committed, acknowledged and shown
        to consumers once a majority has synced it. `min.insync.replicas`, of a topic or as the
        default of all, can ask for more than a majority; up to a majority it changes nothing.

        - With fewer replicas in sync than that, acks=all is answered `NOT_ENOUGH_REPLICAS`, and
          nothing is appended. In sync is a replica whose node is heard of, and that had everything
          within the last 2 seconds.
        - What is appended is acknowledged once so many have synced it. If one of them falls out
          before, the answer is `NOT_ENOUGH_REPLICAS_AFTER_APPEND`: the batch is in the log, and an
          idempotent producer that sends it again has it there once. When the request's time is
          over first, it is `REQUEST_TIMED_OUT`.
        - Consumers read what a majority has, as ever, and `acks=1` and `acks=0` wait for no more
          than they did.
        - A topic may ask for as many replicas as it has, and may not be left with fewer than it
          asks for; the default may ask for `default.replication.factor`. For a topic with fewer
          replicas the default means all of them. The broker's own topics are content with a
          majority.

        Three of three means that a partition takes no acks=all while any node that has a replica of
        it is away.

        ## Producers that cannot reach every node

        A node that does not lead a partition answers a produce with `NOT_LEADER_OR_FOLLOWER` and
        says who does, and the client goes there. Where clients can reach one node alone, or a load
        balancer that chooses one, set `produce.proxy = true` on the nodes they reach: such a node
        passes that part of the request on to the leader, and answers with the leader's own answer.

        - Metadata names the real leaders, under the addresses that the nodes advertise. For a client
          to send everything to the one address it can reach, every node has to advertise that one,
          with `advertised.addr`.
        - `acks` means what it always does, and the leader's errors are passed word for word. A
          leader that is not known or not heard of makes it `NOT_LEADER_OR_FOLLOWER`, as without the
          proxy. When no answer comes within the request's time, or the connection to the leader
          breaks, it is `REQUEST_TIMED_OUT`: the batch is appended or is not. Clients send again in
          either case, and what an idempotent producer sends is there once.
        - The order of one producer's batches to a partition stays. A request is passed on once: a
          node that does not lead any more refuses what was passed to it.
        - To each other node 8 MiB in 128 requests are under way at a time; what comes on top waits
          in its order, for as long as its request gives, and its clients send no more meanwhile. A
          batch of more than 8 MiB is not passed on: `MESSAGE_TOO_LARGE`.
        - Only produces are passed on. Consumers read what the node they reach has a replica of;
          consumer groups need their coordinator, which may be any node.

        `chronik_produce_proxied_requests_total` and `chronik_produce_proxied_bytes_total` say how
        much a node has passed on, `chronik_produce_proxied_failures_total` how often nothing came
        of it. Every record then crosses the network once more, so let clients that can reach all
        nodes do that.

        """

    private static func wrapped(_ text: String, indent: Int) -> String {
        let margin = String(repeating: " ", count: indent)
        var lines: [String] = []
        var line = margin
        for word in text.split(separator: " ") {
            if line.count + word.count + 1 > width && line.count > indent {
                lines.append(line)
                line = margin
            }
            line += (line.count > indent ? " " : "") + word
        }
        lines.append(line)
        return lines.joined(separator: "\n") + "\n"
    }
}
