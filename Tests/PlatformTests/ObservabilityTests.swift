import Platform
import Testing

@Suite struct MetricsTests {
    private let registry = MetricsRegistry()

    @Test func `counters, gauges and sampled values are printed by name`() {
        let requests = registry.counter("requests_total", "Requests.", labels: ["api": "Fetch"])
        let other = registry.counter("requests_total", "Requests.", labels: ["api": "Produce"])
        let open = registry.gauge("connections", "Open connections.")
        registry.sampled("bytes_total", "Bytes.", kind: .counter) { 1.5 }
        requests.increment()
        requests.increment(by: 41)
        other.increment()
        open.add(3)
        open.add(-1)
        #expect(
            registry.prometheusText() == """
                # HELP bytes_total Bytes.
                # TYPE bytes_total counter
                bytes_total 1.5
                # HELP connections Open connections.
                # TYPE connections gauge
                connections 2
                # HELP requests_total Requests.
                # TYPE requests_total counter
                requests_total{api="Fetch"} 42
                requests_total{api="Produce"} 1

                """
        )
        open.set(-7)
        #expect(open.current == -7 && requests.current == 42)
    }

    @Test func `a label's value is quoted`() {
        _ = registry.gauge("g", "G.", labels: ["a": "x\"\\\n", "b": ""])
        #expect(registry.prometheusText().contains(#"g{a="x\"\\\n",b=""} 0"#))
    }

    @Test func `a histogram counts into buckets that hold all below them`() throws {
        let histogram = registry.histogram("latency_seconds", "L.", labels: ["p": "q"])
        let latencies: [Int64] = [-5, 0, 999, 1_999, 2_000, 3_000_000, 60_000_000_000]
        for nanoseconds in latencies { histogram.record(nanoseconds) }
        let lines = registry.prometheusText().split(separator: "\n")
        #expect(lines[1] == "# TYPE latency_seconds histogram")
        #expect(lines[2] == #"latency_seconds_bucket{p="q",le="2e-06"} 5"#)
        #expect(lines[3] == #"latency_seconds_bucket{p="q",le="4e-06"} 5"#)
        #expect(lines.contains(#"latency_seconds_bucket{p="q",le="+Inf"} 7"#))
        #expect(lines.last == #"latency_seconds_count{p="q"} 7"#)
        let counts = try lines.filter { $0.contains("_bucket") }.map { line in
            try #require(line.split(separator: " ").last.flatMap { Int($0) })
        }
        #expect(counts == counts.sorted() && counts.count == 26 && counts[24] == 6)
        let sum = try #require(lines.first { $0.contains("_sum") }?.split(separator: " ").last)
        #expect(abs((Double(sum) ?? 0) - 60.003005998) < 1e-6)
    }

    @Test func `a bucket holds what is exactly at its bound`() {
        let sizes = registry.histogram("size_bytes", "S.", first: 4, bounds: 3)
        for amount: Int64 in [0, 4, 5, 8, 9, 16, 17, 1 << 60] { sizes.record(amount) }
        let text = registry.prometheusText()
        let expected: [String] = [
            #"size_bytes_bucket{le="4"} 2"#, #"size_bytes_bucket{le="8"} 4"#,
            #"size_bytes_bucket{le="16"} 6"#, #"size_bytes_bucket{le="+Inf"} 8"#,
            "size_bytes_count 8",
        ]
        for line in expected { #expect(text.contains(line + "\n"), "\(text)") }
    }

    @Test func `help and labels know only the format's own escapes`() {
        _ = registry.gauge("g", "A \"b\"\\\n\tc.", labels: ["a": "\t\u{1}é\n"])
        let text = registry.prometheusText()
        #expect(text.hasPrefix("# HELP g A \"b\"\\\\\\n\tc.\n# TYPE g gauge\n"))
        #expect(text.hasSuffix("g{a=\"\t\u{1}é\\n\"} 0\n"))
    }

    @Test func `the same name and labels are one metric`() {
        let first = registry.counter("c_total", "C.", labels: ["a": "1"])
        let second = registry.counter("c_total", "C.", labels: ["a": "1"])
        #expect(first === second)
        registry.remove("c_total", labels: ["a": "2"])
        #expect(registry.prometheusText().contains("c_total{a=\"1\"} 0\n"))
        registry.remove("c_total", labels: ["a": "1"])
        #expect(registry.prometheusText().isEmpty)
    }

    @Test func `collected members are named anew each time`() {
        let gauge = Gauge()
        registry.collected("lag", "L.", kind: .gauge, labels: ["topic", "partition"]) {
            (0..<Int(gauge.current)).map { .init(["t\"", "\($0)"], Double($0) / 2) }
        }
        #expect(registry.prometheusText() == "# HELP lag L.\n# TYPE lag gauge\n")
        gauge.set(2)
        #expect(
            registry.prometheusText().hasSuffix(
                """
                lag{topic="t\\"",partition="0"} 0
                lag{topic="t\\"",partition="1"} 0.5

                """
            )
        )
    }

    @Test(arguments: [
        (Double.infinity, "+Inf"), (-.infinity, "-Inf"), (.nan, "NaN"), (0, "0"), (-0.5, "-0.5"),
        (1e300, "1e+300"), (9_007_199_254_740_992, "9007199254740992"),
    ])
    func `numbers are written as the format has them`(_ value: Double, _ text: String) {
        registry.sampled("n", "N.", kind: .gauge) { value }
        #expect(registry.prometheusText().hasSuffix("\nn \(text)\n"))
    }

    @Test func `the process tells what it takes`() {
        ProcessMetrics.register(in: registry, version: "1")
        let lines = registry.prometheusText().split(separator: "\n")
        let values = lines.filter { !$0.hasPrefix("#") }.map { $0.split(separator: " ") }
        #expect(values.count == 7)
        for value in values { #expect((Double(value[1]) ?? 0) > 0, "\(value)") }
    }

    @Test func `counts from many threads add up`() async {
        let counter = registry.counter("c", "C.")
        let histogram = registry.histogram("h", "H.")
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<1_000 {
                        counter.increment()
                        histogram.record(1_000)
                    }
                }
            }
        }
        #expect(counter.current == 8_000)
        #expect(registry.prometheusText().contains("h_count 8000"))
    }
}

@Suite struct LogTests {
    private final class HandClock: Clock, @unchecked Sendable {
        // Unchecked: a test runs on one thread.
        var now: Int64 = 0
        var monotonicNanoseconds: Int64 { now }
        var wallMilliseconds: Int64 { 0 }
    }

    @Test func `one line a period goes through, with the number of those held back`() {
        let clock = HandClock()
        let limiter = LogLimiter(every: .seconds(10), clock: clock)
        var emitted: [Int] = []
        func log() { limiter.limited { emitted.append($0) } }
        for _ in 0..<4 { log() }
        #expect(emitted == [0])
        clock.now = .seconds(10) - 1
        log()
        #expect(emitted == [0])
        clock.now += 1
        log()
        log()
        #expect(emitted == [0, 4])
        clock.now += .seconds(100)
        log()
        #expect(emitted == [0, 4, 1])
    }

    @Test func `text is quoted as JSON`() {
        #expect(JSONText.quoted("") == "\"\"")
        #expect(JSONText.quoted("a\"b\\c\n\r\t") == #""a\"b\\c\n\r\t""#)
        #expect(JSONText.quoted("\u{1}\u{1f}é😀") == "\"\\u0001\\u001fé😀\"")
    }

    @Test func `levels have names`() {
        #expect(Logger.Level(name: "warning") == .warning)
        #expect(Logger.Level(name: "WARNING") == nil)
        #expect(Logger.Level.trace < .debug && Logger.Level.error > .warning)
    }
}
