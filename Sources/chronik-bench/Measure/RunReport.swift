/// What a run found, as a table for people or one JSON object.
struct RunReport: Sendable {
    private static let quantiles: [(name: String, fraction: Double)] = [
        ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999),
    ]

    let settings: BenchSettings
    let seconds: Double
    let sent: Int
    let acknowledged: Int
    let tally: Tally
    /// Of the consumers of a round trip.
    let consumed: Tally?
    let processor: ProcessorTime

    /// Every record arrived where it should, and nothing went wrong on the way.
    var isComplete: Bool {
        let arrived = consumed.map { $0.records >= acknowledged && $0.errors.isEmpty } ?? true
        return sent == acknowledged && tally.errors.isEmpty && arrived
    }

    private var recordsPerSecond: Double { Double(tally.records) / max(seconds, 1e-9) }
    private var megabytesPerSecond: Double { Double(tally.valueBytes) / max(seconds, 1e-9) / 1e6 }
    private var errors: [(key: String, value: Int)] {
        var all = tally.errors
        all.merge(consumed?.errors ?? [:]) { $0 + $1 }
        return all.sorted { $0.key < $1.key }
    }

    private var latencyName: String {
        switch settings.mode {
        case .consume: "fetch"
        case _ where settings.acks == 0: "write"
        default: "acknowledged"
        }
    }

    // MARK: For programs

    var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("command", .text(settings.mode.rawValue)),
            ("topic", .text(settings.topic)),
            ("seconds", .number(seconds)),
            ("records", .integer(tally.records)),
            ("records_per_second", .number(recordsPerSecond)),
            ("megabytes_per_second", .number(megabytesPerSecond)),
            ("requests", .integer(tally.requests)),
        ]
        if settings.mode != .consume {
            members += [
                ("sent_records", .integer(sent)),
                ("unacknowledged_records", .integer(sent - acknowledged)),
                ("producers", .integer(settings.producers)),
                ("in_flight", .integer(settings.inFlight)),
                ("records_per_request", .integer(settings.effectiveRecordsPerRequest)),
                ("record_bytes", .integer(settings.recordBytes)),
                ("acks", .text(settings.acks == -1 ? "all" : "\(settings.acks)")),
                ("idempotent", .boolean(settings.isIdempotent)),
                ("compression", .text(settings.compression)),
            ]
        }
        if let rate = settings.rate { members.append(("rate", .number(rate))) }
        members.append(("latency_us", Self.json(tally.latency)))
        if settings.rate != nil { members.append(("lateness_us", Self.json(tally.lateness))) }
        if let consumed {
            members.append(("consumed_records", .integer(consumed.records)))
            members.append(("end_to_end_us", Self.json(consumed.endToEnd)))
        }
        members += [
            ("errors", .object(errors.map { ($0.key, .integer($0.value)) })),
            ("complete", .boolean(isComplete)),
            ("cpu_seconds", .number(processor.total)),
            ("cpu_user_seconds", .number(processor.user)),
            ("cpu_system_seconds", .number(processor.system)),
        ]
        return .object(members)
    }

    private static func json(_ histogram: QuantileHistogram) -> JSONValue {
        var members = quantiles.map { quantile in
            (
                key: quantile.name,
                value: JSONValue.number(micros(histogram.quantile(quantile.fraction)))
            )
        }
        members.append(("max", .number(micros(histogram.maximum))))
        members.append(("mean", .number(histogram.mean / 1e3)))
        members.append(("count", .integer(Int(histogram.count))))
        return .object(members)
    }

    private static func micros(_ nanoseconds: Int64) -> Double { Double(nanoseconds) / 1e3 }

    // MARK: For people

    var table: String {
        var text = """
            \(settings.mode.rawValue) \(settings.topic): \(Decimals.grouped(tally.records)) records \
            in \(Decimals.text(seconds, 2)) s
              throughput  \(Decimals.grouped(Int(recordsPerSecond))) records/s, \
            \(Decimals.text(megabytesPerSecond, 1)) MB/s, \(Decimals.grouped(tally.requests)) requests

            """
        text += "  µs            "
        for name in Self.quantiles.map(\.name) + ["max"] { text += Self.column(name) }
        text += "\n" + row(latencyName, tally.latency)
        if let consumed { text += row("end to end", consumed.endToEnd) }
        if settings.rate != nil { text += row("own lateness", tally.lateness) }
        if let consumed { text += "  consumed    \(Decimals.grouped(consumed.records)) records\n" }
        if sent != acknowledged {
            text += "  NOT ACKNOWLEDGED  \(Decimals.grouped(sent - acknowledged)) records\n"
        }
        for (name, records) in errors { text += "  error       \(name): \(records) records\n" }
        let share = 100 * processor.total / max(seconds, 1e-9)
        text += "  this program used \(Decimals.text(processor.total, 2)) s of processor"
        return text + " (\(Decimals.text(share, 0)) % of a core)\n"
    }

    private func row(_ name: String, _ histogram: QuantileHistogram) -> String {
        var text = "  " + name + String(repeating: " ", count: max(0, 14 - name.count))
        for quantile in Self.quantiles {
            text += Self.column(
                Decimals.text(Self.micros(histogram.quantile(quantile.fraction)), 1)
            )
        }
        return text + Self.column(Decimals.text(Self.micros(histogram.maximum), 1)) + "\n"
    }

    private static func column(_ text: String) -> String {
        String(repeating: " ", count: max(1, 12 - text.count)) + text
    }
}
