/// The figures of the Raft library, for programs and for people.
struct RaftReport {
    var core: [RaftCoreRun.Figures] = []

    var json: JSONValue {
        .object(
            [("command", .text("raft")), ("entry_bytes", .integer(RaftCoreRun.entryBytes))]
                + core.map { figures in
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
                }
        )
    }

    var table: String {
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
