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
