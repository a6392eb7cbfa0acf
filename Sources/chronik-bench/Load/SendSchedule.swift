/// When each request of an open-loop run is meant to leave, whatever became of those before.
///
/// The producers take turns, so that the requests of all together are evenly spaced. Latencies are
/// measured from these moments: a request that had to wait for a slow one shows the wait.
struct SendSchedule: Sendable, Equatable {
    let nanosecondsPerRequest: Double
    let producers: Int

    /// `rate` is in records a second, over all producers.
    init(rate: Double, recordsPerRequest: Int, producers: Int) {
        precondition(rate > 0 && recordsPerRequest > 0 && producers > 0, "rate \(rate)")
        nanosecondsPerRequest = Double(recordsPerRequest) * 1e9 / rate
        self.producers = producers
    }

    /// Nanoseconds from the start of the run to the `request`th of `producer`, both from 0.
    func departure(of request: Int, from producer: Int) -> Int64 {
        Int64(Double(request * producers + producer) * nanosecondsPerRequest)
    }
}
