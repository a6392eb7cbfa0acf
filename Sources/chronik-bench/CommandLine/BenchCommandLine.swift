import Platform

/// Turns arguments into settings.
enum BenchCommandLine {
    enum Result {
        case run(BenchSettings)
        case help(String)
    }

    static func parse(_ arguments: [String]) throws(BenchError) -> Result {
        var rest = arguments[...]
        if rest.contains("--help") || rest.contains("-h") { return .help(help) }
        guard let first = rest.popFirst() else { throw .usage("no command given; see --help") }
        let modes = BenchMode.allCases.map(\.rawValue)
        guard let mode = BenchMode(rawValue: first) else {
            throw .usage("unknown command \(first)\(Spelling.suggestion(for: first, among: modes))")
        }
        var settings = BenchSettings()
        settings.mode = mode
        while let argument = rest.popFirst() { try read(argument, &rest, into: &settings) }
        try check(settings)
        return .run(settings)
    }

    private static func read(
        _ argument: String,
        _ rest: inout ArraySlice<String>,
        into settings: inout BenchSettings
    ) throws(BenchError) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(parts.first ?? "")
        guard let option = BenchOption.table.first(where: { $0.name == name }) else {
            let near = Spelling.suggestion(for: name, among: BenchOption.table.map(\.name))
            throw .usage("unknown flag \(name)\(near)")
        }
        guard option.modes.contains(settings.mode) else {
            let others = option.modes.map(\.rawValue).sorted().joined(separator: ", ")
            throw .usage("\(name) is for \(others), not for \(settings.mode.rawValue)")
        }
        var value = parts.count == 2 ? String(parts[1]) : ""
        if option.placeholder.isEmpty {
            guard parts.count == 1 else { throw .usage("\(name) takes no value") }
        } else if parts.count == 1 {
            guard let next = rest.popFirst() else {
                throw .usage("\(name) needs a value: \(name) \(option.placeholder)")
            }
            value = next
        }
        guard option.set(&settings, value) else {
            throw .usage("\(name) is '\(value)'; expected \(option.allowed)")
        }
    }

    private static func check(_ settings: BenchSettings) throws(BenchError) {
        let least = ProduceTemplate.markerBytes
        if settings.mode == .roundTrip && settings.recordBytes < least {
            throw .usage(
                "--record-bytes is \(settings.recordBytes); round-trip writes the time of departure "
                    + "into the record, which takes at least \(least)"
            )
        }
        if settings.isIdempotent && settings.acks != -1 {
            throw .usage("--idempotent needs --acks all")
        }
        if settings.isIdempotent && settings.inFlight > 5 {
            throw .usage("--idempotent allows at most --in-flight 5, as many as a broker remembers")
        }
        let batch = settings.effectiveRecordsPerRequest * (settings.recordBytes + 9)
        if batch > 1 << 30 {
            throw .usage("a request of \(ByteSize.text(batch)) is larger than any broker takes")
        }
    }

    static var help: String {
        var text = """
            Usage: chronik-bench COMMAND [options]

            Measures any broker that speaks Kafka's protocol, and the parts this one is made of.

            Commands:

            """
        for mode in BenchMode.allCases {
            text += "  \(pad(mode.rawValue, 15))\(mode.summary)\n"
        }
        text += "\nOptions:\n"
        for option in BenchOption.table {
            let name = "\(option.name) \(option.placeholder)"
            let only = option.modes.count == 1 ? " (\(option.modes.first?.rawValue ?? ""))" : ""
            text += "  \(pad(name, 27))\(option.help)\(only)\n"
        }
        return text + """

            With --rate, latency is measured from the moment a request was meant to leave, so that
            waiting behind a slow one counts. Exit code: 0 when every record was acknowledged or
            consumed, 1 when not, 64 for a wrong command line.

            """
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
}
