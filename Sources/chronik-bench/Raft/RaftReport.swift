/// The figures of the Raft library, for programs and for people.
struct RaftReport {
    var core: [RaftCoreRun.Figures] = []
    var idle: RaftRuntimeRun.Idle?
    var active: RaftRuntimeRun.Active?

    var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("command", .text("raft")), ("entry_bytes", .integer(RaftCoreRun.entryBytes)),
        ]
        for figures in core {
            members.append(
                (
                    "batch_\(figures.batch)",
                    .object([
                        ("committed", .integer(figures.committed)),
                        ("messages", .integer(figures.messages)),
                        ("seconds", .number(figures.seconds)),
                        ("processor_seconds", .number(figures.processorSeconds)),
                        ("committed_per_core_second", .number(figures.perCoreSecond)),
                    ])
                )
            )
        }
        if let idle { members.append(("idle", idle.json)) }
        if let active { members.append(("active", active.json)) }
        return .object(members)
    }

    var table: String {
        (core.isEmpty ? "" : coreTable) + (idle?.table ?? "") + (active?.table ?? "")
    }

    private var coreTable: String {
        var text = """
            three replicas in one thread, network and disks that take no time, entries of \
            \(RaftCoreRun.entryBytes) bytes

            """
        for figures in core {
            let name = figures.batch == 1 ? "one by one" : "\(figures.batch) at a time"
            let messages = Double(figures.messages) / Double(max(1, figures.committed))
            text += """
                  \(name): \(Decimals.grouped(Int(figures.perCoreSecond))) committed a second of one \
                core, \(Decimals.text(messages, 3)) messages each (\
                \(Decimals.grouped(figures.committed)) in \(Decimals.text(figures.seconds, 2)) s)

                """
        }
        return text
    }
}

extension RaftRuntimeRun.Idle {
    private var framesPerSecond: Double { Double(wire.frames) / max(1e-9, seconds) }
    private var bytesPerSecond: Double { Double(wire.bytes) / max(1e-9, seconds) }

    var json: JSONValue {
        .object([
            ("groups", .integer(groups)),
            ("nodes", .integer(nodes)),
            ("election_seconds", .number(electionSeconds)),
            ("silence_seconds", .number(silenceSeconds)),
            ("seconds", .number(seconds)),
            ("processor_seconds", .number(processorSeconds)),
            ("core_percent", .number(corePercent)),
            ("core_percent_per_node", .number(nodeCorePercent)),
            ("frames_per_second", .number(framesPerSecond)),
            ("bytes_per_second", .number(bytesPerSecond)),
            ("awake_replicas", .integer(awake)),
        ])
    }

    var table: String {
        """
        \(Decimals.grouped(groups)) groups idle on \(nodes) nodes of one process
          \(Decimals.text(corePercent, 2)) % of a core, \(Decimals.text(nodeCorePercent, 2)) % a \
        node (\(Decimals.text(processorSeconds, 3)) s in \(Decimals.text(seconds, 2)) s)
          \(Decimals.text(framesPerSecond, 1)) frames/s and \
        \(Decimals.text(bytesPerSecond, 0)) bytes/s between all nodes
          leaders after \(Decimals.text(electionSeconds, 2)) s, silence after another \
        \(Decimals.text(silenceSeconds, 2)) s, \(awake) replicas awake at the end

        """
    }
}

extension RaftRuntimeRun.Active {
    private var logBytesPerCommit: Double {
        Double(logBytes) / Double(max(1, nodes)) / Double(max(1, committed))
    }
    private var bytesPerSecond: Double { Double(wire.bytes) / max(1e-9, seconds) }
    private var framesPerSecond: Double { Double(wire.frames) / max(1e-9, seconds) }

    var json: JSONValue {
        .object([
            ("groups", .integer(groups)),
            ("nodes", .integer(nodes)),
            ("seconds", .number(seconds)),
            ("committed", .integer(committed)),
            ("failed", .integer(failed)),
            ("commits_per_second", .number(perSecond)),
            ("fdatasyncs", .integer(fdatasyncs)),
            ("fdatasyncs_per_node_and_1000_commits", .number(fdatasyncsPerThousand)),
            ("log_bytes_per_node_and_commit", .number(logBytesPerCommit)),
            ("processor_seconds", .number(processorSeconds)),
            ("frames_per_second", .number(framesPerSecond)),
            ("bytes_per_second", .number(bytesPerSecond)),
        ])
    }

    var table: String {
        let cores = processorSeconds / max(1e-9, seconds)
        return """
            \(Decimals.grouped(groups)) groups active on \(nodes) nodes of one process, each with \
            one log and one entry under way in each group
              \(Decimals.grouped(Int(perSecond))) commits/s (\(Decimals.grouped(committed)) in \
            \(Decimals.text(seconds, 2)) s, \(failed) failed), \(Decimals.text(cores, 2)) cores
              \(Decimals.text(fdatasyncsPerThousand, 2)) fdatasyncs a node for 1 000 commits, \
            \(Decimals.text(logBytesPerCommit, 1)) bytes of log a node for one
              \(Decimals.text(framesPerSecond, 0)) frames/s and \
            \(Decimals.grouped(Int(bytesPerSecond))) bytes/s between all nodes

            """
    }
}

extension RaftRecoveryRun.Figures {
    var json: JSONValue {
        .object([
            ("command", .text("raft-recovery")),
            ("entries", .integer(entries)),
            ("groups", .integer(groups)),
            ("entry_bytes", .integer(RaftRecoveryRun.entryBytes)),
            ("log_bytes", .integer(logBytes)),
            ("seconds", .number(seconds)),
            ("processor_seconds", .number(processorSeconds)),
            ("entries_per_second", .number(Double(entries) / max(1e-9, seconds))),
            ("resident_bytes_before", .integer(residentBefore)),
            ("peak_resident_bytes", .integer(peakResident)),
        ])
    }

    var table: String {
        """
        recovery of \(Decimals.grouped(entries)) entries of \(RaftRecoveryRun.entryBytes) bytes in \
        \(Decimals.grouped(groups)) groups
          \(Decimals.text(seconds, 3)) s, \(Decimals.text(processorSeconds, 3)) s of processor, \
        \(Decimals.grouped(Int(Double(entries) / max(1e-9, seconds)))) entries/s
          log \(Decimals.grouped(logBytes)) bytes, resident \(Decimals.grouped(residentBefore)) \
        bytes before, \(Decimals.grouped(peakResident)) at most

        """
    }
}
