import Platform

/// Clients on one event loop, each with one request under way.
actor MetadataWorker {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let settings: BenchSettings
    private let clock: any Clock
    private var clients: [MetadataClient] = []
    private(set) var tally = MetadataTally()

    init(_ settings: BenchSettings, clock: any Clock, on loop: EventLoop) {
        self.settings = settings
        self.clock = clock
        self.loop = loop
    }

    func connect(_ number: Int, to address: SocketAddress, prefix: String) async throws(BenchError)
    {
        let connection = try await BrokerConnection.connect(to: address, on: loop)
        clients.append(MetadataClient(connection, settings, prefix: "\(prefix)-\(number)"))
    }

    /// Every client writes, one request after another, until the time is over or it has made as
    /// many as it may.
    func run(
        _ operation: MetadataClient.Operation,
        until deadline: Int64,
        limit: Int
    ) async throws(BenchError) {
        tally = MetadataTally()
        let failure = await withTaskGroup(of: BenchError?.self) { group in
            for place in clients.indices {
                group.addTask(executorPreference: loop) {
                    await self.drive(place, operation, until: deadline, limit: limit)
                }
            }
            var first: BenchError?
            for await failure in group where first == nil { first = failure }
            return first
        }
        if let failure { throw failure }
    }

    private func drive(
        _ place: Int,
        _ operation: MetadataClient.Operation,
        until deadline: Int64,
        limit: Int
    ) async -> BenchError? {
        let client = clients[place]
        var count = 0
        while count < limit {
            let departure = clock.monotonicNanoseconds
            guard departure < deadline else { break }
            do throws(BenchError) {
                let problem = try await client.perform(operation)
                tally.count(clock.monotonicNanoseconds - departure, problem)
            } catch {
                return error
            }
            count += 1
        }
        return nil
    }

    func close() {
        for client in clients { client.close() }
        clients = []
    }
}

/// What became of the requests.
struct MetadataTally: Sendable {
    private(set) var latency = QuantileHistogram()
    private(set) var errors: [String: Int] = [:]

    var writes: Int { Int(latency.count) }

    /// A request was answered; only those that were granted count as writes.
    mutating func count(_ nanoseconds: Int64, _ problem: String?) {
        if let problem {
            errors[problem, default: 0] += 1
        } else {
            latency.record(nanoseconds)
        }
    }

    mutating func merge(_ other: MetadataTally) {
        latency.merge(other.latency)
        errors.merge(other.errors) { $0 + $1 }
    }
}
