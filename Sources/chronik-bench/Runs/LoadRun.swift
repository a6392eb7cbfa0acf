import Platform

/// A run against a broker: connects, loads, shows progress, reports.
struct LoadRun {
    private static let drainTimeout = Int64.seconds(10)

    let settings: BenchSettings
    let platform: RealPlatform

    private var loop: EventLoop { platform.loops[0] }
    private func now() -> Int64 { platform.clock.monotonicNanoseconds }

    /// Must be called on the first loop.
    func run() async throws(BenchError) -> RunReport {
        let layout = try await findTopic()
        let consumers = settings.mode == .produce ? nil : try await makeConsumers(layout)
        let producers = settings.mode == .consume ? nil : try await makeProducers(layout)
        let processor = ProcessorTime.now()
        let start = now() + .milliseconds(5)
        let progress = Task(executorPreference: loop) {
            await showProgress(producers ?? [], consumers ?? [], from: start)
        }
        defer { progress.cancel() }
        async let reading: Void = runConsumers(consumers ?? [], from: start)
        if let producers {
            await runProducers(producers, from: start)
            let seconds = Double(now() - start) / 1e9
            let made = await Self.sum(producers)
            if let consumers { await drain(consumers, until: made.records) }
            await reading
            let read = await Self.sum(consumers ?? [])
            return RunReport(
                settings: settings,
                seconds: seconds,
                sent: made.sentRecords,
                acknowledged: made.records,
                tally: made,
                consumed: consumers == nil ? nil : read,
                processor: ProcessorTime.now().since(processor)
            )
        }
        await reading
        let seconds = Double(now() - start) / 1e9
        let read = await Self.sum(consumers ?? [])
        return RunReport(
            settings: settings,
            seconds: seconds,
            sent: 0,
            acknowledged: 0,
            tally: read,
            consumed: nil,
            processor: ProcessorTime.now().since(processor)
        )
    }

    private func findTopic() async throws(BenchError) -> TopicLayout {
        let connection = try await BrokerConnection.connect(to: settings.bootstrap, on: loop)
        defer { connection.close() }
        return try await TopicLayout.find(
            settings.topic,
            creating: settings.partitions,
            replicationFactor: settings.replicationFactor,
            through: connection,
            on: loop
        )
    }

    // MARK: Workers

    private func makeProducers(_ layout: TopicLayout) async throws(BenchError) -> [ProduceWorker] {
        let plan = ProducePlan(settings, layout)
        let workers = platform.loops.map {
            ProduceWorker(
                plan,
                on: $0,
                pacingWorker: platform.makeWorker(name: "pacer-\($0.index)")
            )
        }
        for number in 0..<settings.producers {
            try await workers[number % workers.count].add(number)
        }
        return workers
    }

    private func makeConsumers(_ layout: TopicLayout) async throws(BenchError) -> [ConsumeWorker] {
        let isRoundTrip = settings.mode == .roundTrip
        let plan = ConsumePlan(
            layout: layout,
            consumers: settings.consumers,
            from: isRoundTrip ? .latest : settings.from,
            maxBytes: settings.maxBytes,
            durationNanoseconds: isRoundTrip ? nil : settings.effectiveDuration,
            stopsAtEnd: !isRoundTrip && settings.records == nil
                && settings.durationMilliseconds == nil,
            measuresEndToEnd: isRoundTrip,
            progress: ConsumeProgress(wanted: isRoundTrip ? nil : settings.records)
        )
        let workers = platform.loops.map { ConsumeWorker(plan, on: $0) }
        for number in 0..<settings.consumers {
            try await workers[number % workers.count].add(number)
        }
        return workers
    }

    private func runProducers(_ workers: [ProduceWorker], from start: Int64) async {
        await withDiscardingTaskGroup { group in
            for worker in workers { group.addTask { await worker.run(from: start) } }
        }
    }

    private func runConsumers(_ workers: [ConsumeWorker], from start: Int64) async {
        await withDiscardingTaskGroup { group in
            for worker in workers { group.addTask { await worker.run(from: start) } }
        }
    }

    /// Gives the consumers of a round trip time to get the last records, then ends them.
    private func drain(_ workers: [ConsumeWorker], until records: Int) async {
        let deadline = now() + Self.drainTimeout
        while await Self.sum(workers).records < records && now() < deadline {
            await loop.sleep(nanoseconds: .milliseconds(2))
        }
        for worker in workers { await worker.stop() }
    }

    private static func sum(_ workers: [ProduceWorker]) async -> Tally {
        var total = Tally()
        for worker in workers { total.merge(await worker.snapshot()) }
        return total
    }

    private static func sum(_ workers: [ConsumeWorker]) async -> Tally {
        var total = Tally()
        for worker in workers { total.merge(await worker.snapshot()) }
        return total
    }

    // MARK: Progress

    private func showProgress(
        _ producers: [ProduceWorker],
        _ consumers: [ConsumeWorker],
        from start: Int64
    ) async {
        guard !settings.isQuiet else { return }
        var line = ProgressLine()
        while true {
            await loop.sleep(nanoseconds: .seconds(1))
            if Task.isCancelled { return }
            let made = await Self.sum(producers)
            let read = await Self.sum(consumers)
            let isProducing = !producers.isEmpty
            line.show(
                isProducing ? made : read,
                consumed: isProducing && !consumers.isEmpty ? read : nil,
                at: now() - start
            )
        }
    }
}
