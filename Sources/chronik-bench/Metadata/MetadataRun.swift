import Platform

/// Writes metadata through Kafka's protocol: topics made one after another, then configurations
/// changed and topics made by many clients at once.
struct MetadataRun {
    private static let sequentialTopics = 1_000

    let settings: BenchSettings
    let platform: RealPlatform

    private var loop: EventLoop { platform.loops[0] }
    private func now() -> Int64 { platform.clock.monotonicNanoseconds }

    /// Must be called on the first loop.
    func run() async throws(BenchError) -> MetadataReport {
        let controller = try await MetadataClient.controller(
            through: settings.bootstrap,
            on: loop
        )
        // Another run may have been here before.
        let prefix = "\(settings.topic)-\(platform.clock.wallMilliseconds)"
        var report = MetadataReport(settings: settings)
        let duration = settings.effectiveDuration ?? .seconds(10)
        let single = try await connect(1, to: controller, prefix: "\(prefix)-s")
        report.phases.append(
            try await phase(
                "create_sequential",
                "topics one after another",
                .createTopic,
                single,
                .max,
                limit: settings.records ?? Self.sequentialTopics
            )
        )
        for worker in single { await worker.close() }
        let workers = try await connect(settings.clients, to: controller, prefix: "\(prefix)-c")
        // What they are to configure. Before many topics are made, since nodes are busy with the
        // partitions of those for a while.
        for worker in workers { try await worker.run(.createTopic, until: .max, limit: 1) }
        report.phases.append(
            try await phase(
                "alter_concurrent",
                "configurations by \(settings.clients) clients",
                .alterConfigs,
                workers,
                duration
            )
        )
        report.phases.append(
            try await phase(
                "create_concurrent",
                "topics by \(settings.clients) clients",
                .createTopic,
                workers,
                duration
            )
        )
        for worker in workers { await worker.close() }
        return report
    }

    private func connect(
        _ count: Int,
        to controller: SocketAddress,
        prefix: String
    ) async throws(BenchError) -> [MetadataWorker] {
        let workers = platform.loops.prefix(count).map {
            MetadataWorker(settings, clock: platform.clock, on: $0)
        }
        for number in 0..<count {
            try await workers[number % workers.count].connect(
                number,
                to: controller,
                prefix: prefix
            )
        }
        return workers
    }

    private func phase(
        _ name: String,
        _ title: String,
        _ operation: MetadataClient.Operation,
        _ workers: [MetadataWorker],
        _ duration: Int64,
        limit: Int = .max
    ) async throws(BenchError) -> MetadataReport.Phase {
        if !settings.isQuiet { StandardError.write("\(title)\n") }
        let processor = ProcessorTime.now()
        let start = now()
        let deadline = duration == .max ? .max : start + duration
        let failure = await withTaskGroup(of: BenchError?.self) { group in
            for worker in workers {
                group.addTask {
                    do throws(BenchError) {
                        try await worker.run(operation, until: deadline, limit: limit)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            var first: BenchError?
            for await failure in group where first == nil { first = failure }
            return first
        }
        if let failure { throw failure }
        let seconds = Double(now() - start) / 1e9
        var tally = MetadataTally()
        for worker in workers { tally.merge(await worker.tally) }
        return .init(
            name: name,
            title: title,
            seconds: seconds,
            tally: tally,
            processorSeconds: ProcessorTime.now().since(processor).total
        )
    }
}

/// What a run found.
struct MetadataReport: Sendable {
    struct Phase: Sendable {
        let name: String
        let title: String
        let seconds: Double
        let tally: MetadataTally
        let processorSeconds: Double

        var perSecond: Double { Double(tally.writes) / max(1e-9, seconds) }
    }

    private static let quantiles: [(name: String, fraction: Double)] = [
        ("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999),
    ]

    let settings: BenchSettings
    var phases: [Phase] = []

    /// Everything asked for was granted.
    var isComplete: Bool { phases.allSatisfy { $0.tally.errors.isEmpty && $0.tally.writes > 0 } }

    var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("command", .text(settings.mode.rawValue)),
            ("clients", .integer(settings.clients)),
            ("partitions", .integer(Int(settings.partitions))),
        ]
        for phase in phases {
            var figures: [(key: String, value: JSONValue)] = [
                ("seconds", .number(phase.seconds)),
                ("writes", .integer(phase.tally.writes)),
                ("writes_per_second", .number(phase.perSecond)),
                ("processor_seconds", .number(phase.processorSeconds)),
            ]
            for (name, fraction) in Self.quantiles {
                let value = Double(phase.tally.latency.quantile(fraction)) / 1e3
                figures.append(("\(name)_microseconds", .number(value)))
            }
            figures.append(
                (
                    "errors",
                    .object(
                        phase.tally.errors.sorted { $0.key < $1.key }
                            .map { ($0.key, .integer($0.value)) }
                    )
                )
            )
            members.append((phase.name, .object(figures)))
        }
        return .object(members)
    }

    var table: String {
        var text = ""
        for phase in phases {
            text += "\(phase.title)\n  \(Decimals.grouped(Int(phase.perSecond))) a second ("
            text += "\(Decimals.grouped(phase.tally.writes)) in "
            text += "\(Decimals.text(phase.seconds, 2)) s)"
            for (name, fraction) in Self.quantiles {
                let value = Double(phase.tally.latency.quantile(fraction)) / 1e6
                text += ", \(name) \(Decimals.text(value, 3)) ms"
            }
            text += "\n"
            for (name, count) in phase.tally.errors.sorted(by: { $0.key < $1.key }) {
                text += "  \(name): \(count)\n"
            }
        }
        return text
    }
}
