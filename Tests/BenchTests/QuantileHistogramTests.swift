import Platform
import Testing

@testable import chronik_bench

@Suite struct `A latency histogram` {
    @Test func `small values are exact`() {
        for value in Int64(0)..<256 {
            var histogram = QuantileHistogram()
            histogram.record(value)
            histogram.record(1 << 40)
            #expect(histogram.quantile(0.5) == value)
        }
    }

    @Test func `any value is off by less than one percent, never below itself`() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<4_000 {
            let bits = 1 + generator.below(40)
            let value = Int64(generator.next() >> UInt64(64 - bits))
            var histogram = QuantileHistogram()
            histogram.record(value)
            histogram.record(1 << 41)
            let read = histogram.quantile(0.5)
            #expect(read >= value && Double(read) <= Double(value) * 1.0079, "\(value) as \(read)")
        }
    }

    @Test(arguments: [0.5, 0.9, 0.99, 0.999, 1.0])
    func `quantiles agree with sorting`(_ fraction: Double) {
        var generator = SeededGenerator(seed: 2)
        var histogram = QuantileHistogram()
        var values: [Int64] = []
        for _ in 0..<10_000 {
            let value = Int64(1000 + generator.below(1_000_000))
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        let exact = values[Int((Double(values.count) * fraction).rounded(.up)) - 1]
        let read = histogram.quantile(fraction)
        #expect(read >= exact && Double(read) <= Double(exact) * 1.0079, "\(exact) as \(read)")
    }

    @Test func `the maximum is exact, also beyond the last bucket`() {
        var histogram = QuantileHistogram()
        histogram.record(123_456_789)
        #expect(histogram.quantile(1) == 123_456_789)
        histogram.record(Int64.max)
        #expect(histogram.maximum == Int64.max)
        #expect(histogram.count == 2)
    }

    @Test func `values below zero count as zero`() {
        var histogram = QuantileHistogram()
        histogram.record(-5)
        #expect(histogram.quantile(1) == 0)
        #expect(QuantileHistogram().quantile(0.5) == 0)
    }

    @Test func `merging adds, and taking the earlier away leaves the rest`() {
        var first = QuantileHistogram()
        for value in Int64(1)...100 { first.record(value) }
        var second = first
        for value in Int64(101)...200 { second.record(value) }
        let rest = second.since(first)
        #expect(rest.count == 100)
        #expect(rest.quantile(0.01) == 101)
        var both = first
        both.merge(rest)
        #expect(both.count == 200)
        #expect(both.quantile(0.5) == 100)
        #expect(both.mean == 100.5)
    }
}
