/// A line a second on standard error, about what happened since the last one.
struct ProgressLine {
    private var last = Tally()
    private var lastMoment: Int64 = 0

    mutating func show(_ tally: Tally, consumed: Tally?, at moment: Int64) {
        let seconds = max(1e-9, Double(moment - lastMoment) / 1e9)
        let latency = tally.latency.since(last.latency)
        let records = Double(tally.records - last.records) / seconds
        let megabytes = Double(tally.valueBytes - last.valueBytes) / seconds / 1e6
        var line = "\(Decimals.text(Double(moment) / 1e9, 0)) s: "
        line += "\(Decimals.grouped(Int(records))) records/s, \(Decimals.text(megabytes, 1)) MB/s, "
        line += "p50 \(Decimals.text(Double(latency.quantile(0.5)) / 1e3, 0)) µs, "
        line += "p99 \(Decimals.text(Double(latency.quantile(0.99)) / 1e3, 0)) µs"
        if let consumed { line += ", consumed \(Decimals.grouped(consumed.records))" }
        if !tally.errors.isEmpty {
            let names = tally.errors.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
            line += ", errors: \(names.joined(separator: ", "))"
        }
        StandardError.write(line + "\n")
        last = tally
        lastMoment = moment
    }
}
