import KafkaProtocol
import Platform
import Testing

@testable import chronik_bench

@Suite struct `An open-loop schedule` {
    @Test func `all producers together keep the rate, evenly`() {
        let schedule = SendSchedule(rate: 1_000_000, recordsPerRequest: 100, producers: 3)
        var departures: [Int64] = []
        for request in 0..<1000 {
            for producer in 0..<3 {
                departures.append(schedule.departure(of: request, from: producer))
            }
        }
        #expect(departures.first == 0)
        #expect(departures == departures.sorted())
        // 10,000 requests a second are one each 100 µs.
        for (earlier, later) in zip(departures, departures.dropFirst()) {
            #expect(later - earlier == 100_000)
        }
    }

    @Test func `a rate that divides nothing evenly does not drift`() {
        let schedule = SendSchedule(rate: 3, recordsPerRequest: 1, producers: 1)
        #expect(schedule.departure(of: 3_000_000, from: 0) == 1_000_000_000_000_000)
    }

    @Test func `a slow answer shows in those that waited for it`() {
        // One request each 10 ms, one at a time; the first takes 100 ms, the others nothing.
        let schedule = SendSchedule(rate: 100, recordsPerRequest: 1, producers: 1)
        var histogram = QuantileHistogram()
        var free: Int64 = 0
        for request in 0..<100 {
            let meant = schedule.departure(of: request, from: 0)
            let left = max(meant, free)
            free = left + (request == 0 ? .milliseconds(100) : 0)
            histogram.record(free - meant)
        }
        #expect(histogram.quantile(0.91) >= .milliseconds(10))
        #expect(histogram.quantile(0.9) < .milliseconds(1))
    }
}

@Suite struct `Shares` {
    private func plan(_ arguments: [String]) throws -> BenchSettings {
        guard case .run(let settings) = try BenchCommandLine.parse(arguments) else {
            throw BenchError.usage("help")
        }
        return settings
    }

    @Test(arguments: [(1, 1), (1, 7), (1000, 7), (999, 32), (31, 32)])
    func `the producers' requests add up to the records asked for`(
        _ records: Int,
        _ producers: Int
    ) throws {
        let settings = try plan([
            "produce", "--records", "\(records)", "--producers", "\(producers)",
            "--records-per-request", "10",
        ])
        let layout = TopicLayout(
            topic: "t",
            partitionCount: 1,
            leaders: [(SocketAddress(host: "h", port: 1), [0])]
        )
        let produce = ProducePlan(settings, layout)
        let requests = (0..<producers).map { produce.requests(of: $0) }
        #expect(requests.reduce(0, +) == (records + 9) / 10)
        #expect((requests.max() ?? 0) - (requests.min() ?? 0) <= 1)
    }

    @Test(arguments: [1, 2, 3, 5, 8, 40])
    func `consumers of two brokers read every partition`(_ consumers: Int) {
        let layout = TopicLayout(
            topic: "t",
            partitionCount: 7,
            leaders: [
                (SocketAddress(host: "a", port: 1), [0, 2, 4, 6]),
                (SocketAddress(host: "b", port: 2), [1, 3, 5]),
            ]
        )
        let plan = ConsumePlan(
            layout: layout,
            consumers: consumers,
            from: .earliest,
            maxBytes: 1,
            durationNanoseconds: nil,
            stopsAtEnd: true,
            measuresEndToEnd: false,
            progress: ConsumeProgress(wanted: nil)
        )
        var read: [String: [Int32]] = [:]
        for consumer in 0..<consumers {
            let (address, partitions) = plan.assignment(of: consumer)
            #expect(!partitions.isEmpty)
            read[address.host, default: []] += partitions
        }
        #expect(Set(read["a"] ?? []) == [0, 2, 4, 6])
        if consumers > 1 { #expect(Set(read["b"] ?? []) == [1, 3, 5]) }
        if consumers <= 6 {
            for (_, partitions) in read { #expect(Set(partitions).count == partitions.count) }
        }
    }
}
