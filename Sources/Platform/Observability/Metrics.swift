import Synchronization

/// A number that only grows.
public final class Counter: Sendable {
    private let value = Atomic<UInt64>(0)
    public init() {}
    public func increment(by n: Int = 1) { value.add(UInt64(n), ordering: .relaxed) }
    public var current: UInt64 { value.load(ordering: .relaxed) }
}

/// A number that goes up and down.
public final class Gauge: Sendable {
    private let value = Atomic<Int64>(0)
    public init() {}
    public func set(_ n: Int) { value.store(Int64(n), ordering: .relaxed) }
    public func add(_ n: Int) { value.add(Int64(n), ordering: .relaxed) }
    public var current: Int64 { value.load(ordering: .relaxed) }
}

/// Latencies in nanoseconds, in buckets that double from 1 µs to about 17 s.
public final class LatencyHistogram: Sendable {
    private static let bucketCount = 25
    private struct State {
        var buckets = [UInt64](repeating: 0, count: LatencyHistogram.bucketCount + 1)
        var sum: UInt64 = 0
    }
    private let state = Mutex(State())

    public init() {}

    public func record(_ nanoseconds: Int64) {
        let value = UInt64(max(0, nanoseconds))
        let microseconds = max(1, value / 1_000)
        let bucket = min(Self.bucketCount, UInt64.bitWidth - microseconds.leadingZeroBitCount - 1)
        state.withLock {
            $0.buckets[bucket] += 1
            $0.sum += value
        }
    }

    /// Upper bounds in seconds with cumulative counts, then the sum in seconds.
    var snapshot: (buckets: [(bound: Double, count: UInt64)], total: UInt64, sum: Double) {
        let now = state.withLock { $0 }
        var total: UInt64 = 0
        var rows: [(Double, UInt64)] = []
        for (index, count) in now.buckets.enumerated() {
            total += count
            if index < Self.bucketCount { rows.append((Double(2 << index) / 1e6, total)) }
        }
        return (rows, total, Double(now.sum) / 1e9)
    }
}

/// The metrics of a node by name, printed in Prometheus' text format.
public final class MetricsRegistry: Sendable {
    private enum Metric: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(LatencyHistogram)
        /// Read when printed.
        case sampled(kind: String, @Sendable () -> Double)
    }
    private struct Family {
        let help: String
        var members: [(labels: String, metric: Metric)] = []
    }

    private let families = Mutex<[String: Family]>([:])

    public init() {}

    public func counter(
        _ name: String,
        _ help: String,
        labels: KeyValuePairs<String, String> = [:]
    ) -> Counter {
        let counter = Counter()
        add(name, help, labels, .counter(counter))
        return counter
    }

    public func gauge(
        _ name: String,
        _ help: String,
        labels: KeyValuePairs<String, String> = [:]
    ) -> Gauge {
        let gauge = Gauge()
        add(name, help, labels, .gauge(gauge))
        return gauge
    }

    public func histogram(
        _ name: String,
        _ help: String,
        labels: KeyValuePairs<String, String> = [:]
    ) -> LatencyHistogram {
        let histogram = LatencyHistogram()
        add(name, help, labels, .histogram(histogram))
        return histogram
    }

    /// A value kept elsewhere; `kind` is `counter` or `gauge`.
    public func sampled(
        _ name: String,
        _ help: String,
        kind: String,
        labels: KeyValuePairs<String, String> = [:],
        _ read: @escaping @Sendable () -> Double
    ) {
        add(name, help, labels, .sampled(kind: kind, read))
    }

    private func add(
        _ name: String,
        _ help: String,
        _ labels: KeyValuePairs<String, String>,
        _ metric: Metric
    ) {
        let text = labels.map { "\($0.key)=\(JSONText.quoted($0.value))" }.joined(separator: ",")
        families.withLock { $0[name, default: Family(help: help)].members.append((text, metric)) }
    }

    /// Everything, in the order of names.
    public func prometheusText() -> String {
        let all = families.withLock { $0 }.sorted { $0.key < $1.key }
        var out = ""
        for (name, family) in all {
            out += "# HELP \(name) \(family.help)\n# TYPE \(name) \(Self.kind(of: family))\n"
            for (labels, metric) in family.members { out += Self.lines(name, labels, metric) }
        }
        return out
    }

    private static func kind(of family: Family) -> String {
        switch family.members.first?.metric {
        case .counter: "counter"
        case .gauge, nil: "gauge"
        case .histogram: "histogram"
        case .sampled(let kind, _): kind
        }
    }

    private static func lines(_ name: String, _ labels: String, _ metric: Metric) -> String {
        let braces = labels.isEmpty ? "" : "{\(labels)}"
        switch metric {
        case .counter(let counter): return "\(name)\(braces) \(counter.current)\n"
        case .gauge(let gauge): return "\(name)\(braces) \(gauge.current)\n"
        case .sampled(_, let read): return "\(name)\(braces) \(read())\n"
        case .histogram(let histogram):
            let now = histogram.snapshot
            let prefix = labels.isEmpty ? "" : labels + ","
            var out = ""
            for row in now.buckets {
                out += "\(name)_bucket{\(prefix)le=\"\(row.bound)\"} \(row.count)\n"
            }
            out += "\(name)_bucket{\(prefix)le=\"+Inf\"} \(now.total)\n"
            return out + "\(name)_sum\(braces) \(now.sum)\n\(name)_count\(braces) \(now.total)\n"
        }
    }
}
