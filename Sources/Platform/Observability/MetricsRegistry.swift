import Synchronization

/// The metrics of a node by name, printed in Prometheus' text format.
///
/// Asking twice for the same name and labels gives the same metric. What is counted on a hot path
/// is asked for once and kept; what lies elsewhere is ``sampled(_:_:kind:labels:_:)`` or
/// ``collected(_:_:kind:labels:_:)`` when it is printed, and costs nothing until then.
public final class MetricsRegistry: Sendable {
    public enum Kind: String, Sendable { case counter, gauge, histogram }

    /// A value with the values of its family's labels, in their order.
    public struct Sample: Sendable {
        public let labels: [String]
        public let value: Double

        public init(_ labels: [String] = [], _ value: Double) {
            self.labels = labels
            self.value = value
        }
    }

    private enum Metric: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(Histogram)
        case latency(LatencyHistogram)
        /// Read when printed.
        case sampled(@Sendable () -> Double)
        case collected(labels: [String], @Sendable () -> [Sample])
    }
    private struct Family {
        let help: String
        let kind: Kind
        /// By their labels as they are printed.
        var members: [String: Metric] = [:]
    }

    /// The media type of ``prometheusText()``.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private let families = Mutex<[String: Family]>([:])

    public init() {}

    public func counter(
        _ name: String,
        _ help: String,
        labels: KeyValuePairs<String, String> = [:]
    ) -> Counter {
        let metric = member(name, help, .counter, labels) { .counter(Counter()) }
        guard case .counter(let counter) = metric else { Self.conflict(name) }
        return counter
    }

    public func gauge(
        _ name: String,
        _ help: String,
        labels: KeyValuePairs<String, String> = [:]
    ) -> Gauge {
        let metric = member(name, help, .gauge, labels) { .gauge(Gauge()) }
        guard case .gauge(let gauge) = metric else { Self.conflict(name) }
        return gauge
    }

    /// A histogram of times.
    public func histogram(
        _ name: String,
        _ help: String,
        labels: KeyValuePairs<String, String> = [:]
    ) -> LatencyHistogram {
        let metric = member(name, help, .histogram, labels) { .latency(LatencyHistogram()) }
        guard case .latency(let histogram) = metric else { Self.conflict(name) }
        return histogram
    }

    /// A histogram of amounts: `bounds` buckets that double from `first`.
    public func histogram(
        _ name: String,
        _ help: String,
        first: Int,
        bounds: Int,
        labels: KeyValuePairs<String, String> = [:]
    ) -> Histogram {
        let metric = member(name, help, .histogram, labels) {
            .histogram(Histogram(first: first, bounds: bounds))
        }
        guard case .histogram(let histogram) = metric else { Self.conflict(name) }
        return histogram
    }

    /// A value kept elsewhere.
    public func sampled(
        _ name: String,
        _ help: String,
        kind: Kind,
        labels: KeyValuePairs<String, String> = [:],
        _ read: @escaping @Sendable () -> Double
    ) {
        _ = member(name, help, kind, labels) { .sampled(read) }
    }

    /// A family whose members come and go: `read` names them anew each time they are printed.
    public func collected(
        _ name: String,
        _ help: String,
        kind: Kind,
        labels: [String],
        _ read: @escaping @Sendable () -> [Sample]
    ) {
        precondition(labels.allSatisfy(Self.isLabelName), "labels \(labels) of \(name)")
        _ = member(name, help, kind, [:]) { .collected(labels: labels, read) }
    }

    /// Takes a member away, for those that belong to something that is gone.
    public func remove(_ name: String, labels: KeyValuePairs<String, String>) {
        let text = Self.text(of: labels)
        families.withLock { families in
            families[name]?.members[text] = nil
            if families[name]?.members.isEmpty == true { families[name] = nil }
        }
    }

    private func member(
        _ name: String,
        _ help: String,
        _ kind: Kind,
        _ labels: KeyValuePairs<String, String>,
        _ make: () -> Metric
    ) -> Metric {
        precondition(
            Self.isMetricName(name) && labels.allSatisfy { Self.isLabelName($0.key) },
            "a metric called \(name) with labels \(labels)"
        )
        let text = Self.text(of: labels)
        return families.withLock { families in
            if families[name] == nil { families[name] = Family(help: help, kind: kind) }
            let known = families[name]?.kind ?? kind
            precondition(known == kind, "\(name) is a \(known) and a \(kind)")
            if let found = families[name]?.members[text] { return found }
            let metric = make()
            families[name]?.members[text] = metric
            return metric
        }
    }

    private static func conflict(_ name: String) -> Never {
        preconditionFailure("\(name) was registered as another kind of metric")
    }

    // MARK: Text

    /// Everything, in the order of names and labels.
    public func prometheusText() -> String {
        let all = families.withLock { $0 }.sorted { $0.key < $1.key }
        var out = ""
        for (name, family) in all {
            out += "# HELP \(name) \(Self.escaped(family.help, quotes: false))\n"
            out += "# TYPE \(name) \(family.kind.rawValue)\n"
            for (labels, metric) in family.members.sorted(by: { $0.key < $1.key }) {
                Self.write(name, labels, metric, &out)
            }
        }
        return out
    }

    private static func write(
        _ name: String,
        _ labels: String,
        _ metric: Metric,
        _ out: inout String
    ) {
        let braces = labels.isEmpty ? "" : "{\(labels)}"
        switch metric {
        case .counter(let counter): out += "\(name)\(braces) \(counter.current)\n"
        case .gauge(let gauge): out += "\(name)\(braces) \(gauge.current)\n"
        case .sampled(let read): out += "\(name)\(braces) \(number(read()))\n"
        case .collected(let names, let read):
            for sample in read() {
                precondition(sample.labels.count == names.count, "\(name) with \(sample.labels)")
                let text = zip(names, sample.labels).map { label($0, $1) }.joined(separator: ",")
                out += "\(name)\(text.isEmpty ? "" : "{\(text)}") \(number(sample.value))\n"
            }
        case .histogram(let histogram): write(name, labels, histogram, &out)
        case .latency(let latency): write(name, labels, latency.histogram, &out)
        }
    }

    private static func write(
        _ name: String,
        _ labels: String,
        _ histogram: Histogram,
        _ out: inout String
    ) {
        let now = histogram.snapshot
        let braces = labels.isEmpty ? "" : "{\(labels)}"
        let prefix = labels.isEmpty ? "" : labels + ","
        for row in now.buckets {
            out += "\(name)_bucket{\(prefix)le=\"\(number(row.bound))\"} \(row.count)\n"
        }
        out += "\(name)_bucket{\(prefix)le=\"+Inf\"} \(now.total)\n"
        out += "\(name)_sum\(braces) \(number(now.sum))\n\(name)_count\(braces) \(now.total)\n"
    }

    private static func text(of labels: KeyValuePairs<String, String>) -> String {
        labels.map { label($0.key, $0.value) }.joined(separator: ",")
    }

    private static func label(_ name: String, _ value: String) -> String {
        "\(name)=\"\(escaped(value, quotes: true))\""
    }

    /// The format knows three escapes and takes every other character as it is.
    private static func escaped(_ text: String, quotes: Bool) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\"" where quotes: out += "\\\""
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return Int64(exactly: value).map { "\($0)" } ?? "\(value)"
    }

    private static func isMetricName(_ name: String) -> Bool {
        isName(name) { $0 == UInt8(ascii: ":") }
    }

    private static func isLabelName(_ name: String) -> Bool {
        isName(name) { _ in false } && !name.hasPrefix("__") && name != "le"
    }

    private static func isName(_ name: String, _ isExtra: (UInt8) -> Bool) -> Bool {
        guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                0x30...0x39, UInt8(ascii: "_"):
                true
            default: isExtra(byte)
            }
        }
    }
}
